"""Rows of many pruners side by side: at ε = 0 and at the ε that validates best for each."""

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from lth_jax import files
from lth_jax.report import confirmatory, statistics
from lth_jax.runs import archive

REFERENCE = "edge_popup"


class Scores(NamedTuple):
    """How scores are trained."""

    rate: float
    decay: float  # of SGD, as weight decay


_Lanes = dict[int, Mapping[str, Any]]  # rows by seed


class Entry(NamedTuple):
    """A pruner at a sparsity, with weights that do not move or in the ball chosen for it."""

    pruner: str
    sparsity: float
    moves: bool
    eps: float
    accuracy: statistics.Mean  # on the test split
    difference: statistics.Mean  # to the reference at the same place, paired by seed
    p: float  # of exact sign flips, two-sided; NaN for the reference
    p_holm: float  # corrected over the others that are compared with the same reference's entry
    diverged: int
    rate: float  # of the scores
    decay: float  # of the scores

    def record(self) -> dict[str, Any]:
        """As JSON has it."""
        found = self._asdict()
        found |= {name: found[name]._asdict() for name in ("accuracy", "difference")}
        made: dict[str, Any] = files.jsonable(found)
        return made


def stored(files: Iterable[str | os.PathLike[str]]) -> list[dict[str, Any]]:
    """The rows of archives, as `entries` takes them.

    Args:
        files: From `experiments.archive`, one for each pruner.

    Raises:
        InputError: If a file is missing or damaged.
    """
    found = []
    for kept in map(archive.load, files):
        scores = Scores(kept.config["prune_lr"], kept.config["prune_decay"])
        found += [row | scores._asdict() for row in kept.rows]
    return found


def entries(rows: Iterable[Mapping[str, Any]]) -> list[Entry]:
    """What rows of several pruners say.

    Args:
        rows: With `pruner`, `rate`, `decay`, `sparsity`, `eps` (0 or null is weights that do not
            move), `seed` and accuracies.

    Returns:
        In the order of their first rows, by sparsity, ε = 0 first.

    Raises:
        ValueError: If the reference is missing.
    """
    cells: dict[tuple[float, str], dict[float, _Lanes]] = {}
    for row in rows:
        lanes = cells.setdefault((row["sparsity"], row["pruner"]), {})
        lanes.setdefault(row["eps"] or 0.0, {})[row["seed"]] = row
    found: dict[tuple[float, bool, str], tuple[float, _Lanes]] = {}
    for (sparsity, pruner), by_eps in cells.items():
        moving = {eps: lanes for eps, lanes in by_eps.items() if eps}
        if 0.0 in by_eps:
            found[sparsity, False, pruner] = (0.0, by_eps[0.0])
        if moving:
            best = chosen(moving)
            found[sparsity, True, pruner] = (best, moving[best])
    order = sorted(found, key=lambda key: key[:2])
    made = {key: _entry(found, key) for key in order}
    for column in dict.fromkeys(key[:2] for key in order):
        compared = [key for key in order if key[:2] == column and key[2] != REFERENCE]
        corrected = confirmatory.holm([made[key].p for key in compared])
        for key, p in zip(compared, corrected, strict=True):
            made[key] = made[key]._replace(p_holm=p)
    return list(made.values())


def chosen(by_eps: Mapping[float, _Lanes]) -> float:
    """The ε that validates best on the seeds that all share; of none shared the first."""
    fine = {
        eps: {seed: row for seed, row in lanes.items() if row["diverged"] is None}
        for eps, lanes in by_eps.items()
    }
    some = {eps: lanes for eps, lanes in fine.items() if lanes} or fine
    shared = sorted(set.intersection(*(set(lanes) for lanes in some.values())))

    def validation(eps: float) -> float:
        return statistics.mean([some[eps][seed]["val_accuracy"] for seed in shared]).mean

    return max(some, key=validation) if shared else next(iter(some))


def _entry(
    found: Mapping[tuple[float, bool, str], tuple[float, _Lanes]], key: tuple[float, bool, str]
) -> Entry:
    sparsity, moves, pruner = key
    if (sparsity, moves, REFERENCE) not in found:
        raise ValueError(f"expected rows of {REFERENCE} beside those of {pruner}.")
    eps, lanes = found[key]
    ours, theirs = _accuracies(lanes), _accuracies(found[sparsity, moves, REFERENCE][1])
    both = [ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs.keys())]
    p = float("nan") if pruner == REFERENCE else confirmatory.sign_flip_p(both)
    return Entry(
        pruner=pruner,
        sparsity=sparsity,
        moves=moves,
        eps=eps,
        accuracy=statistics.mean(list(ours.values())),
        difference=statistics.mean(both),
        p=p,
        p_holm=p,
        diverged=len(lanes) - len(ours),
        rate=next(iter(lanes.values()))["rate"],
        decay=next(iter(lanes.values()))["decay"],
    )


def _accuracies(lanes: _Lanes) -> dict[int, float]:
    fine = {seed: row for seed, row in lanes.items() if row["diverged"] is None}
    return {seed: float(row["test_accuracy"]) for seed, row in fine.items()}


def lines(some: Sequence[Entry]) -> list[str]:
    """The entries in markdown, in percent with 95 % intervals."""
    shown = [
        f"| sparsity | pruner | rate | decay | ε | test, % | − `{REFERENCE}` | p after Holm | n |",
        "|" + "---|" * 9,
    ]
    for entry in some:
        against = "" if entry.pruner == REFERENCE else _percent(entry.difference, "+")
        p = "" if entry.pruner == REFERENCE else f"{entry.p_holm:.2g}"
        n = f"{entry.accuracy.n}" + (f" (+{entry.diverged} diverged)" if entry.diverged else "")
        numbers = (f"{value:g}" for value in (entry.rate, entry.decay, entry.eps))
        fields = (f"{entry.sparsity:g}", f"`{entry.pruner}`", *numbers)
        shown.append("| " + " | ".join((*fields, _percent(entry.accuracy), against, p, n)) + " |")
    return shown


def _percent(value: statistics.Mean, sign: str = "") -> str:
    half = "" if value.half != value.half else f" ± {100 * value.half:.2f}"
    return f"{100 * value.mean:{sign}.2f}{half}"
