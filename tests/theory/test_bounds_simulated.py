"""Every bound in 10,000 trials or more per cell, at seeds of its own, and what catches a wrong one.

A cell is violated if what was seen has a probability below 1e-7 even where the bound just holds
(an exact binomial limit): of all cells here one would be, by chance, in 30,000 runs.
"""

import itertools

import jax
import numpy as np
import pytest
import scipy.stats

from lth_jax.theory.subset_sum import bounds, coverage, looseness
from lth_jax.theory.subset_sum.bounds import lower, recursion

TRIALS, LIMIT = 10_000, 1e-7
pytestmark = pytest.mark.slow


def too_often(count, trials, probability):
    """Whether so many of the trials are beyond chance if each has at most this probability."""
    return scipy.stats.binom.sf(count - 1, trials, probability) < LIMIT


@pytest.fixture(scope="module")
def one_target():
    """{(η, ε): minimal n of one target [trials]}."""
    key = jax.random.key(160_001)
    cells = list(itertools.product((0.2, 0.05, 1e-2, 1e-3), (0.0, 1e-3, 0.03, 0.2)))
    targets = np.random.default_rng(160_001).uniform(0.25, 0.5, len(cells))
    targets[::3] = 0.5
    return {
        cell: looseness.simulate_target(
            jax.random.fold_in(key, i), (-1) ** i * z, *cell, 4 * TRIALS, 32
        )
        for i, (cell, z) in enumerate(zip(cells, targets, strict=True))
    }


DELTAS = (0.5, 0.2, 0.05, 1e-2, 1e-3)


def cells_too_small(minima, bound):
    """(cells, those in which more than δ of the trials need more than the bound says)."""
    cells, violated = 0, []
    for (eta, eps), column in minima.items():
        for delta in DELTAS:
            n = min(bound(eta, eps, delta), 32)  # What needs more than 32 counts as too many.
            cells += 1
            if too_often(int((column > n).sum()), len(column), delta):
                violated.append((eta, eps, delta))
    return cells, violated


def test_one_target(one_target):
    cells, violated = cells_too_small(one_target, bounds.fixed_target)
    assert cells >= 60 and violated == []


def test_a_bound_of_one_target_with_a_wrong_constant_is_caught(one_target, monkeypatch):
    """Each candidate removes d/2 of the failures; one that removes d is refuted."""
    true = recursion._one_target

    def wrong(low, eps, e):
        made = true(low, eps, e)
        made.operator = made.operator._replace(stay=made.operator.stay / 4)
        return made

    monkeypatch.setattr(recursion, "_one_target", wrong)
    recursion._remembered.cache_clear()
    try:
        assert len(cells_too_small(one_target, bounds.fixed_target)[1]) >= 3
    finally:
        recursion._remembered.cache_clear()


def test_several_weights_of_candidates_of_their_own(one_target):
    """Not enough: with fewer all weights are found in at most so many of the trials."""
    cells, violated = 0, []
    for (eta, eps), column in one_target.items():
        for weights, p in itertools.product((1, 4), (0.3, 0.6, 0.9, 0.99)):
            together = column.reshape(-1, weights).max(axis=1)
            for bound in (
                bounds.necessary(eta, eps, p, weights),
                bounds.sign_lower(eps, p, weights),
            ):
                cells += 1
                n = min(bound, 32) - 1
                if too_often(int((together <= n).sum()), len(together), p):
                    violated.append((eta, eps, weights, p))
    assert cells >= 120 and violated == []


def test_a_necessary_number_with_a_wrong_constant_is_caught(one_target, monkeypatch):
    """The lottery of signs with ((1−ε)/1.7)ⁿ, the peak density half of what it is."""
    monkeypatch.setattr(lower, "peak_density", lambda k: bounds.peak_density(k) / 2)
    by_density = by_sign = 0
    for (eta, eps), column in one_target.items():
        for p in (0.3, 0.6, 0.9, 0.99):
            n = bounds.necessary(eta, eps, p) - 1
            by_density += too_often(int((column <= n).sum()), len(column), p)
            n = np.ceil(np.log(1 - p) / np.log((1 - eps) / 1.7)) - 1
            by_sign += too_often(int((column <= n).sum()), len(column), p)
    assert by_density >= 1 and by_sign >= 1


