"""The plot of the construction study: how wide its networks are, and how near the target."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import axes, figure


def widths(rows: Sequence[Mapping[str, Any]], delta: float) -> figure.Figure:
    """Candidates per target weight over ε against the bounds, and how near the network is.

    Args:
        rows: The objects of construction.json; keys of one ε are averaged, and all are shown. What
            an object made before does not hold is left out.
        delta: With what probability the proved width may fail.

    Returns:
        The figure.
    """
    drawing = figure.Figure(figsize=(10, 4), dpi=100)
    left, right = drawing.subplots(1, 2)
    epsilons = sorted({row["eps"] for row in rows})
    smallest = min((eps for eps in epsilons if eps > 0), default=1.0)

    def line(panel: axes.Axes, name: str, style: str, label: str) -> None:
        cells = [(eps, [r.get(name) for r in rows if r["eps"] == eps]) for eps in epsilons]
        cells = [(eps, values) for eps, values in cells if None not in values]
        (drawn,) = panel.plot(
            [eps for eps, _ in cells], [np.mean(v) for _, v in cells], style, label=label
        )
        spread = [(eps, value) for eps, values in cells for value in values]
        panel.plot(*np.reshape(spread, (-1, 2)).T, ".", color=drawn.get_color(), alpha=0.4)

    line(left, "proved_over_parameterization", "v--", f"suffices for all weights, δ = {delta:g}")
    line(left, "over_parameterization", "o-", "needed here")
    line(left, "necessary_for_all", "^:", f"necessary for all weights, δ = {delta:g}")
    left.set(ylabel="candidates per target weight", xlabel="ε", ylim=(0, None))
    line(right, "certificate", "v--", "certified")
    line(right, "largest_error_found", "o-", "largest found")
    line(right, "largest_error_on_data", "^:", "largest on test images")
    line(right, "largest_logit", "k-", "largest logit of the target")
    right.set(ylabel="|f − g|", xlabel="ε", yscale="log")
    for panel in (left, right):
        panel.set_xscale("symlog", linthresh=smallest)
        panel.set_xlim(left=-smallest / 3)
        panel.grid(alpha=0.3)
        panel.legend(fontsize="small", loc="best")
    drawing.tight_layout()
    return drawing


def sizes(rows: Sequence[Mapping[str, Any]], delta: float) -> figure.Figure:
    """Candidates and kept weights per target weight over ε, at equal certified error.

    Args:
        rows: The objects of construction.json: mean over keys, and their range. What is proved or
            necessary is for another event, every weight within its tolerance.
        delta: With what probability that event does not happen at the proved uniform width.

    Returns:
        The figure.
    """
    drawing = figure.Figure(figsize=(12, 4.2), dpi=100)
    panels = drawing.subplots(1, 3)
    epsilons = sorted({row["eps"] for row in rows})
    smallest = min((eps for eps in epsilons if eps > 0), default=1.0)
    series = sorted({(row["certified_target"], row["assignment"]) for row in rows}, reverse=True)

    def line(panel: axes.Axes, name: str, of: tuple[float, str], style: str, label: str) -> None:
        mine = [r for r in rows if (r["certified_target"], r["assignment"]) == of]
        cells = [(eps, [r[name] for r in mine if r["eps"] == eps]) for eps in epsilons]
        cells = [(eps, values) for eps, values in cells if values and None not in values]
        if not cells:
            return
        x, means = [eps for eps, _ in cells], [float(np.mean(values)) for _, values in cells]
        (drawn,) = panel.plot(x, means, style, label=label, color=f"C{series.index(of)}")
        low, high = [min(v) for _, v in cells], [max(v) for _, v in cells]
        panel.vlines(x, low, high, color=drawn.get_color(), lw=2, alpha=0.5)

    for each in series:
        share, assignment = each
        label = f"{assignment}, ≤ {100 * share:g} %"
        style = "o-" if assignment == "uniform" else "s--"
        line(panels[0], "candidates_per_weight", each, style, label)
        line(panels[1], "kept_per_weight", each, style, label)
        what = f"δ = {delta:g}" if assignment == "uniform" else "mean"
        line(panels[2], "proved", each, style, f"proved, {label}, {what}")
        if assignment == "uniform":
            line(panels[2], "necessary", each, "^:", f"necessary, ≤ {100 * share:g} %")
    titles = (
        "candidates per target weight, measured",
        "kept weights per target weight, measured",
        "candidates, another event:\nevery weight within η(τ)",
    )
    for panel, title in zip(panels, titles, strict=True):
        panel.set_title(title, fontsize="medium")
        panel.set(xlabel="ε", ylim=(0, None))
        panel.set_xscale("symlog", linthresh=smallest)
        panel.set_xlim(left=-smallest / 3)
        panel.grid(alpha=0.3)
        if panel.lines:
            panel.legend(fontsize="x-small", loc="best")
    drawing.tight_layout()
    return drawing
