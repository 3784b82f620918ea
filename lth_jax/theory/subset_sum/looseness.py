"""How loose the bounds are: each beside what a simulation needs, over (η, ε)."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
import numpy.typing as npt

from lth_jax.theory.subset_sum import bounds, coverage, solvers

Floats = npt.NDArray[np.float64]
TARGET = 0.5  # The end of W: fewest subsets reach it.
SIZES, SIZE_TARGET = (2, 3, 4), 0.25
NETWORK, DELTA = 397_000, 0.05  # The published target's weights, all of them at once.


def _least_prefix(x: Floats, most: int, reach: Callable[[Floats], npt.NDArray[np.bool_]]) -> Floats:
    """For each row of x the least n <= most whose first n entries `reach`; else inf."""
    minima, left = np.full(len(x), np.inf), np.arange(len(x))
    for n in range(most + 1):
        done = reach(x[left, :n])
        minima[left[done]] = n
        left = left[~done]
        if not left.size:
            break
    return minima


def simulate_target(
    key: jax.Array, z: float, eta: float, eps: float, trials: int, most: int
) -> Floats:
    """Least n such that the first n of random candidates give one z an error <= η.

    Args:
        key: PRNG key.
        z: Target.
        eta: η >= 0.
        eps: ε >= 0.
        trials: Random candidate sets.
        most: Candidates of each, at most 40.

    Returns:
        [trials] float64; inf where `most` are not enough.
    """
    x = coverage.draw(coverage.uniform, key, (trials, most))
    return _least_prefix(
        x, most, lambda rows: solvers.reachable(rows, np.full(len(rows), z), eps, eta)
    )


def simulate_size(
    key: jax.Array, k: int, z: float, eta: float, eps: float, trials: int, most: int
) -> Floats:
    """Least n such that k of the first n of random candidates sum to z within η.

    Args:
        key: PRNG key.
        k: Size of the subsets, >= 1.
        z: Target.
        eta: η >= 0.
        eps: ε >= 0.
        trials: Random candidate sets.
        most: Candidates of each.

    Returns:
        [trials] float64; inf where `most` are not enough.
    """
    x = coverage.draw(coverage.uniform, key, (trials, most))

    def reach(rows: Floats) -> npt.NDArray[np.bool_]:
        found = np.zeros(len(rows), bool)
        if rows.shape[1] < k:
            return found
        # Only subsets with the newest candidate are new.
        others = np.array(list(itertools.combinations(range(rows.shape[1] - 1), k - 1)), int)
        for start in range(0, len(others), 2000):
            sums = rows[:, others[start : start + 2000]].sum(axis=2) + rows[:, -1:]
            found |= (np.abs(sums - z) <= eta + k * eps).any(axis=1)
        return found

    return _least_prefix(x, most, reach)


def _quantiles(minima: Floats) -> list[int | None]:
    found = (float(coverage.quantile(minima, p)) for p in (0.5, 0.9))
    return [int(n) if np.isfinite(n) else None for n in found]


def target_rows(
    key: jax.Array, etas: Sequence[float], epsilons: Sequence[float], trials: int
) -> list[dict[str, Any]]:
    """Of one target and of all at once, at 50 % and 90 %, and for a network: one object per (η, ε).

    Args:
        key: PRNG key; ε number i folds in i.
        etas: Errors, >= 0.
        epsilons: Perturbations, >= 0.
        trials: Draws per cell.

    Returns:
        eta, eps, trials; "one" and "all", each with `simulated`, `proved` and (one) `necessary`,
        [at 50 %, at 90 %]; `network` with what is `necessary` and `proved` for 397,000 weights with
        candidates of their own at δ = 0.05, and what the bounds of all targets gave.
    """
    rows = []
    for i, eps in enumerate(epsilons):
        able = [eta for eta in etas if eta + eps > 0]
        key_one, key_all = jax.random.split(jax.random.fold_in(key, i))
        every = coverage.simulate(key_all, eps, able, trials, coverage.LIMIT - 4)
        for j, eta in enumerate(able):
            one = simulate_target(
                jax.random.fold_in(key_one, j), TARGET, eta, eps, trials, coverage.LIMIT
            )
            share = DELTA / NETWORK
            rows.append(
                {
                    "eta": eta,
                    "eps": eps,
                    "trials": trials,
                    "one": {
                        "simulated": _quantiles(one),
                        "necessary": [bounds.necessary(eta, eps, p) for p in (0.5, 0.9)],
                        "proved": [bounds.fixed_target(eta, eps, d) for d in (0.5, 0.1)],
                    },
                    "all": {
                        "simulated": _quantiles(every[:, j]),
                        "proved": [bounds.every_target(eta, eps, d) for d in (0.5, 0.1)],
                        "growth": [bounds.candidates(eta, eps, d) for d in (0.5, 0.1)],
                    },
                    "network": {
                        "necessary": bounds.necessary(eta, eps, 1 - DELTA, NETWORK),
                        "proved": bounds.fixed_target(eta, eps, share),
                        "every_target": bounds.every_target(eta, eps, share),
                        "growth": bounds.candidates(eta, eps, share),
                    },
                }
            )
    return rows


def size_rows(
    key: jax.Array, etas: Sequence[float], epsilons: Sequence[float], trials: int
) -> list[dict[str, Any]]:
    """Of subsets of one size, z = 1/4 at 50 %: one object per (k, η, ε) with n <= 60.

    Args:
        key: PRNG key; folds in the number of the row.
        etas: Errors, >= 0.
        epsilons: Perturbations, >= 0.
        trials: Draws per cell.

    Returns:
        k, eta, eps, trials, `necessary`, `simulated`, `proved`.
    """
    rows: list[dict[str, Any]] = []
    for k, eta, eps in itertools.product(SIZES, etas, epsilons):
        if eta + eps == 0:
            continue
        necessary, proved = bounds.fixed_size(k, SIZE_TARGET, eta, eps, 0.5)
        if proved > 60:
            continue
        minima = simulate_size(
            jax.random.fold_in(key, len(rows)), k, SIZE_TARGET, eta, eps, trials, int(proved)
        )
        rows.append(
            {
                "k": k,
                "eta": eta,
                "eps": eps,
                "trials": trials,
                "necessary": necessary,
                "simulated": _quantiles(minima)[0],
                "proved": proved,
            }
        )
    return rows
