"""How many candidates suffice, by following the measure that they reach (ours).

Candidates are x_i iid U[-1, 1], W = [-1/2, 1/2]. A ⊆ W is what is reached so far, first
[-η, η] ∩ W, then A ∪ ((A + x + [-ε, ε]) ∩ W) for each candidate x: all of it has an error <= η.
p = |A|, b = 1 − p, d = min(1, p+ε). |(A + [-ε, ε]) ∩ W| >= d: the sum fills each gap of A and both
ends of W by ε or wholly. Take D of measure d inside it. A candidate adds at least
f(x) = |(W∖A) ∩ (D+x)|. By Riesz's rearrangement inequality (Riesz 1930) f, on [-1, 1], is majorized
by f̂, the same of two intervals: 0 on the measure 2−b−d, min(b, d) on |b−d|, and on two sides of
min(b, d) each every value from 0 to min(b, d) alike. So for U convex and decreasing

    E U(p + f(x)) <= (QU)(p) = (1 − (b+d)/2) U(p) + ½|b−d| U(p+min(b,d)) + ∫_p^{p+min(b,d)} U.

**One target z.** x reaches z if x ∈ z − D, which lies in [-1, 1] and has measure d. What majorizes
also does so without the d largest values of each, so (for b <= 2d the whole top of f̂ is gone)

    E[U(p + f(x)); x ∉ z − D] <= (Q_zU)(p)
        = (1 − (b+d)/2) U(p) + ½ max(b−2d, 0) U(p+d) + ∫_p^{p+min(d, b/2)} U.

Hence P(error(z) > η after n candidates) <= (Q_zⁿ 1)(min(1, 2η)), if each Q_zᵏ 1 is convex and
decreasing.

**Lemma.** Q_z keeps the class of U >= 0 that are convex, decreasing, and constant on [1−ε, 1].
Proof, with derivatives from one side and U″ a measure: for p < 1−ε is d = p+ε, (b+d)/2 = (1+ε)/2.
(I) p <= (1−2ε)/3, that is b >= 2d:
(Q_zU)′ = (1−ε)/2 U′(p) + (1−3p−2ε) U′(2p+ε) + ½U(2p+ε) − U(p) <= 0,
(Q_zU)″ = (1−ε)/2 U″(p) + 2(1−3p−2ε) U″(2p+ε) − 2U′(2p+ε) − U′(p) >= 0.
(II) from there to 1−ε: (Q_zU)′ = (1−ε)/2 U′(p) + ½U((1+p)/2) − U(p) <= 0,
(Q_zU)″ = (1−ε)/2 U″(p) + ¼U′((1+p)/2) − U′(p) >= 0, for U′(p) <= U′((1+p)/2) <= 0.
At (1−2ε)/3 both values and both slopes agree. (III) On [1−ε, 1] is d = 1 and U = U(1):
Q_zU = U(1)/2, a constant, which (II) meets at 1−ε with a slope <= 0. Not kept is all of "convex and
decreasing": 1 − p at ε = 0.3 is not, for in (III) the slope of U adds ½U′ to (Q_zU)″.

**Every target at once.** Q keeps all convex decreasing functions: for p <= (1−ε)/2,
(QU)′ = (1−ε)/2 U′(p) + (1−2p−ε) U′(2p+ε) + U(2p+ε) − U(p),
(QU)″ = (1−ε)/2 U″(p) + 2(1−2p−ε) U″(2p+ε) − U′(p); then, up to 1−ε,
(QU)′ = (1−ε)/2 U′(p) + U(1) − U(p), (QU)″ = (1−ε)/2 U″(p) − U′(p); then
(QU)′ = p/2 U′(p) + ½(U(1) − U(p)), (QU)″ = p/2 U″(p), and there (QU)′ rises by ½(U(p) − U(1)).
So with U = 1 − p, E[1 − p_n] <= (Qⁿ U)(p_0), and by Markov's inequality less than m of W is left
but for a probability of E[1 − p_n]/m. Let A start with θη, and m = (1−θ)η: within m of each z lies
m of W, so a point of A. Or m = (1−θ)η + ε, and K fresh candidates: but for a probability of
(K+1)2^−K some are x₊ >= 0 >= x₋ with x₊ − x₋ <= 1; one of them keeps z − x in W, a point of A is
within m of that, and the y of this candidate absorbs the last ε.

Both are followed on a grid from above (`piecewise`). ε counts as 1 above 1. On the grid 1−ε must be
a number: let e <= ε be a multiple of 2^-53. (II) and (III) may take d = min(1, p+e), (I) all of
ε, and (1−e)/2 for the first factor of both: this is above Q_z, and keeps the class of e by the same
proof.
"""

