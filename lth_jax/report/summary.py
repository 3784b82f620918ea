"""Rows to cells: mean, interval and the paired comparisons that a claim about ε needs."""

import csv
import io
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from lth_jax import runs
from lth_jax.report import statistics

# What a cell is compared with, seed by seed: its own method at ε = 0, the strong ticket, and the
# strong ticket given as many gradient steps.
BASELINES = ("eps=0", "prune", "prune_longer")
FIELDS = ("val_accuracy", "test_accuracy")
CurveField = Literal["val_curve", "test_curve", "train_loss_curve"]
_PARTS = ("difference", "half95", "p", "n")

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


def records(some: Sequence[Cell]) -> list[dict[str, Any]]:
    """The cells as flat rows, by the names that they have in summary.csv.

    Args:
        some: From `cells`.

    Returns:
        Accuracies as fractions; None is what does not apply, or is not known.
    """
    return [
        {name: None if _is_nan(value) else value for name, value in _record(cell).items()}
        for cell in some
    ]


def _record(cell: Cell) -> dict[str, Any]:
    found: dict[str, Any] = {"method": cell.method, "eps": cell.eps, "sparsity": cell.sparsity}
    found |= {"n": cell.accuracy["test_accuracy"].n, "diverged": cell.diverged}
    for field in FIELDS:
        value = cell.accuracy[field]
        found |= {field: value.mean, f"{field}_half95": value.half}
    for name in BASELINES:
        pair = cell.against.get(name)
        parts = dict(zip(_PARTS, pair or (None,) * len(_PARTS), strict=True))
        found |= {f"{part}_vs_{name.replace('=', '')}": v for part, v in parts.items()}
    return found


def to_csv(some: Sequence[Cell]) -> str:
    """The cells as CSV; accuracies are fractions, an empty field is one that does not apply.

    Args:
        some: From `cells`.

    Returns:
        Text with a header line.
    """
    nothing = Cell("", None, None, dict.fromkeys(FIELDS, statistics.mean([])), {}, 0, {})
    out = io.StringIO()
    writer = csv.DictWriter(out, list(_record(nothing)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records(some))
    return out.getvalue()


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


class Curve(NamedTuple):
    """What one cell's runs say after each epoch: means over those that did not diverge."""

    method: str
    eps: float | None
    sparsity: float | None
    epochs: list[statistics.Mean]  # n is 0 where nothing is known


def curves(rows: Iterable[Mapping[str, Any]], field: CurveField) -> list[Curve]:
    """Gathers the rows' curves into cells.

    Args:
        rows: As in results.jsonl.
        field: "val_curve", accuracies as fractions; "test_curve", where nothing is held out; or
            "train_loss_curve", which rows of earlier versions do not have.

    Returns:
        Those that have an epoch, in the order of their first rows.
    """
    found = []
    for key, seeds in _by_cell(rows).items():
        fine = [row.get(field, ()) for row in seeds.values() if _fine(row)]
        by_epoch = itertools.zip_longest(*fine)
        known = [[value for value in values if value is not None] for values in by_epoch]
        if any(known):
            found.append(Curve(*key, [statistics.mean(values) for values in known]))
    return found


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
