"""The plot of the construction study: how wide its networks are, and how near the target."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import axes

from lth_jax.report import plots


def widths(rows: Sequence[Mapping[str, Any]], delta: float) -> plots.Figure:
    """Candidates per target weight over ε against the bounds, and how near the network is.

    Args:
        rows: The objects of construction.json; keys of one ε are averaged, and all are shown. What
            an object made before does not hold is left out.
        delta: With what probability the proved width may fail.

    Returns:
        The figure.
    """
    drawing = plots.empty(10, 4.6)
    left, right = drawing.subplots(1, 2)
    epsilons = sorted({row["eps"] for row in rows})

    def line(panel: axes.Axes, name: str, index: int, label: str) -> None:
        found = [(eps, [r.get(name) for r in rows if r["eps"] == eps]) for eps in epsilons]
        cells: list[tuple[float, list[Any]]] = [c for c in found if None not in c[1]]
        look = plots.style(index)
        means = [np.mean(values) for _, values in cells]
        panel.plot([eps for eps, _ in cells], means, label=label, ms=5, lw=1.2, **look)
        spread = [(eps, value) for eps, values in cells for value in values]
        x, y = np.reshape(spread, (-1, 2)).T
        panel.plot(x, y, ".", ms=4, color=look["color"], alpha=0.5)

    line(left, "proved_over_parameterization", 1, f"suffices for all weights, δ = {delta:g}")
    line(left, "over_parameterization", 0, "needed here")
    line(left, "necessary_for_all", 2, f"necessary for all weights, δ = {delta:g}")
    left.set_ylabel("candidates per target weight")
    left.set_ylim(0, 1.08 * left.get_ylim()[1])
    line(right, "certificate", 1, "certified")
    line(right, "largest_error_found", 0, "largest found")
    line(right, "largest_error_on_data", 2, "largest on test images")
    logit = max((row["largest_logit"] for row in rows), default=1.0)
    right.axhline(logit, color="#777777", lw=1.2, label="largest logit of the target")
    right.set_ylabel("|f − g|, ticket against target")
    right.set_yscale("log")
    for panel in (left, right):
        plots.tick_radii(panel, epsilons)
        panel.grid(**plots.GRID)
        below = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.14), "ncols": 2}
        panel.legend(fontsize=plots.SMALL, handlelength=3.5, **below)
    counts = [sum(row["eps"] == eps for row in rows) for eps in epsilons]
    keys = f"{min(counts)} to {max(counts)}" if len(set(counts)) > 1 else str(max(counts))
    words = f"mean over n = {keys} keys, a dot for each" if max(counts) > 1 else "n = 1 key"
    drawing.suptitle(words, fontsize=9)
    return drawing


def sizes(rows: Sequence[Mapping[str, Any]], delta: float) -> plots.Figure:
    """Candidates and kept weights per target weight over ε, at equal certified error.

    Args:
        rows: The objects of construction.json: mean over keys, and their range. What is proved or
            necessary is for another event, every weight within its tolerance.
        delta: With what probability that event does not happen at the proved uniform width.

    Returns:
        The figure.
    """
    drawing = plots.empty(12, 4.6)
    panels = drawing.subplots(1, 3)
    epsilons = sorted({row["eps"] for row in rows})
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
        panel.set_ylim(0, 1.08 * panel.get_ylim()[1])
        plots.tick_radii(panel, epsilons)
        panel.grid(**plots.GRID)
        if panel.lines:
            panel.legend(fontsize="x-small", loc="best")
    return drawing