import functools
import itertools
import math
import threading
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from lth_jax.theory.subset_sum.bounds import growth, piecewise

_U = 2.0**-53
_THETAS = np.arange(1, 10) / 10


def _one_target(low: float, eps: float, e: float) -> piecewise.ConvexBound:
    """U = 1 on [low, 1] and Q_z for it."""
    ends = piecewise.nodes(low, 1 - e, eps)
    p = ends[:-1]
    operator = piecewise.Operator(
        stay=np.full(len(p), (1 - e) / 2),
        jump=np.maximum(1 - 3 * p - 2 * eps + 16 * _U, 0) / 2,
        q=2 * p + eps,
        r=np.minimum(2 * p + eps, (1 + p) / 2),
        end=0.5,
    )
    return piecewise.ConvexBound(ends, 1.0, 0.0, operator)


def _all_targets(low: float, eps: float) -> piecewise.ConvexBound:
    """U = 1 − p on [low, 1] and Q for it."""
    ends = piecewise.nodes(low, 1.0, eps)
    p = ends[:-1]
    operator = piecewise.Operator(
        stay=np.maximum(1 - eps + 2 * _U, p) / 2,
        jump=np.maximum(1 - 2 * p - eps + 16 * _U, 0) / 2,
        q=2 * p + eps,
        r=np.minimum(2 * p + eps, 1.0),
        end=0.0,
    )
    return piecewise.ConvexBound(ends, 0.0, 1.0, operator)


def _failures(eta: float, eps: float) -> Iterator[float]:
    """`fixed_target_failure` for n = 0, 1, 2, ...; η + ε not tiny, ε <= 1."""
    e = math.floor(eps * 2**53) / 2**53
    start = 2 * eta
    if start >= 1 - e:  # Q_z halves what is constant.
        yield from (max(0.5**n, 2.0**-1074) for n in itertools.count())
    bound = _one_target(min(start, (1 - e) / 2), eps, e)
    least = 1.0  # More candidates never hurt.
    while True:
        yield least
        bound.step()
        least = min(least, float(bound.at(np.array([start]))[0]))


class _Remembered:
    """The numbers of an endless iterator, each computed once, whichever thread asks."""

    def __init__(self, numbers: Iterator[float]) -> None:
        self.numbers, self.known = numbers, list[float]()
        self._lock = threading.Lock()

    def __getitem__(self, n: int) -> float:
        with self._lock:
            while len(self.known) <= n:
                self.known.append(next(self.numbers))
        return self.known[n]


@functools.lru_cache(maxsize=64)
def _remembered(eta: float, eps: float) -> _Remembered:
    return _Remembered(_failures(eta, eps))


def _is_followed(eta: float, eps: float) -> bool:
    """Whether the numbers of a grid are far from underflow."""
    return eta + eps > piecewise.LEAST


def fixed_target_failure(n: int, eta: float, eps: float) -> float:
    """Upper bound of P(n candidates leave one fixed z in W an error > η): the module's theorem.

    Args:
        n: >= 0.
        eta: η >= 0.
        eps: ε >= 0.

    Returns:
        (Q_zⁿ 1)(min(1, 2η)), rounded up; 1 where η + ε < 1e-200.

    Raises:
        ValueError: If a value does not fit.
    """
    growth.check(eta, eps, 0.5)
    if n < 0:
        raise ValueError(f"expected n >= 0, got {n}.")
    if eta >= 0.5:
        return 0.0
    return _remembered(eta, min(eps, 1.0))[n] if _is_followed(eta, eps) else 1.0


