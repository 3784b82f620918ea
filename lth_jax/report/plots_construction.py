"""The plot of the construction study: how wide its networks are, and how near the target."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import axes

from lth_jax.report import plots


def over_parameterization(rows: Sequence[Mapping[str, Any]], delta: float) -> plots.Figure:
    """Candidates per target weight over ε against the bounds, and how near the network is.

    Args:
        rows: The objects of construction.json; keys of one ε are averaged, and all are shown.
        delta: With what probability the proved width may fail.

    Returns:
        The figure.
    """
    drawing = plots.empty(10, 4.6)
    left, right = drawing.subplots(1, 2)
    epsilons = sorted({row["eps"] for row in rows})

    def line(panel: axes.Axes, name: str, index: int, label: str) -> None:
        cells = [(eps, [r[name] for r in rows if r["eps"] == eps]) for eps in epsilons]
        cells = [(eps, values) for eps, values in cells if None not in values]
        look = plots.style(index)
        means = [np.mean(values) for _, values in cells]
        panel.plot([eps for eps, _ in cells], means, label=label, ms=5, lw=1.2, **look)
        spread = [(eps, value) for eps, values in cells for value in values]
        x, y = np.reshape(spread, (-1, 2)).T
        panel.plot(x, y, ".", ms=4, color=look["color"], alpha=0.5)

    line(left, "proved_over_parameterization", 1, f"suffices for all weights, δ = {delta:g}")
    line(left, "over_parameterization", 0, "needed here")
    line(left, "necessary_over_parameterization", 2, "one weight needs, p = 1/2")
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
