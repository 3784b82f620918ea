"""The plot of the construction study: how wide its networks are, and how near the target."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import axes, figure


def over_parameterization(rows: Sequence[Mapping[str, Any]], delta: float) -> figure.Figure:
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
        known = [row for row in rows if row.get(name) is not None]
        cells = [(eps, [r[name] for r in known if r["eps"] == eps]) for eps in epsilons]
        cells = [(eps, values) for eps, values in cells if values]
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