def fixed_target(eta: float, eps: float, delta: float) -> float:
    """Candidates that give one fixed z in W an error <= η with probability >= 1 − δ.

    For weights that have a set of candidates each; `every_target` is for a shared one.

    Args:
        eta: η >= 0.
        eps: ε >= 0.
        delta: δ in (0, 1).

    Returns:
        The least n that `fixed_target_failure` gives, or `candidates` where η + ε or δ is below
        1e-200; inf if η = ε = 0.

    Raises:
        ValueError: If a value does not fit.
    """
    enough = growth.candidates(eta, eps, delta)
    if eta >= 0.5 or not _is_followed(eta, eps) or delta < piecewise.LEAST:
        return enough
    failures, n = _remembered(eta, min(eps, 1.0)), 0
    while n < enough and failures[n] > delta:
        n += 1
    return n


def expected_until_all(eta: float, eps: float, weights: int) -> float:
    """Bounds the mean number of candidates until each of many weights has an error <= η.

    Each weight has candidates of its own, of which all draw the next one together. E n = Σ_n
    P(some weight fails with n) <= Σ_n min(1, weights·f(n)), f of `fixed_target_failure`. What fails
    with jN candidates fails with each N of them, so Σ_{n>=N} f(n) <= N f(N) / (1 − f(N)).

    Args:
        eta: η >= 0.
        eps: ε >= 0.
        weights: How many, >= 1.

    Returns:
        The bound; inf where η + ε < 1e-200.

    Raises:
        ValueError: If a value does not fit.
    """
    growth.check(eta, eps, 0.5)
    if weights < 1:
        raise ValueError(f"expected weights >= 1, got {weights}.")
    if eta < 0.5 and not _is_followed(eta, eps):
        return math.inf
    total, n = 0.0, 0
    while True:
        failure = fixed_target_failure(n, eta, eps)
        tail = weights * n * failure / (1 - failure) if failure < 1 else math.inf
        if tail <= 1e-9 * (1 + total):
            return (total + tail) * (1 + 4 * (n + 8) * _U)
        total += min(1.0, weights * failure)
        n += 1


def _allowed(
    eta: float, eps: float, delta: float, starts: npt.NDArray[np.float64]
) -> list[tuple[int, npt.NDArray[np.float64]]]:
    """(K, the largest E[1 − p_n] that will do with K fresh candidates, for each p_0)."""
    rest = (eta - starts / 2) * (1 - 8 * _U)
    allowed = [(0, delta * rest)]
    for fresh in range(1, 1100):
        lost = (fresh + 1) * 2.0**-fresh
        if lost < delta:
            allowed.append((fresh, (delta - lost) * (rest + eps) * (1 - 8 * _U)))
        if lost < delta * 1e-6:
            break
    return allowed


def every_target(eta: float, eps: float, delta: float) -> float:
    """Candidates that give every z in W at once an error <= η with probability >= 1 − δ.

    The best of the module's theorem, over θ and K, and `candidates`.

    Args:
        eta: η >= 0.
        eps: ε >= 0.
        delta: δ in (0, 1).

    Returns:
        The least n; inf if η = ε = 0.

    Raises:
        ValueError: If a value does not fit.
    """
    enough = growth.candidates(eta, eps, delta)
    if eta >= 0.5 or not _is_followed(eta, eps) or delta < piecewise.LEAST:
        return enough
    eps = min(eps, 1.0)
    starts = 2 * _THETAS * eta
    bound, allowed = _all_targets(float(starts[0]), eps), _allowed(eta, eps, delta, starts)
    n = 0
    while n < enough:
        uncovered = bound.at(starts)
        for fresh, largest in allowed:
            if (uncovered <= largest).any():
                enough = min(enough, n + fresh)
                break
        bound.step()
        n += 1
    return enough
