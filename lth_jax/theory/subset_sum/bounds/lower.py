"""How many candidates are necessary (ours)."""

import functools
import math
from fractions import Fraction

import numpy as np

from lth_jax.theory.subset_sum.bounds import growth


def _times(count: int, share: float) -> float:
    """Count · share, also where the count is too large for a float."""
    try:
        return count * share
    except OverflowError:
        product = Fraction(count) * Fraction(share)
        return float(product) if product < 1 else 1.0  # More than enough for every caller.


def _surely_too_few(eta: float, eps: float, enough: float) -> int:
    """A number of candidates, all n below which have 2^n·2(η+nε) < enough / 2."""
    n = 0
    while math.ldexp(min(1.0, 2 * (eta + (n + 1) * eps)), n) < enough / 2:
        n += 1
    return n


def lower_by_volume(eta: float, eps: float) -> float:
    """The least n with Σ_k C(n,k) min(1, 2η+2kε) >= 1: fewer candidates never cover W (ours).

    The intervals that the subsets reach must have at least the measure of W. Holds for any draw.

    Args:
        eta: η >= 0.
        eps: ε >= 0.

    Returns:
        The bound; inf if η = ε = 0.

    Raises:
        ValueError: If a value does not fit.
    """
    growth.check(eta, eps)
    if eta == eps == 0:
        return math.inf
    n = _surely_too_few(eta, eps, 1.0)
    while (
        math.fsum(_times(math.comb(n, k), min(1.0, 2 * eta + 2 * k * eps)) for k in range(n + 1))
        < 1
    ):
        n += 1
    return n


@functools.cache
def _centers(most: int) -> list[float]:
    """For k = 1, ..., `most` the density of a sum of k iid U[0, 1] at k/2.

    By the recurrence of B-splines (de Boor 1972) at halves. All terms are non-negative, so each is
    off by at most 3k roundings.
    """
    density = np.array([1.0, 1.0, 0.0])  # Of U[0, 1) at 0, 1/2 and 1.
    centers = [1.0]
    for k in range(2, most + 1):
        x = np.arange(2 * k + 1) / 2
        at, before = np.zeros(2 * k + 1), np.zeros(2 * k + 1)
        at[: 2 * k - 1], before[2:] = density, density
        density = (x * at + (k - x) * before) / (k - 1)
        centers.append(float(density[k]))
    return centers


@functools.cache
def peak_density(k: int) -> float:
    """The largest density of a sum of k >= 1 iid U[-1, 1]: 1/2, 1/2, 3/8, 1/3, ... (Irwin-Hall).

    Rounded once up to k = 64, above that upward, by less than k·1e-15 of it.
    """
    if k > 64:  # Integers of k² bits: seconds for a thousand.
        return _centers(-(-k // 256) * 256)[k - 1] / 2 * (1 + 8 * k * 2.0**-53)
    total = sum((-1) ** j * math.comb(k, j) * (k - 2 * j) ** (k - 1) for j in range((k + 1) // 2))
    return float(total / (math.factorial(k - 1) << k))  # Of integers: rounded once.


def _sum_over_sizes(n: int, eta: float, eps: float, total: float) -> float:
    """`total` + Σ_{k>=1} C(n,k) min(1, 2(η+kε) f_k), at most 1."""
    for k in range(1, n + 1):
        if total >= 1:  # No term is negative.
            break
        total += _times(math.comb(n, k), min(1.0, 2 * (eta + k * eps) * peak_density(k)))
    return min(1.0, total)


def success_upper_bound(n: int, eta: float, eps: float) -> float:
    """P(all z) is at most min(1,2η) + Σ_{k>=1} C(n,k) min(1, 2(η+kε) f_k) (ours).

    A given z is reached by a given subset of size k with probability at most 2(η+kε)f_k, f_k the
    peak density of its sum; integrate over z in W. The same sum without the empty set's
    term bounds P of one fixed |z| > η.

    Args:
        n: Candidates.
        eta: η >= 0.
        eps: ε >= 0.

    Returns:
        The bound, at most 1.

    Raises:
        ValueError: If a value does not fit.
    """
    growth.check(eta, eps)
    return _sum_over_sizes(n, eta, eps, min(1.0, 2 * eta))


def lower_by_density(eta: float, eps: float, probability: float) -> float:
    """The least n with `success_upper_bound` >= `probability`; inf if η = ε = 0 (ours).

    Raises:
        ValueError: If a value does not fit.
    """
    growth.check(eta, eps, probability)
    if eta == eps == 0:
        return math.inf
    n = _surely_too_few(eta, eps, probability)
    while success_upper_bound(n, eta, eps) < probability:
        n += 1
    return n


def _share(probability: float, weights: int) -> tuple[float, float]:
    """(p^(1/N), 1 − p^(1/N)): what each of N independent events must have, and may lack at most."""
    if weights < 1:
        raise ValueError(f"expected weights >= 1, got {weights}.")
    log = math.log(probability) / weights if probability else -math.inf
    return math.exp(log), -math.expm1(log)


def sign_lower(eps: float, probability: float, weights: int = 1) -> float:
    """The least n with (1 − ((1−ε)/2)ⁿ)^N >= `probability`: the lottery of signs (ours).

    For z > η no subset will do if all candidates are below −ε, which has the probability
    ((1−ε)/2)ⁿ; for z < −η likewise. So of N weights with |w| > η and candidates of their own all
    are within η with probability at most (1 − ((1−ε)/2)ⁿ)^N, whatever η.

    Args:
        eps: ε >= 0.
        probability: That all weights are within η, 0 to 1.
        weights: N, those with |w| > η, >= 1.

    Returns:
        The bound; inf for probability 1 at ε < 1.

    Raises:
        ValueError: If a value does not fit.
    """
    growth.check(0.0, eps, probability)
    lacks = _share(probability, weights)[1]
    if lacks >= 1:
        return 0
    if eps >= 1:
        return 1
    if lacks == 0:
        return math.inf
    n = math.log(lacks) / math.log((1 - eps) / 2)
    return math.ceil(n * (1 - 1e-12))


def necessary(eta: float, eps: float, probability: float, weights: int = 1) -> float:
    """The n below which N weights are all within η with less than `probability` (ours).

    The larger of `sign_lower` and the least n at which Σ_{k>=1} C(n,k) min(1, 2(η+kε) f_k), a bound
    for each weight, is at least `probability`^(1/N).

    Args:
        eta: η >= 0.
        eps: ε >= 0.
        probability: That all weights are within η, 0 to 1.
        weights: N, those with |w| > η and candidates of their own, >= 1.

    Returns:
        The bound; inf if η = ε = 0.

    Raises:
        ValueError: If a value does not fit.
    """
    growth.check(eta, eps, probability)
    by_sign = sign_lower(eps, probability, weights)
    if by_sign == 0:
        return 0
    if eta == eps == 0:
        return math.inf
    each = _share(probability, weights)[0] * (1 - 1e-15)
    n = _surely_too_few(eta, eps, each)
    while _sum_over_sizes(n, eta, eps, 0.0) < each:
        n += 1
    return max(by_sign, n)
