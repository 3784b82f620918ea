"""What tickets share: over seeds, over ε, and how densely each layer is kept."""

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np

from lth_jax import sweep, training
from lth_jax.report import plots
from lth_jax.report.page import heat, markup, networks

_Found = Mapping[sweep.Lane, networks.Network]
_Cell = tuple[str, float | None, float | None]


def section(found: networks.Networks, prefix: str) -> markup.Markup:
    """Jaccard indices of the run's tickets, over seeds and over ε.

    Args:
        found: From networks.read.
        prefix: Of the section's id.
    """
    head, name = "Overlap of the tickets", f"{prefix}-overlap"
    notes = networks.said(found)
    if not found.by_lane:
        return markup.section(head, name, *notes)
    words = markup.paragraph(
        "The Jaccard index of two tickets: of the weights that either keeps, the share that both "
        "keep. Random masks that keep as many in each layer would share what stands beside it. "
        "Pairs of seeds are not independent of each other, so no interval is given."
    )
    parts = [words, _over_seeds(found), _over_eps(found)]
    return markup.section(head, name, *notes, *parts)


def by_cell(found: _Found) -> dict[_Cell, dict[int, networks.Network]]:
    """Tickets by cell and seed: methods in their own order, ε and sparsity as they grow."""
    cells: dict[_Cell, dict[int, networks.Network]] = {}
    for lane in sorted(found, key=_order):
        cells.setdefault(lane[:3], {})[lane.seed] = found[lane]
    return cells


def _order(lane: sweep.Lane) -> tuple[int, float, float, int]:
    eps = -1.0 if lane.eps is None else lane.eps
    place = list(training.METHODS).index(lane.method)
    return (place, lane.sparsity or 0.0, eps, lane.seed)


def _over_seeds(found: networks.Networks) -> markup.Markup:
    rows = []
    for (method, eps, sparsity), seeds in by_cell(found.by_lane).items():
        pairs = list(itertools.combinations(seeds.values(), 2))
        if pairs:
            values = [networks.jaccard(a, b) for a, b in pairs]
            random = [networks.chance(a, b, found.sizes) for a, b in pairs]
            shown = (np.mean(values), min(values), max(values), np.mean(random))
            names = (plots.shown(method), markup.number(eps), markup.number(sparsity))
            rows.append([*names, len(seeds), *(markup.signed(float(v), 3) for v in shown)])
    if not rows:
        return markup.paragraph("Every cell has one ticket, so no two seeds.", class_="note")
    head = ("method", "ε", "sparsity", "seeds", "Jaccard, mean", "least", "most", "random masks")
    return markup.table(head, rows, "Two seeds of one cell, over all pairs")


def _over_eps(found: networks.Networks) -> markup.Markup:
    """A map per method and sparsity, or a word where every ε has the same mask."""
    grids: dict[tuple[str, float | None], dict[float, dict[int, networks.Network]]] = {}
    for (method, eps, sparsity), seeds in by_cell(found.by_lane).items():
        if eps is not None:
            grids.setdefault((method, sparsity), {})[eps] = seeds
    several = {place: grid for place, grid in grids.items() if len(grid) > 1}
    if not several:
        nothing = "No method has tickets at two ε that could be compared."
        return markup.paragraph(nothing, class_="note")
    maps, same = [], []
    for (method, sparsity), grid in several.items():
        values = {
            (a, b): _mean_of_seeds(grid[a], grid[b]) for a, b in itertools.product(grid, repeat=2)
        }
        known = [value for value in values.values() if not math.isnan(value)]
        where = f"{plots.shown(method)}, sparsity {markup.number(sparsity)}"
        if known and min(known) == 1:
            same.append(where)
        else:
            maps.append(_map(list(grid), values, where))
    parts = [markup.figures([markup.element("div", each) for each in maps])] if maps else []
    if same:
        parts.append(markup.paragraph("The same mask at every ε: ", "; ".join(same), "."))
    return markup.joined(parts)


def _mean_of_seeds(
    one: Mapping[int, networks.Network], other: Mapping[int, networks.Network]
) -> float:
    shared = [seed for seed in one if seed in other]
    values = [networks.jaccard(one[seed], other[seed]) for seed in shared]
    return float(np.mean(values)) if values else math.nan


def _map(
    radii: Sequence[float], values: Mapping[tuple[float, float], float], where: str
) -> markup.Markup:
    rows = [
        [markup.number(a), *(_shown(values[a, b]) if b <= a else "" for b in radii)] for a in radii
    ]
    head = ("ε", *map(markup.number, radii))
    return markup.table(head, rows, f"{where}: Jaccard of two ε, same seeds", class_="heat")


def _shown(value: float) -> markup.Markup:
    level = -1 if math.isnan(value) else round((heat.LEVELS - 1) * value)
    return heat.heated(markup.signed(value, 2), level)


def density(found: networks.Networks, prefix: str) -> markup.Markup:
    """The share of weights kept in each layer.

    Args:
        found: From networks.read.
        prefix: Of the section's id.
    """
    head, name = "Density by layer", f"{prefix}-density"
    if not found.by_lane:
        return markup.section(head, name, *networks.said(found))
    alike: dict[tuple[float | None, tuple[float, ...]], list[_Cell]] = {}
    for cell, seeds in by_cell(found.by_lane).items():
        each = [networks.density(network, found.sizes) for network in seeds.values()]
        means = tuple(float(np.mean([d[layer] for d in each])) for layer in found.sizes)
        alike.setdefault((cell[2], means), []).append(cell)
    lines = [
        [_names(cells), markup.number(sparsity), *map(_dense, means)]
        for (sparsity, means), cells in sorted(alike.items(), key=lambda item: item[0][0] or 0.0)
    ]
    layers = [f"{layer} ({size:,})" for layer, size in found.sizes.items()]
    caption = "Kept weights by layer, %, mean over seeds; weights in all in parentheses"
    columns = ("method", "sparsity", *layers)
    shown = markup.table(columns, lines, caption, class_="heat")
    return markup.section(head, name, shown)


def _dense(value: float) -> markup.Markup:
    return heat.heated(markup.signed(100 * value, 2), round((heat.LEVELS - 1) * value))


def _names(cells: Sequence[_Cell]) -> str:
    """Cells of one sparsity, methods with their ε."""
    by_method: dict[str, list[str]] = {}
    for method, eps, _ in cells:
        by_method.setdefault(plots.shown(method), []).extend(
            [] if eps is None else [markup.number(eps)]
        )
    if len(by_method) > 2:
        return f"{len(cells)} cells of {len(by_method)} methods, all alike"
    return "; ".join(f"{m}, ε = {', '.join(e)}" if e else m for m, e in by_method.items())
