"""Rows to cells: mean, interval and the paired comparisons that a claim about ε needs."""

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from lth_jax import runs
from lth_jax.report import statistics

# What a cell is compared with, seed by seed: its own method at ε = 0, the strong ticket, and the
# strong ticket given as many gradient steps.
BASELINES = ("eps=0", "prune", "prune_longer")
FIELDS = ("val_accuracy", "test_accuracy")


_Key = tuple[str, float | None, float | None]  # a cell's method, eps and sparsity


class Cell(NamedTuple):
    """One method, eps and sparsity over its seeds; runs that diverged are counted, not averaged."""

    method: str
    eps: float | None  # inf is no bound, None is weights that do not move
    sparsity: float | None
    accuracy: dict[str, statistics.Mean]  # by FIELDS
    against: dict[str, statistics.Paired]  # test accuracy, by BASELINES
    diverged: int
    validation: dict[int, float]  # validation accuracy by seed, of the runs that did not diverge


class Best(NamedTuple):
    """The cell that validation prefers, and by how many seeds."""

    cell: Cell
    n: int


def _by_cell(rows: Iterable[Mapping[str, Any]]) -> dict[_Key, dict[int, Mapping[str, Any]]]:
    cells: dict[_Key, dict[int, Mapping[str, Any]]] = {}
    for row in rows:
        lane = runs.lane_of(row)
        cells.setdefault(lane[:3], {})[lane.seed] = row
    return cells


def cells(rows: Iterable[Mapping[str, Any]]) -> list[Cell]:
    """Gathers rows into cells.

    Args:
        rows: As in results.jsonl.

    Returns:
        Cells in the order of their first rows.
    """
    by_cell = _by_cell(rows)
    found = []
    for (method, eps, sparsity), seeds in by_cell.items():
        baselines: dict[str, _Key] = {
            "eps=0": (method, 0.0, sparsity),
            "prune": ("prune", None, sparsity),
            "prune_longer": ("prune_longer", None, sparsity),
        }
        against = {}
        for name, cell in baselines.items():
            other = by_cell.get(cell)
            if other is None or cell == (method, eps, sparsity):
                continue
            both = [
                (row["test_accuracy"], other[seed]["test_accuracy"])
                for seed, row in seeds.items()
                if seed in other and _fine(row) and _fine(other[seed])
            ]
            against[name] = statistics.paired([a for a, _ in both], [b for _, b in both])
        fine = [row for row in seeds.values() if _fine(row)]
        # Where nothing is held out there is no accuracy on it.
        known = {field: [row[field] for row in fine if row[field] is not None] for field in FIELDS}
        accuracy = {field: statistics.mean(values) for field, values in known.items()}
        validation = {
            seed: row["val_accuracy"]
            for seed, row in seeds.items()
            if _fine(row) and row["val_accuracy"] is not None
        }
        diverged = len(seeds) - len(fine)
        found.append(Cell(method, eps, sparsity, accuracy, against, diverged, validation))
    return found


def _fine(row: Mapping[str, Any]) -> bool:
    return row["diverged"] is None


def to_csv(some: Sequence[Cell]) -> str:
    """The cells as CSV; accuracies are fractions, an empty field is one that does not apply.

    Args:
        some: From `cells`.

    Returns:
        Text with a header line.
    """
    heads = ["method", "eps", "sparsity", "n", "diverged"]
    heads += [f"{field}{part}" for field in FIELDS for part in ("", "_half95")]
    heads += [
        f"{part}_vs_{name.replace('=', '')}"
        for name in BASELINES
        for part in ("difference", "half95", "p", "n")
    ]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(heads)
    for cell in some:
        n = cell.accuracy["test_accuracy"].n
        line = [cell.method, cell.eps, cell.sparsity, n, cell.diverged]
        for field in FIELDS:
            line += cell.accuracy[field][:2]
        for name in BASELINES:
            line += cell.against.get(name, (None,) * 4)
        writer.writerow(["" if v is None or _is_nan(v) else v for v in line])
    return out.getvalue()


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def best_sparsity(some: Sequence[Cell]) -> list[Best]:
    """For every method and eps with several sparsities, the one that validation prefers.

    The sparsities are compared on the seeds that they share: on others, a sparsity at which only a
    lucky seed survived could win. One at which every run diverged does not take part.

    Args:
        some: From `cells`.

    Returns:
        One each, if there is a shared seed; the choice never looks at the test split.
    """
    groups: dict[tuple[str, float | str | None], list[Cell]] = {}
    for cell in some:
        if cell.validation:
            groups.setdefault((cell.method, cell.eps), []).append(cell)
    return [
        best for group in groups.values() if len(group) > 1 and (best := _best(group)) is not None
    ]


def _best(group: Sequence[Cell]) -> Best | None:
    shared = [
        seed for seed in group[0].validation if all(seed in cell.validation for cell in group)
    ]
    if not shared:
        return None

    def mean(cell: Cell) -> float:
        return statistics.mean([cell.validation[seed] for seed in shared]).mean

    return Best(max(group, key=mean), len(shared))
