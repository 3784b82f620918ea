"""Plots that only the page has: numbers against ε for each method, and how far weights moved."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from matplotlib import ticker

from lth_jax.report import plots, statistics
from lth_jax.training import methods

WIDTH, HEIGHT = 3.45, 3.1  # inches
_SPREAD = 0.5  # of the distance between two places, for the marks at one


def against_eps(
    lines: Mapping[str, Mapping[float, statistics.Mean]],
    label: str,
    factor: float = 1,
    from_zero: bool = False,
) -> plots.Figure:
    """A line per method over evenly spaced ε, with intervals where there are any.

    Args:
        lines: By method and ε.
        label: Of the y-axis.
        factor: What values are multiplied by.
        from_zero: Whether the y-axis begins at 0.

    Returns:
        The figure.
    """
    places = sorted({eps for line in lines.values() for eps in line})
    drawing = plots.empty(WIDTH, HEIGHT)
    panel = drawing.subplots()
    step = min(_SPREAD / max(len(lines), 1), 0.12)
    for index, (method, line) in enumerate(lines.items()):
        offset = step * (index - (len(lines) - 1) / 2)
        x = [places.index(eps) + offset for eps in line]
        y = [factor * value.mean for value in line.values()]
        bars = [factor * plots.half(value.half) for value in line.values()]
        style = plots.style(list(methods.METHODS).index(method))
        name = plots.shown(method)
        panel.errorbar(x, y, yerr=bars, label=name, **style, ms=5, lw=1.2, capsize=2.5)
    shown = ["∞" if eps == math.inf else f"{eps:g}" for eps in places]
    panel.set_xticks(range(len(places)), shown, fontsize=plots.SMALL)
    panel.set_xlim(-0.5, max(len(places), 1) - 0.5)
    panel.set_xlabel("ε (evenly spaced)")
    panel.set_ylabel(label)
    panel.grid(axis="y", **plots.GRID)
    panel.margins(y=0.08)
    if from_zero:
        panel.set_ylim(0, max(panel.get_ylim()[1], 1))
    plots.add_legend(drawing, [panel])
    return drawing


def cut(drawing: plots.Figure, low: float, high: float) -> None:
    """Leaves of the y-axes of a figure what lies between low and high."""
    for panel in drawing.axes:
        bottom, top = panel.get_ylim()
        panel.set_ylim(max(bottom, low), min(top, high))


def mark(drawing: plots.Figure, values: Sequence[float]) -> None:
    """Sets the ticks of a figure's only y-axis to the values that there could be."""
    (panel,) = drawing.axes
    panel.set_yticks(values, [f"{value:g}" for value in values])
    margin = 0.1 * (max(values) - min(values)) or 0.05
    panel.set_ylim(min(values) - margin, max(values) + margin)


def distances(
    shares: Mapping[float, npt.NDArray[np.float64]], radii: Sequence[float]
) -> plots.Figure:
    """The share of weights by their distance from where they began, a line per ε.

    Args:
        shares: By ε, [bins] shares of 0 to 1 radii.
        radii: All ε that figures beside this one show, so that each has its look.

    Returns:
        The figure.
    """
    drawing = plots.empty(WIDTH, HEIGHT)
    panel = drawing.subplots()
    for eps, share in shares.items():
        look = plots.radius_look(eps, radii)
        edges = np.linspace(0, 1, len(share) + 1)
        line = {"color": look["color"], "linestyle": look["linestyle"]}
        panel.stairs(100 * share, edges, lw=1.4, label=plots.radius_name(eps), **line)
    panel.set_xlabel("|w − w₀| / ε")
    panel.set_ylabel("kept weights (%)")
    panel.set_xlim(0, 1)
    panel.xaxis.set_major_locator(ticker.MaxNLocator(5))
    panel.set_ylim(bottom=0)
    panel.grid(**plots.GRID)
    plots.add_legend(drawing, [panel], inches=1.2)
    return drawing
