"""Rows beside the cells of the paper's tables, and the verdicts on the hypotheses, as text."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from experiments.published import tables
from lth_jax import files
from lth_jax.report import confirmatory, plots, statistics

METHODS = {number: table.method for number, table in tables.paper().tables.items()}


class Cell(NamedTuple):
    """A cell of one of the paper's tables beside ours, test accuracies in [0, 1]."""

    table: int
    eps: float
    sparsity: float
    published: float
    ours: statistics.Mean  # over seeds
    diverged: int  # seeds that are not in `ours`

    def record(self) -> dict[str, Any]:
        """As JSON has it: the interval is of the difference, null for fewer than two seeds."""
        difference = self.ours.mean - self.published
        ends = (difference - self.ours.half, difference + self.ours.half)
        found = {
            "table": self.table,
            "method": METHODS[self.table],
            "eps": self.eps,
            "sparsity": self.sparsity,
            "published": self.published,
            "ours": self.ours.mean,
            "n": self.ours.n,
            "diverged": self.diverged,
            "difference": difference,
            "low95": ends[0],
            "high95": ends[1],
        }
        made: dict[str, Any] = files.jsonable(found)
        return made


def compare(rows: Iterable[Mapping[str, Any]], table: int) -> list[Cell]:
    """The cells of a table that rows have, in its order.

    Args:
        rows: As in results.jsonl; those of `prune` are the column ε = 0.
        table: 1, 2 or 3.
    """
    found: dict[tuple[float, float], list[Mapping[str, Any]]] = {}
    for row in rows:
        if row["method"] == METHODS[table]:
            found.setdefault((row["eps"], row["sparsity"]), []).append(row)
        elif row["method"] == "prune":
            found.setdefault((0.0, row["sparsity"]), []).append(row)
    cells = []
    for (eps, sparsity), value in tables.paper().tables[table].cells.items():
        mine = found.get((eps, sparsity), [])
        fine = [row["test_accuracy"] for row in mine if row["diverged"] is None]
        if mine:
            ours = statistics.mean(fine)
            cells.append(Cell(table, eps, sparsity, value, ours, len(mine) - len(fine)))
    return cells


def lines(cells: Sequence[Cell], table: int) -> list[str]:
    """A table in markdown, in percent: published → ours, and the difference."""
    own = [cell for cell in cells if cell.table == table]
    radii = sorted({cell.eps for cell in own})
    most = max((cell.ours.n for cell in own), default=0)
    shown = [
        f"Table {table}, `{METHODS[table]}`: published → ours, difference; test accuracy in %, "
        f"n = {most} seed{'' if most == 1 else 's, with 95 % intervals'}.",
        "",
        "| s | " + " | ".join(f"ε = {eps:g}" for eps in radii) + " |",
        "|" + "---|" * (len(radii) + 1),
    ]
    for sparsity in sorted({cell.sparsity for cell in own}):
        at = {cell.eps: _shown(cell) for cell in own if cell.sparsity == sparsity}
        row = [f"{sparsity:g}", *(at.get(eps, "") for eps in radii)]
        shown.append("| " + " | ".join(row) + " |")
    return [*shown, ""]


def _shown(cell: Cell) -> str:
    before = f"{100 * cell.published:.0f} → "
    if not cell.ours.n:
        return before + "diverged"
    half = "" if math.isnan(cell.ours.half) else f" ± {100 * cell.ours.half:.1f}"
    difference = 100 * (cell.ours.mean - cell.published)
    lost = f", {cell.diverged} diverged" if cell.diverged else ""
    return f"{before}{100 * cell.ours.mean:.1f}{half} ({difference:+.1f}{lost})"


def picture(cells: Sequence[Cell]) -> plots.Figure:
    """Accuracy against ε, a panel per table, a line per sparsity: published dashed, ours drawn."""
    tables = sorted({cell.table for cell in cells})
    drawing = plots.empty(4.2 * len(tables), 4.0)
    panels = list(drawing.subplots(1, len(tables), squeeze=False)[0])
    for panel, table in zip(panels, tables, strict=True):
        own = [cell for cell in cells if cell.table == table]
        for place, sparsity in enumerate(sorted({cell.sparsity for cell in own})):
            line = sorted((c for c in own if c.sparsity == sparsity), key=lambda c: c.eps)
            x = [c.eps for c in line]
            style = plots.style(place) | {"ms": 4, "lw": 1.1}
            ours = {"label": f"ours, s = {sparsity:g}", "linestyle": "-"}
            theirs = {"label": f"published, s = {sparsity:g}", "linestyle": ":", "mfc": "none"}
            bars = [100 * plots.half(c.ours.half) for c in line]
            panel.errorbar(x, [100 * c.ours.mean for c in line], bars, **(style | ours), capsize=2)
            panel.plot(x, [100 * c.published for c in line], **(style | theirs))
        plots.tick_radii(panel, sorted({cell.eps for cell in own}))
        panel.set(title=f"table {table}: {plots.shown(METHODS[table])}", ylim=(0, 100))
        panel.grid(**plots.GRID)
    panels[0].set_ylabel("test accuracy (%)")
    plots.add_legend(drawing, panels)
    return drawing


def verdict_lines(verdicts: Iterable[confirmatory.Verdict]) -> list[str]:
    """The confirmatory table in markdown; differences in percent points with 95 % intervals."""
    shown = [
        "| | claim | what is compared | difference | n | d_z | p after Holm | |",
        "|" + "---|" * 8,
    ]
    for v in verdicts:
        difference = f"{100 * v.difference.mean:+.2f} ± {100 * v.difference.half:.2f}"
        p = f"{v.p_holm:.2g}"
        row = (v.name, v.claim, v.weakest, difference, v.difference.n, f"{v.effect.d:.1f}", p)
        shown.append("| " + " | ".join(map(str, (*row, v.outcome))) + " |")
    return shown


def verdict_record(verdict: confirmatory.Verdict) -> dict[str, Any]:
    """A verdict as JSON has it."""
    found = verdict._asdict()
    found["difference"], found["effect"] = verdict.difference._asdict(), verdict.effect._asdict()
    made: dict[str, Any] = files.jsonable(found)
    return made
