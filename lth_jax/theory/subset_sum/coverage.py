"""Which targets a candidate set reaches: unions of intervals, and Monte Carlo over random sets.

Subset S reaches [σ_S − |S|ε − η, σ_S + |S|ε + η]. Sort all left and all right ends apart: a gap of
the union lies between right end i and left end i+1 wherever that left end is larger. So one draw's
covering radius, sup over z of the least error, serves every η. Endpoints are float64 sums.
"""

import concurrent.futures
import math
import typing
from collections.abc import Callable, Sequence
from typing import Protocol

import jax
import numpy as np
import numpy.typing as npt

from lth_jax.theory.subset_sum import search

LIMIT = 26  # Most candidates of a full enumeration: 2^26 sums are 1 GiB with both ends.

Floats = npt.NDArray[np.float64]


@typing.runtime_checkable
class Distribution(Protocol):
    """A frozen distribution of scipy.stats."""

    def rvs(self, *, size: tuple[int, ...], random_state: np.random.Generator) -> npt.ArrayLike:
        """Draws numbers."""


Sampler = Callable[[jax.Array, tuple[int, ...]], jax.Array] | Distribution


def uniform(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """U[-1, 1] in float32, the candidates of the paper."""
    return jax.random.uniform(key, shape, minval=-1.0, maxval=1.0)


def draw(sampler: Sampler, key: jax.Array, shape: tuple[int, ...]) -> Floats:
    """Candidates as float64.

    Args:
        sampler: A function (key, shape) -> array, or a frozen scipy.stats distribution.
        key: PRNG key.
        shape: The shape.
    """
    if isinstance(sampler, Distribution):
        seed = [int(word) for word in np.ravel(jax.random.key_data(key))]
        return np.asarray(sampler.rvs(size=shape, random_state=np.random.default_rng(seed)), float)
    return np.asarray(sampler(key, shape), np.float64)


def _ends(x: Floats, eps: float) -> tuple[Floats, Floats]:
    """Left and right ends [2^n] of what the subsets reach, unsorted."""
    if len(x) > LIMIT:
        raise ValueError(f"expected at most {LIMIT} candidates, got {len(x)}.")
    left, right = np.zeros(1 << len(x)), np.zeros(1 << len(x) if eps else 0)
    for i, value in enumerate(x):
        np.add(left[: 1 << i], value - eps, out=left[1 << i : 2 << i])
        if eps:
            np.add(right[: 1 << i], value + eps, out=right[1 << i : 2 << i])
    return left, right if eps else left


def union(left: Floats, right: Floats) -> Floats:
    """The union of intervals [left_i, right_i] as disjoint sorted intervals [c, 2]."""
    left, right = np.sort(left), np.sort(right)
    gap = left[1:] > right[:-1]
    return np.stack([left[np.r_[True, gap]], right[np.r_[gap, True]]], axis=1)


def covered(x: Floats, eps: float, eta: float, low: float = -0.5, high: float = 0.5) -> Floats:
    """The set of all z in [low, high] that some subset reaches within η.

    Args:
        x: [n] candidates, n <= 26.
        eps: Largest |y_i|, >= 0.
        eta: Error allowed, >= 0.
        low: Least target.
        high: Largest target.

    Returns:
        [c, 2] float64 disjoint intervals in order; ends carry n roundings.

    Raises:
        ValueError: If n > 26.
    """
    left, right = _ends(np.asarray(x, np.float64), eps)
    left, right = np.maximum(left - eta, low), np.minimum(right + eta, high)
    inside = left <= right
    return union(left[inside], right[inside]) if inside.any() else np.zeros((0, 2))


def _radius(left: Floats, right: Floats, low: float, high: float) -> float:
    """Sup over z in [low, high] of the distance to the intervals; some interval meets it."""
    inside = (right >= low) & (left <= high)
    starts = np.sort(left[inside])
    ends = starts if left is right else np.sort(right[inside])
    before = np.max(right, where=right < low, initial=-np.inf)
    after = np.min(left, where=left > high, initial=np.inf)
    ends, starts = np.r_[before, ends], np.r_[starts, after]
    # The furthest point of a gap: its middle, or the end of [low, high] where that cuts it.
    open_gap = starts > ends
    ends, starts = ends[open_gap], starts[open_gap]
    with np.errstate(invalid="ignore"):
        middle = np.clip((ends + starts) / 2, low, high)
    middle = np.where(np.isinf(ends), low, np.where(np.isinf(starts), high, middle))
    distance = np.minimum(middle - ends, starts - middle)
    return float(np.max(distance, initial=0.0))


def covering_radius(x: Floats, eps: float, low: float = -0.5, high: float = 0.5) -> float:
    """The sup over z in [low, high] of the least error; 0 in [low, high] is needed.

    Args:
        x: [n] candidates, n <= 26.
        eps: Largest |y_i|, >= 0.
        low: Least target, <= 0.
        high: Largest target, >= 0.

    Raises:
        ValueError: If n > 26 or 0 lies outside.
    """
    if not low <= 0 <= high:
        raise ValueError(f"expected low <= 0 <= high, got [{low}, {high}].")
    return _radius(*_ends(np.asarray(x, np.float64), eps), low, high)


def minimal_prefixes(x: Floats, eps: float, etas: Sequence[float], start: int = 0) -> Floats:
    """For each η the least n such that the first n candidates give every z in W an error <= η.

    Args:
        x: [N] candidates, N <= 26.
        eps: Largest |y_i|, >= 0.
        etas: The errors.
        start: A lower bound on all answers; fewer candidates are not looked at.

    Returns:
        [len(etas)] float64; inf where N are not enough.
    """
    x, allowed = np.asarray(x, np.float64), np.asarray(etas, np.float64)
    answer = np.full(len(allowed), np.inf)
    for n in range(start, len(x) + 1):
        answer[np.isinf(answer) & (covering_radius(x[:n], eps) <= allowed)] = n
        if np.isfinite(answer).all():
            break
    return answer


def simulate(
    key: jax.Array,
    eps: float,
    etas: Sequence[float],
    trials: int,
    most: int,
    sampler: Sampler = uniform,
    start: int = 0,
) -> Floats:
    """`minimal_prefixes` of random draws: [trials, len(etas)]; at most `most` candidates each."""
    x = draw(sampler, key, (trials, most))
    with concurrent.futures.ThreadPoolExecutor(search.threads()) as pool:
        return np.stack(list(pool.map(lambda row: minimal_prefixes(row, eps, etas, start), x)))


def quantile(minima: Floats, probability: float) -> Floats:
    """The least n at which the fraction of trials that succeed is >= probability, per column.

    Args:
        minima: [trials, ...] minimal n of each trial.
        probability: In (0, 1].
    """
    rank = math.ceil(probability * len(minima) - 1e-9)
    return np.asarray(np.sort(minima, axis=0)[rank - 1])


def quantile_interval(minima: Floats, probability: float) -> tuple[Floats, Floats]:
    """A 95 % interval of `quantile` by order statistics (normal approximation of the ranks)."""
    trials = len(minima)
    spread = 1.96 * math.sqrt(trials * probability * (1 - probability))
    ranks = [probability * trials - spread, probability * trials + spread]
    low, high = (int(np.clip(round(rank), 1, trials)) - 1 for rank in ranks)
    ordered = np.sort(minima, axis=0)
    return ordered[low], ordered[high]


def measure(reached: Floats) -> float:
    """The total length of disjoint intervals [c, 2]."""
    return float((reached[:, 1] - reached[:, 0]).sum())
