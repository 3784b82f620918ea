"""Subsets of one size k only: how many candidates reach one target with few of them (ours).

With t = η+kε a subset S of size k reaches z within η if and only if |Σ_S x − z| <= t: probability
q, the same for every S. Let N count those that do, μ = E N = C(n,k) q. P(N > 0) <= μ, and by the
Cauchy-Schwarz inequality P(N > 0) >= μ²/E N². Two subsets share j candidates in the fraction
h_j = C(k,j) C(n−k,k−j) / C(n,k) of all pairs, and both reach z with probability
P_j = E_u[P(|u + X_{k−j} − z| <= t)²], u the sum of j candidates and X_{k−j} that of the others. So

    μ >= P(N > 0) >= 1 / (1/μ + Σ_{j<k} h_j P_j / q²),

which tends to 1, as h_0 does and P_0 = q². For fixed k, n grows as (η+kε)^(−1/k). That sums of a
fixed number of terms suffice without a perturbation is Natale et al. (2024, arXiv 2410.14754); see
also da Cunha et al. (2022, 2204.13929) and Becchetti et al. (2022, 2207.13944). All is computed in
rational numbers: nothing is rounded.
"""

import functools
import itertools
import math
from fractions import Fraction

from lth_jax.theory.subset_sum.bounds import growth

MOST = 12  # Largest k: rational numbers grow, 0.3 s at 8.


def _sum_of_powers(k: int, x: Fraction, power: int) -> Fraction:
    """Σ_i (−1)^i C(k,i) max(x + k − 2i, 0)^power: what sums of k uniforms are made of."""
    total: Fraction = Fraction(0)
    for i in range(k + 1):
        base = x + k - 2 * i
        if base <= 0:
            break
        total += (-1) ** i * math.comb(k, i) * base**power
    return total


def _below(k: int, x: Fraction) -> Fraction:
    """P(a sum of k iid U[-1, 1] is <= x) (Irwin-Hall)."""
    return _sum_of_powers(k, x, k) / (math.factorial(k) << k) if x < k else Fraction(1)


def _density(k: int, x: Fraction) -> Fraction:
    """Its density, k >= 1, continued from the right at ends."""
    return _sum_of_powers(k, x, k - 1) / (math.factorial(k - 1) << k)


@functools.cache
def _quadrature(points: int) -> tuple[Fraction, ...]:
    """Weights of the nodes (i + 1/2)/points that integrate polynomials of degree < points."""
    nodes = [Fraction(2 * i + 1, 2 * points) for i in range(points)]
    weights = []
    for i, node in enumerate(nodes):
        polynomial = [Fraction(1)]  # Lagrange's, from the constant term on.
        for other in nodes[:i] + nodes[i + 1 :]:
            shifted = [Fraction(0), *polynomial]
            scaled = [*(c * other for c in polynomial), Fraction(0)]
            polynomial = [(a - b) / (node - other) for a, b in zip(shifted, scaled, strict=True)]
        weights.append(sum((c / (d + 1) for d, c in enumerate(polynomial)), Fraction(0)))
    return tuple(weights)


def _both(k: int, j: int, z: Fraction, t: Fraction) -> Fraction:
    """P_j, 1 <= j < k: exact, as between its knots the integrand is a polynomial."""
    rest, points = k - j, j + 2 * (k - j)
    knots = {Fraction(2 * i - j) for i in range(j + 1)}
    knots |= {z + s * t + rest - 2 * i for i in range(rest + 1) for s in (1, -1)}
    ordered = sorted(x for x in knots if -j <= x <= j)
    total = Fraction(0)
    for low, high in itertools.pairwise(ordered):
        for i, weight in enumerate(_quadrature(points)):
            u = low + (high - low) * Fraction(2 * i + 1, 2 * points)
            hit = _below(rest, z - u + t) - _below(rest, z - u - t)
            if hit:
                total += weight * (high - low) * _density(j, u) * hit**2
    return total


@functools.lru_cache(maxsize=256)
def _moments(k: int, z: Fraction, t: Fraction) -> tuple[Fraction, tuple[Fraction, ...]]:
    """Q and P_1/q², ..., P_{k−1}/q²."""
    q = _below(k, z + t) - _below(k, z - t)
    return q, tuple(_both(k, j, z, t) / q**2 for j in range(1, k)) if q else ()


def _exact(k: int, z: float, eta: float, eps: float) -> tuple[Fraction, Fraction]:
    """Checks the values; z and t as rational numbers."""
    growth.check(eta, eps)
    if not 1 <= k <= MOST or not math.isfinite(z + eta + eps):
        raise ValueError(f"expected 1 <= k <= {MOST} and finite numbers, got {k}, {z}.")
    return Fraction(z), Fraction(eta) + k * Fraction(eps)


def _enclosed(n: int, k: int, z: Fraction, t: Fraction) -> tuple[Fraction, Fraction]:
    q, ratios = _moments(k, z, t)
    mean = math.comb(n, k) * q
    if not mean:
        return Fraction(0), Fraction(0)
    all_ratios: tuple[Fraction, ...] = (Fraction(1), *ratios)
    pairs = [math.comb(k, j) * math.comb(n - k, k - j) for j in range(k)]
    weighted = sum((r * h for h, r in zip(pairs, all_ratios, strict=True)), Fraction(0))
    return 1 / (1 / mean + weighted / math.comb(n, k)), min(mean, Fraction(1))


def fixed_size_probability(n: int, k: int, z: float, eta: float, eps: float) -> tuple[float, float]:
    """Bounds P(some k of n candidates sum to z within η).

    Args:
        n: Candidates.
        k: Size of the subsets, 1 to 12.
        z: Target.
        eta: η >= 0.
        eps: ε >= 0.

    Returns:
        Lower and upper bound, rounded to the nearest float64.

    Raises:
        ValueError: If a value does not fit.
    """
    low, high = _enclosed(n, k, *_exact(k, z, eta, eps))
    return float(low), float(high)


def fixed_size(k: int, z: float, eta: float, eps: float, probability: float) -> tuple[float, float]:
    """The candidates of which some k sum to z within η with a given probability.

    Args:
        k: Size of the subsets, 1 to 12.
        z: Target.
        eta: η >= 0.
        eps: ε >= 0.
        probability: In (0, 1).

    Returns:
        (necessary, sufficient): the least n with μ >= `probability`, and the least found at which
        the lower bound is; both inf if no subset reaches z.

    Raises:
        ValueError: If a value does not fit.
    """
    z_exact, t = _exact(k, z, eta, eps)
    if not 0 < probability < 1:
        raise ValueError(f"expected 0 < probability < 1, got {probability}.")
    if not _moments(k, z_exact, t)[0]:
        return math.inf, math.inf
    exact = Fraction(probability)
    found = []
    for side in (1, 0):
        few, n = k - 1, k
        while _enclosed(n, k, z_exact, t)[side] < exact:
            few, n = n, 2 * n
        while n - few > 1:
            middle = (few + n) // 2
            if _enclosed(middle, k, z_exact, t)[side] < exact:
                few = middle
            else:
                n = middle
        found.append(n)
    return found[0], found[1]
