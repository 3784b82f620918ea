"""The five hypotheses about ε, as differences over seeds; what is chosen, validation chooses.

They were written down before the runs that test them (on seeds from 100 on):
H1 perturb_then_prune at its best ε beats ε = 0.
H2 It beats a random point of the same ball.
H3 It beats pruning alone with equal gradient steps.
H4 joint beats the baseline of H3 and both orders.
H5 Of what joint gains over prune at sparsity 0.5, the ball alone, through a random mask, gives less
   than half.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lth_jax import runs
from lth_jax.report import confirmatory, statistics

_HALF = 0.5  # the sparsity of H5

Cell = tuple[str, float | None, float | None]  # method, eps and sparsity
_Cells = dict[Cell, dict[int, Mapping[str, Any]]]


def of_rows(rows: Iterable[Mapping[str, Any]]) -> list[confirmatory.Hypothesis]:
    """The hypotheses of one data set and net, with the differences that rows have for them.

    Sparsity and ε of H1 to H3 are those at which perturb_then_prune validates best; H4 is at that
    sparsity. Every method has the ε that validates best for it, but the control of H2, which has
    the same one.

    Args:
        rows: Of one folder. Runs that diverged are left out, with the pairs that they belong to.

    Returns:
        H1 to H5.

    Raises:
        ValueError: If a method, an ε above 0 or a sparsity that is needed is missing.
    """
    cells: _Cells = {}
    for row in rows:
        if row["diverged"] is None:
            lane = runs.lane_of(row)
            cells.setdefault(lane[:3], {})[lane.seed] = row
    first = _best(cells, "perturb_then_prune")
    eps, sparsity = first[1:]
    prune, longer = ("prune", None, sparsity), ("prune_longer", None, sparsity)
    other = _best(cells, "prune_then_perturb", sparsity)
    joint = _best(cells, "joint", sparsity)
    at_half = _best(cells, "joint", _HALF)
    alone = _best(cells, "random_mask_then_perturb", _HALF)
    base = ("prune", None, _HALF)

    def beats(better: Cell, *others: Cell) -> dict[str, list[float]]:
        return {
            f"{_named(better)} − {_named(worse)}": [a - b for a, b in _pairs(cells, better, worse)]
            for worse in others
        }

    half = [(j - p) / 2 - (a - p) for j, a, p in _pairs(cells, at_half, alone, base)]
    ratio = f"({_named(at_half)} − {_named(base)}) / 2 − ({_named(alone)} − {_named(base)})"
    make = confirmatory.Hypothesis
    return [
        make("H1", "perturb_then_prune beats ε = 0", beats(first, prune)),
        make("H2", "it beats a random point", beats(first, ("random_then_prune", eps, sparsity))),
        make("H3", "it beats pruning alone with equal steps", beats(first, longer)),
        make("H4", "joint beats that and both orders", beats(joint, longer, first, other)),
        make("H5", "the ball alone gives less than half of joint's gain", {ratio: half}),
    ]


def _best(cells: _Cells, method: str, sparsity: float | None = None) -> Cell:
    """The cell with ε > 0 that validates best, on the seeds that all of them share."""
    some = {
        cell: seeds
        for cell, seeds in cells.items()
        if cell[0] == method and cell[1] and sparsity in (None, cell[2])
    }
    shared = set.intersection(*map(set, some.values())) if some else set()
    if not shared:
        where = "" if sparsity is None else f" at sparsity {sparsity}"
        raise ValueError(f"expected rows of {method} with eps > 0{where} that share seeds.")

    def validation(cell: Cell) -> float:
        values = [float(some[cell][seed]["val_accuracy"]) for seed in sorted(shared)]
        return statistics.mean(values).mean

    return max(some, key=validation)


def _pairs(cells: _Cells, *wanted: Cell) -> list[Sequence[float]]:
    """The test accuracies of some cells, seed by seed."""
    for cell in wanted:
        if cell not in cells:
            raise ValueError(f"expected rows of {_named(cell)}, got none.")
    seeds = sorted(set.intersection(*(set(cells[cell]) for cell in wanted)))
    return [[float(cells[cell][seed]["test_accuracy"]) for cell in wanted] for seed in seeds]


def _named(cell: Cell) -> str:
    method, eps, sparsity = cell
    return f"{method}({'' if eps is None else f'ε = {eps}, '}s = {sparsity})"