@pytest.fixture(scope="module")
def every_target():
    """{(η, ε): minimal n of all targets [trials]}."""
    key, etas = jax.random.key(160_002), (0.3, 0.2, 0.1, 0.06)
    found = {}
    for i, eps in enumerate((0.0, 1e-2, 0.05, 0.2)):
        minima = coverage.simulate(jax.random.fold_in(key, i), eps, etas, TRIALS, 16)
        found |= {(eta, eps): column for eta, column in zip(etas, minima.T, strict=True)}
    return found


@pytest.mark.parametrize("bound", [bounds.every_target, bounds.candidates])
def test_all_targets(every_target, bound):
    cells, violated = cells_too_small(every_target, bound)
    assert cells >= 60 and violated == []


def test_a_bound_of_all_targets_with_a_wrong_constant_is_caught(every_target, monkeypatch):
    """Markov's inequality with twenty times what may be left of W."""
    true = recursion._allowed

    def wrong(*args):
        return [(fresh, 20 * largest) for fresh, largest in true(*args)]

    monkeypatch.setattr(recursion, "_allowed", wrong)
    assert len(cells_too_small(every_target, bounds.every_target)[1]) >= 3


SIZES = {
    (1, 1e-2, 0.0): 0.25,
    (1, 1e-2, 0.1): -0.4,
    (2, 1e-2, 0.0): 0.5,
    (2, 1e-2, 0.02): 0.3,
    (2, 1e-3, 0.1): -0.25,
    (3, 1e-2, 0.0): 0.25,
    (3, 2e-3, 1e-3): 0.45,
    (3, 1e-3, 0.05): -0.1,
    (4, 1e-2, 0.0): 0.5,
    (4, 1e-2, 1e-2): 0.2,
    (4, 1e-3, 0.05): -0.5,
    (4, 0.05, 0.05): 0.35,
    (5, 0.02, 0.0): 0.1,
}
PROBABILITIES = (0.1, 0.3, 0.5, 0.7, 0.85)


@pytest.fixture(scope="module")
def one_size():
    """{(k, η, ε): minimal n of subsets of size k [trials]}, up to the largest proved number."""
    key, found = jax.random.key(160_003), {}
    for i, ((k, eta, eps), z) in enumerate(SIZES.items()):
        most = int(max(bounds.fixed_size(k, z, eta, eps, p)[1] for p in PROBABILITIES))
        found[k, eta, eps] = looseness.simulate_size(
            jax.random.fold_in(key, i), k, z, eta, eps, TRIALS, most
        )
    return found


def sizes_violated(minima, bound):
    cells, violated = 0, []
    for (k, eta, eps), column in minima.items():
        for p in PROBABILITIES:
            few, enough = bound(k, SIZES[k, eta, eps], eta, eps, p)
            cells += 1
            missed, made = int((column > enough).sum()), int((column < few).sum())
            if too_often(missed, TRIALS, 1 - p) or too_often(made, TRIALS, p):
                violated.append((k, eta, eps, p))
    return cells, violated


def test_subsets_of_one_size(one_size):
    cells, violated = sizes_violated(one_size, bounds.fixed_size)
    assert cells >= 60 and violated == []


def test_bounds_of_one_size_with_a_wrong_constant_are_caught(one_size):
    """Sufficient for 1.3 p in place of p, necessary likewise."""

    def eager(k, z, eta, eps, p):
        return 0, bounds.fixed_size(k, z, eta, eps, p / 1.3)[1]

    def strict(k, z, eta, eps, p):
        return bounds.fixed_size(k, z, eta, eps, min(1.3 * p, 0.999))[0], np.inf

    for wrong in (eager, strict):
        assert len(sizes_violated(one_size, wrong)[1]) >= 1
