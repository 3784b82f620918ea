"""How many candidates suffice for every target at once, by a potential that each one raises.

Published: Lueker (1998); Xiong, Liao and Kyrillidis (2023, theorem 1). `candidates` is ours.
"""

import math

import numpy as np
import numpy.typing as npt


def theorem1_probability(n: int, spare: int, eps: float, printed: bool = False) -> float:
    """Theorem 1 of Xiong et al. (2023): 1 − exp(−(n−K)(1+ε)²/(8(3−ε)²)) − exp(−K).

    At ε = 0 it is Lueker's (1998).

    Args:
        n: Candidates, O(log(1/η)/(1+ε) + K) or more; the constant is not usable as printed.
        spare: K, 0 to n.
        eps: ε, 0 to 1.
        printed: True for the exponent's 8(3−ε) as printed; its proof gives 8(3−ε)².

    Returns:
        Lower bound on P(every z in W has an error <= 2η); may be negative.

    Raises:
        ValueError: If eps lies outside [0, 1] or spare outside [0, n].
    """
    if not 0 <= eps <= 1 or not 0 <= spare <= n:
        raise ValueError(f"expected 0 <= eps <= 1, 0 <= spare <= n, got {eps}, {spare}, {n}.")
    divisor = 8 * (3 - eps) if printed else 8 * (3 - eps) ** 2
    return 1 - math.exp(-(n - spare) * (1 + eps) ** 2 / divisor) - math.exp(-spare)


def growth_bound(p: npt.ArrayLike, eps: float) -> npt.NDArray[np.float64]:
    """E[p_{t+1} | A_t] >= p + (1−p) min(1, p+ε)/2 (in theorem 1's proof; equal at ε = 0).

    It also holds for the capped min(p_{t+1}, 2p+ε).
    """
    p = np.asarray(p, np.float64)
    return np.asarray(p + (1 - p) * np.minimum(1, p + eps) / 2)


def potential(p: npt.ArrayLike, eps: float) -> npt.NDArray[np.float64]:
    """ψ(p) = (lg(p+ε) − ln(1−p))/(1+ε), which rises by at least (p'−p)/((1−p)(p+ε)) (ours)."""
    p = np.asarray(p, np.float64)
    return np.asarray((np.log2(p + eps) - np.log1p(-p)) / (1 + eps))


def _divergence(a: float, b: float) -> float:
    """KL(a ‖ b) of two coins, in nats."""
    terms = ((a, b), (1 - a, 1 - b))
    return sum(u * math.log(u / v) for u, v in terms if u > 0)


def _growth_steps(rise: float, eps: float, delta: float) -> int:
    """The least n >= 2·rise/(1+ε) with exp(−n KL(rise/2n ‖ (1+ε)/4)) <= delta."""
    n = max(1, math.ceil(2 * rise / (1 + eps)))
    while n * _divergence(rise / (2 * n), (1 + eps) / 4) < -math.log(delta):
        n += 1
    return n


def _log_ratio(a: float, b: float) -> float:
    """ln(a / b), also where a / b overflows; b > 0."""
    ratio = a / b
    return math.log(ratio) if ratio < math.inf else math.log(a) - math.log(b)


def _lg_inverse(b: float) -> float:
    """lg(1 / b), also where 1 / b overflows; b > 0."""
    inverse = 1 / b
    return math.log2(inverse) if inverse < math.inf else -math.log2(b)


def _candidates_at(eta: float, eps: float, delta: float) -> float:
    best = math.inf
    if eta > 0 and eps <= eta / 2:
        rise = _lg_inverse(eta + eps) + _log_ratio(2, eta)
        best = _growth_steps(max(rise, 0.0), eps, delta)
    if eta + eps > 0 and eps + eta / 2 > 0:
        rise = _lg_inverse(eta + eps) + _log_ratio(1, eps + eta / 2)
        for spare in range(1, 200):
            lost = (spare + 1) * 2.0**-spare
            if spare >= best or lost < delta * 1e-6:
                break
            if lost <= delta and eps + eta >= 0.5:
                best = min(best, spare)
            elif lost < delta:
                best = min(best, spare + _growth_steps(max(rise, 0.0), eps, delta - lost))
    return best


def candidates(eta: float, eps: float, delta: float) -> float:
    """Candidates that suffice: every z in W has an error <= η with probability >= 1 − δ (ours).

    With q = (1+ε)/4 and T = lg(1/(η+ε)) + ln(1/(ε+η/2)), n₁ >= 2T/(1+ε) and K candidates fail with
    probability at most exp(−n₁ KL(T/2n₁ ‖ q)) + (K+1)2^−K. Until all but ε+η/2 of W is covered to
    η/2, ψ of the covered measure must rise by T; each candidate raises it by a number which, scaled
    into [0, 2], has mean >= 2q given the past (`growth_bound` over `potential`), and a Chernoff
    bound gives the first term. Among K fresh candidates are some x₊ >= 0 >= x₋ with x₊ − x₋ <= 1,
    except with probability (K+1)2^−K; one of them keeps z − x in W and its y absorbs the last ε.
    For ε <= η/2 all but η/2 of W suffices: K = 0, no second term, T = lg(1/(η+ε)) + ln(2/η).
    If ε + η >= 1/2, n₁ = 0 will do. A larger ε never hurts, so the least over smaller ε is taken.

    Args:
        eta: η >= 0, the error; η + ε > 0 is needed.
        eps: ε >= 0; above 1 it counts as 1.
        delta: δ in (0, 1).

    Returns:
        The least n that the theorem gives; inf if η = ε = 0.

    Raises:
        ValueError: If a value does not fit.
    """
    if not (eta >= 0 and eps >= 0 and 0 < delta < 1):
        raise ValueError(f"expected eta, eps >= 0, 0 < delta < 1, got {eta}, {eps}, {delta}.")
    if eta >= 0.5:
        return 0
    eps = min(eps, 1.0)
    smaller = {eps, 0.0, min(eps, eta / 2), *(eps * 2.0**-k for k in range(1, 8))}
    return min(_candidates_at(eta, value, delta) for value in smaller)


def check(eta: float, eps: float, probability: float = 0.5) -> None:
    """Refuses what no bound fits.

    Raises:
        ValueError: If eta or eps is negative or no number, or the probability outside [0, 1].
    """
    if not (eta >= 0 and eps >= 0 and 0 <= probability <= 1):
        raise ValueError(
            "expected eta, eps >= 0 and a probability of 0 to 1, "
            f"got {eta}, {eps} and {probability}."
        )
