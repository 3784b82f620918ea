"""How far projected SGD really moved the weights."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from lth_jax import runs, sweep
from lth_jax.report import plots, statistics
from lth_jax.report.page import markup, networks, pictures, plots_lines

_Cell = tuple[str, float | None, float | None]


class Moved(NamedTuple):
    """What a cell's rows and tickets say."""

    largest: list[float]  # ball_fraction of its seeds
    boundary: list[float]  # share of kept weights at the boundary, of seeds with a ticket
    tickets: list[networks.Network]


def gather(
    rows: Sequence[Mapping[str, Any]], found: Mapping[sweep.Lane, networks.Network]
) -> dict[_Cell, Moved]:
    """The cells whose weights move in a ball of a finite radius above 0, in the rows' order."""
    cells: dict[_Cell, Moved] = {}
    for row in rows:
        lane = runs.lane_of(row)
        eps = lane.eps
        if row["diverged"] is not None or eps is None or not 0 < eps < float("inf"):
            continue
        cell = cells.setdefault(lane[:3], Moved([], [], []))
        if row.get("ball_fraction") is not None:
            cell.largest.append(row["ball_fraction"])
        network = found.get(lane)
        if network is not None and network.moves is not None and network.moves.kept:
            cell.boundary.append(network.moves.boundary / network.moves.kept)
            cell.tickets.append(network)
    return cells


def section(
    rows: Sequence[Mapping[str, Any]],
    found: networks.Networks,
    album: pictures.Album,
    prefix: str,
) -> markup.Markup:
    """The share of weights on the boundary, and how far the others are from where they began.

    Args:
        rows: As in results.jsonl.
        found: From networks.read.
        album: Takes the pictures.
        prefix: Of the section's id.
    """
    head, name = "How far the weights moved", f"{prefix}-moves"
    cells = gather(rows, found.by_lane)
    if not cells:
        nothing = "No weight of this run moved in a ball of finite radius above 0."
        return markup.section(head, name, markup.paragraph(nothing, class_="note"))
    lines = [
        [
            *(plots.shown(method), markup.number(eps), markup.number(sparsity)),
            len(cell.largest),
            markup.signed(max(cell.largest), 6) if cell.largest else markup.NOTHING,
            *((markup.interval(statistics.mean(cell.boundary)),) if found.by_lane else ()),
        ]
        for (method, eps, sparsity), cell in sorted(cells.items(), key=_by_sparsity(cells))
    ]
    columns = ["method", "ε", "sparsity", "n", "farthest weight, of the radius"]
    if found.by_lane:
        columns.append("kept weights on the boundary, %")
    caption = "The farthest weight of all seeds"
    caption += ", and means with 95 % intervals" if found.by_lane else ""
    parts = [markup.table(columns, lines, caption)]
    if any(cell.tickets for cell in cells.values()):
        words = (
            f"On the boundary is a kept weight with |w − w₀| of at least {networks.BOUNDARY:g} of "
            "its radius, from the tickets, in float64."
        )
        parts.insert(0, _figures(cells, album))
        parts.insert(0, markup.paragraph(words))
    else:
        words = (
            "Rows hold the farthest weight only (ball_fraction): the share on the boundary and the "
            "histogram need tickets."
        )
        parts.insert(0, markup.paragraph(words))
    return markup.section(head, name, *networks.said(found), *parts)


def _figures(cells: Mapping[_Cell, Moved], album: pictures.Album) -> markup.Markup:
    drawn = []
    places = dict.fromkeys((method, sparsity) for method, _, sparsity in cells)
    for sparsity in dict.fromkeys(sparsity for _, sparsity in places):
        lines: dict[str, dict[float, statistics.Mean]] = {}
        for (method, eps, s), cell in sorted(cells.items(), key=_by_eps):
            if s == sparsity and cell.boundary and eps is not None:
                lines.setdefault(method, {})[eps] = statistics.mean(cell.boundary)
        if lines:
            drawing = plots_lines.against_eps(lines, "on the boundary (%)", 100, from_zero=True)
            caption = f"Kept weights on the boundary{_at(sparsity)}, mean and 95 % interval"
            drawn.append(album.add(drawing, caption))
    radii = sorted({eps for _, eps, _ in cells if eps is not None})
    for method, sparsity in places:
        shares = {}
        for (m, eps, s), cell in sorted(cells.items(), key=_by_eps):
            share = networks.pooled(cell.tickets)
            if (m, s) == (method, sparsity) and eps is not None and share is not None:
                shares[eps] = share
        if shares:
            caption = f"{plots.shown(method)}{_at(sparsity)}: |w − w₀| of kept weights"
            drawn.append(album.add(plots_lines.distances(shares, radii), caption))
    return markup.figures(drawn)


def _by_sparsity(cells: Mapping[_Cell, Moved]) -> Callable[[tuple[_Cell, Moved]], Any]:
    """Methods as they come, below each the sparsities, below each ε."""
    methods = list(dict.fromkeys(method for method, _, _ in cells))
    return lambda item: (methods.index(item[0][0]), item[0][2] or 0.0, _by_eps(item))


def _by_eps(item: tuple[_Cell, Moved]) -> float:
    return item[0][1] or 0.0


def _at(sparsity: float | None) -> str:
    return "" if sparsity is None else f" at sparsity {sparsity:g}"
