"""The plot of an image study's accuracy against ε."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from matplotlib import axes

from lth_jax.report import plots, summary
from lth_jax.training import methods

_WIDTH = 18.0  # inches, of the widest figure
_SPREAD = 0.7  # of the distance between two places, for the marks at one


class _Axis(NamedTuple):
    """Where marks stand: places are evenly spaced, and methods beside each other at each."""

    places: list[float | None]  # None for methods without an ε
    offsets: dict[str, float]  # by method

    def x(self, cell: summary.Cell) -> float:
        place = self.places.index(cell.eps if _takes_eps(cell) else None)
        return place + self.offsets[cell.method]

    @property
    def labels(self) -> list[str]:
        """Of the places."""
        names = ("no ε" if p is None else "∞" if p == math.inf else f"{p:g}" for p in self.places)
        return list(names)


def accuracy_against_eps(cells: Sequence[summary.Cell], title: str) -> plots.Figure:
    """Test accuracy against ε with 95 % intervals, a panel per sparsity, a line per method.

    Methods without an ε of their own stand apart, and a thin line carries their mean across.

    Args:
        cells: From summary.cells.
        title: Of the figure: what was trained on what.

    Returns:
        The figure.
    """
    diverged = sum(cell.diverged for cell in cells)
    cells = [cell for cell in cells if cell.accuracy["test_accuracy"].n]
    masked = sorted({c.sparsity for c in cells if c.sparsity is not None})
    sparsities: Sequence[float | None] = masked or [None]
    axis = _axis(cells)
    width = min(max(3.6, 0.9 + len(axis.places) * (0.3 + 0.07 * len(axis.offsets))), _WIDTH / 2)
    most = int(_WIDTH / width) if len(sparsities) > 3 else 3
    rows = -(-len(sparsities) // most)
    columns = -(-len(sparsities) // rows)
    drawing = plots.empty(width * columns, 0.9 + 3.2 * rows)
    grid = drawing.subplots(rows, columns, squeeze=False)
    panels = list(grid.ravel())
    for panel, sparsity in zip(panels, sparsities, strict=False):
        own = [cell for cell in cells if cell.sparsity in (sparsity, None)]
        for method in dict.fromkeys(cell.method for cell in own):
            _draw(panel, axis, [cell for cell in own if cell.method == method])
        panel.set_title("" if sparsity is None else f"sparsity {sparsity:g}", fontsize=10)
        panel.set_xticks(range(len(axis.places)), axis.labels, fontsize=plots.SMALL)
        panel.set_xlim(-0.5, max(len(axis.places), 1) - 0.5)
        panel.grid(axis="y", **plots.GRID)
        panel.margins(y=0.08)
    drawn, spare = panels[: len(sparsities)], panels[len(sparsities) :]
    for panel in spare:
        panel.remove()
    for index, panel in enumerate(drawn):
        if index % columns == 0:
            panel.set_ylabel("test accuracy (%)")
        if index >= len(drawn) - columns and any(place is not None for place in axis.places):
            panel.set_xlabel("ε (evenly spaced)")
    words = plots.interval_words([cell.accuracy["test_accuracy"].n for cell in cells])
    if diverged:
        words += f"; {diverged} diverged run{'' if diverged == 1 else 's'} left out"
    if not plots.share_limits(drawn):
        words += "; each panel has a y-axis of its own"
    drawing.suptitle(f"{plots.shown(title)}\n{words}".strip(), fontsize=9)
    plots.add_legend(drawing, drawn)
    return drawing


def _takes_eps(cell: summary.Cell) -> bool:
    return methods.METHODS[cell.method].takes_eps


def _axis(cells: Sequence[summary.Cell]) -> _Axis:
    """The places of an ε axis, those without an ε first, and how far methods stand beside them."""
    places: list[float | None] = [] if all(map(_takes_eps, cells)) else [None]
    places += sorted({c.eps for c in cells if c.eps is not None and _takes_eps(c)})
    offsets: dict[str, float] = {}
    for kind in (True, False):
        names = list(dict.fromkeys(c.method for c in cells if _takes_eps(c) is kind))
        step = min(_SPREAD / len(names), 0.15) if names else 0.0
        offsets |= {name: step * (i - (len(names) - 1) / 2) for i, name in enumerate(names)}
    return _Axis(places, offsets)


def _draw(panel: axes.Axes, axis: _Axis, cells: Sequence[summary.Cell]) -> None:
    """The cells of one method with their intervals."""
    method = cells[0].method
    style = plots.style(list(methods.METHODS).index(method))
    found = sorted((axis.x(cell), cell.accuracy["test_accuracy"]) for cell in cells)
    x, y = [x for x, _ in found], [100 * value.mean for _, value in found]
    bars = [100 * plots.half(value.half) for _, value in found]
    look: Mapping[str, Any] = {"ms": 5, "lw": 1.2, "elinewidth": 1.0, "capsize": 2.5}
    panel.errorbar(x, y, yerr=bars, label=plots.shown(method), **style, **look)
    if not _takes_eps(cells[0]) and len(axis.places) > 1:
        # Drawn from the mark on: to the left of it there is nothing to compare with.
        end = len(axis.places) - 0.5
        line = {"color": style["color"], "linestyle": style["linestyle"]}
        panel.plot([x[0], end], [y[0], y[0]], lw=0.8, alpha=0.8, zorder=1, **line)
