"""Maps of accuracy over ε and sparsity, ours beside the published ones."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from lth_jax.report import plots, summary
from lth_jax.report.page import markup

LEVELS = 21  # steps of colour
# At ε = 0 these are pruning alone, bit for bit.
_ORDERS = ("perturb_then_prune", "random_then_prune", "prune_then_perturb")
# What the published tables are of.
_PAPERS = {"dataset": "mnist", "model": "redundant", "width": 1.0, "eps_unit": "absolute"}

Grid = Mapping[tuple[float, float], float]  # accuracy as a fraction, by ε and sparsity


class Published(NamedTuple):
    """What somebody has printed for one method, to stand beside ours."""

    label: str  # as "table 1 of the paper"
    grid: Grid


def section(
    cells: Sequence[summary.Cell],
    config: Mapping[str, Any],
    published: Mapping[str, Published],
    prefix: str,
) -> markup.Markup:
    """A map per method that has an ε and a sparsity.

    Args:
        cells: From summary.cells.
        config: Of config.json.
        published: By method.
        prefix: Of the section's id.
    """
    head, name = "Accuracy over ε and sparsity", f"{prefix}-heat"
    known = {method: grid for method in _methods(cells) if (grid := ours(cells, method))}
    if not known:
        nothing = "No method of this run has both an ε and a sparsity."
        return markup.section(head, name, markup.paragraph(nothing, class_="note"))
    other = _other_than_paper(config)
    parts = [markup.paragraph(_about(other, any(method in published for method in known)))]
    shown = [*known.values(), *(published[m].grid for m in known if m in published)]
    values = [value for grid in shown for value in grid.values()]
    ends = min(values), max(values)  # One scale of colour for all.
    for method, grid in known.items():
        theirs = published.get(method)
        called = plots.shown(method)
        maps = [_map(grid, f"{called}, ours: mean test accuracy, %", ends, 1)]
        if theirs is not None:
            maps.append(_map(theirs.grid, f"{called}, published: {theirs.label}, %", ends, 0))
            if not other:
                maps.append(_differences(grid, theirs))
        parts.append(markup.figures([markup.element("div", each) for each in maps]))
    return markup.section(head, name, *parts)


def ours(cells: Sequence[summary.Cell], method: str) -> dict[tuple[float, float], float]:
    """Mean test accuracy of a method by ε and sparsity; of the paper's orders with ε = 0."""
    found = {
        (0.0, c.sparsity): c.accuracy["test_accuracy"]
        for c in cells
        if c.method == "prune" and c.sparsity is not None and method in _ORDERS
    }
    own = {
        (c.eps, c.sparsity): c.accuracy["test_accuracy"]
        for c in cells
        if c.method == method and c.eps is not None and c.sparsity is not None
    }
    return {place: value.mean for place, value in (found | own).items() if own and value.n}


def _methods(cells: Sequence[summary.Cell]) -> list[str]:
    return list(dict.fromkeys(cell.method for cell in cells))


def _other_than_paper(config: Mapping[str, Any]) -> list[str]:
    """In what a run differs from what the published tables are of."""
    given = {"width": 1.0, "eps_unit": "absolute", **config}
    return [f"{n} {given.get(n)}" for n, value in _PAPERS.items() if given.get(n) != value]


def _about(other: Sequence[str], compared: bool) -> str:
    if not compared:
        return "Nobody has published these methods."
    words = "At ε = 0 the paper's orders are pruning alone, and take its rows where they are there."
    words += " Published numbers are of MNIST, the paper's net and one seed, without intervals."
    if other:
        return f"{words} This run has {', '.join(other)}, so no difference is taken."
    return f"{words} Differences are in percentage points."


def _map(grid: Grid, caption: str, ends: tuple[float, float], digits: int) -> markup.Markup:
    low, high = ends
    span = high - low or 1.0
    cells = {place: (100 * v, round((LEVELS - 1) * (v - low) / span)) for place, v in grid.items()}
    return _table(cells, caption, digits, plus=False)


def _differences(grid: Grid, theirs: Published) -> markup.Markup:
    both = {place: grid[place] - theirs.grid[place] for place in grid if place in theirs.grid}
    if not both:
        return markup.paragraph("No cell of ours was published.", class_="note")
    most = max(map(abs, both.values())) or 1.0
    cells = {p: (100 * v, round((LEVELS - 1) * abs(v) / most)) for p, v in both.items()}
    return _table(cells, f"ours − {theirs.label}, points (colour is the size)", 1, plus=True)


def _table(
    cells: Mapping[tuple[float, float], tuple[float, int]], caption: str, digits: int, plus: bool
) -> markup.Markup:
    radii = sorted({eps for eps, _ in cells})
    rows = []
    for sparsity in sorted({sparsity for _, sparsity in cells}):
        row: list[object] = [markup.number(sparsity)]
        for eps in radii:
            value, level = cells.get((eps, sparsity), (math.nan, -1))
            row.append(heated(markup.signed(value, digits, plus), level))
        rows.append(row)
    head = ("sparsity \\ ε", *map(markup.number, radii))
    return markup.table(head, rows, caption, class_="heat")


def heated(text: str, level: int) -> markup.Markup:
    """An entry of a table on a colour between least, 0, and most, LEVELS - 1; none below 0."""
    return markup.element("td", text, class_="number" if level < 0 else f"cell h{level}")
