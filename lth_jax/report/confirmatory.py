"""The claims that were made before the runs: exact tests, Holm's correction, and a verdict on each.

Everything else is shown with intervals, which `simultaneous` widens where several are shown at
once. Sources: sign-flip test (Fisher 1935), Holm (1979), effect size d_z of paired differences
(Cohen 1988) with its interval by the noncentral t distribution.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
from scipy import special

from lth_jax.report import statistics

MOST_PAIRS = 20  # A sign-flip test of n pairs looks at 2^n sums.
_TIES = 1e-12  # Sums that differ by less, of the sum of sizes, are equal but for rounding.

Outcome = Literal["supported", "refuted", "undecided"]


class Hypothesis(NamedTuple):
    """A claim, by differences over seeds that are positive where it holds.

    A claim of several parts, as that one method beats three others, holds if all of them do.
    """

    name: str
    claim: str
    parts: Mapping[str, Sequence[float]]  # what is compared: [n] differences


class Effect(NamedTuple):
    """d_z = mean / standard deviation of paired differences, and its 95 % interval."""

    d: float
    low: float
    high: float


class Verdict(NamedTuple):
    """What data say of a hypothesis; numbers are of `weakest`, its part of the least support."""

    name: str
    claim: str
    weakest: str
    difference: statistics.Mean
    effect: Effect
    p: float  # two-sided, of exact sign flips
    p_holm: float  # corrected over the family: the outcome is decided by it
    t_p: float  # the same of Student's t, for comparison
    t_p_holm: float
    outcome: Outcome


def sign_flip_p(differences: Sequence[float]) -> float:
    """The two-sided exact p of "signs are random", by all 2^n choices of signs.

    It supposes only that a difference and its negative are equally likely where there is no effect,
    and is at least 2/2^n: below 6 pairs it never reaches 0.05.

    Args:
        differences: [n] finite numbers, at most MOST_PAIRS.

    Returns:
        The share of choices whose sum is at least as far from 0; 1 where all are 0, NaN for n = 0.

    Raises:
        ValueError: If there are more, or one is not finite.
    """
    x = _finite(differences)
    if len(x) > MOST_PAIRS:
        raise ValueError(f"expected at most {MOST_PAIRS} pairs, got {len(x)}.")
    if not len(x):
        return math.nan
    # By symmetry the first sign may be +.
    sums = x[:1]
    for value in x[1:]:
        sums = np.concatenate([sums + value, sums - value])
    reached = np.abs(x.sum()) - _TIES * np.abs(x).sum()
    return float(np.mean(np.abs(sums) >= reached))


def t_p(differences: Sequence[float]) -> float:
    """The two-sided p of Student's paired t-test; NaN for n < 2.

    Raises:
        ValueError: If a difference is not finite.
    """
    x = _finite(differences)
    return statistics.paired(x.tolist(), [0.0] * len(x)).p


def effect_size(differences: Sequence[float], level: float = 0.95) -> Effect:
    """Cohen's d_z with its interval; NaN for n < 2, infinite where all differences are equal.

    Args:
        differences: [n] finite numbers.
        level: Confidence level, in (0, 1).

    Raises:
        ValueError: If a difference is not finite.
    """
    x = _finite(differences)
    n = len(x)
    if n < 2:
        return Effect(math.nan, math.nan, math.nan)
    deviation = float(x.std(ddof=1))
    if deviation <= _TIES * float(np.abs(x).max(initial=0)):
        same = math.copysign(math.inf, x[0]) if x[0] else 0.0
        return Effect(same, same, same)
    d = float(x.mean()) / deviation
    # The noncentralities under which the t that was seen is at either end of its distribution.
    tails = (0.5 + level / 2, 0.5 - level / 2)
    low, high = (float(special.nctdtrinc(n - 1, tail, d * math.sqrt(n))) for tail in tails)
    return Effect(d, low / math.sqrt(n), high / math.sqrt(n))


def holm(values: Sequence[float]) -> list[float]:
    """p-values corrected for a family: at most α of true nulls are rejected at all (Holm 1979).

    Args:
        values: [m] p-values; NaN, of what could not be tested, counts as 1 and stays NaN.

    Returns:
        [m] corrected ones in the same order, at most 1.

    Raises:
        ValueError: If a value lies outside [0, 1].
    """
    p = np.asarray(values, np.float64)
    if not np.all((p >= 0) & (p <= 1) | np.isnan(p)):
        raise ValueError(f"p-values lie in [0, 1], got {list(values)}.")
    known = np.where(np.isnan(p), 1.0, p)
    order = np.argsort(known, kind="stable")
    stepped = known[order] * np.arange(len(p), 0, -1)
    corrected = np.empty_like(known)
    corrected[order] = np.minimum(np.maximum.accumulate(stepped), 1)
    return [float(c) for c in np.where(np.isnan(p), np.nan, corrected)]


def simultaneous(
    groups: Mapping[str, Sequence[float]], level: float = 0.95
) -> dict[str, statistics.Mean]:
    """Means with intervals that hold all at once at the level (Bonferroni), as for several eps.

    Args:
        groups: By name, [n] finite numbers each.
        level: Of all intervals together, in (0, 1).

    Raises:
        ValueError: If a number is not finite.
    """
    each = 1 - (1 - level) / max(len(groups), 1)
    return {name: statistics.mean(values, each) for name, values in groups.items()}


def decide(family: Sequence[Hypothesis], level: float = 0.05) -> list[Verdict]:
    """Tests a family of hypotheses that was fixed beforehand.

    A claim of several parts is supported only if each part is, so its p is the largest; it is
    refuted if some part is, at a p that is corrected for their number.

    Args:
        family: All that were claimed, whatever came out.
        level: Of the whole family: how likely it is that any true null is rejected, at most.

    Returns:
        A verdict each: "supported" or "refuted" where p_holm <= level, by the sign of the mean.
    """
    found = [_weakest(hypothesis, sign_flip_p) for hypothesis in family]
    by_t = [_weakest(hypothesis, t_p)[1] for hypothesis in family]
    corrected = holm([p for _, p, _ in found]), holm(by_t)
    verdicts = []
    for hypothesis, (part, p, holds), t, p_holm, t_holm in zip(
        family, found, by_t, *corrected, strict=True
    ):
        values = hypothesis.parts[part]
        sure: Outcome = "supported" if holds else "refuted"
        outcome: Outcome = sure if p_holm <= level else "undecided"
        about = (statistics.mean(values), effect_size(values), p, p_holm, t, t_holm)
        verdicts.append(Verdict(hypothesis.name, hypothesis.claim, part, *about, outcome))
    return verdicts


class _Test(Protocol):
    def __call__(self, differences: Sequence[float], /) -> float: ...


def _weakest(hypothesis: Hypothesis, test: _Test) -> tuple[str, float, bool]:
    """The part of the least support, the p of the whole, and whether it holds on average."""
    if not hypothesis.parts:
        raise ValueError(f"expected something to compare, got none for {hypothesis.name!r}.")
    means = {part: statistics.mean(values).mean for part, values in hypothesis.parts.items()}
    ps = {part: test(values) for part, values in hypothesis.parts.items()}

    # By p; where these are equal, as exact ones often are, by the mean.
    def support(part: str) -> tuple[float, float]:
        return -_or_one(ps[part]), means[part]

    against = [part for part, mean in means.items() if not mean > 0]
    if against:
        part = max(against, key=lambda part: (support(part)[0], -means[part]))
        return part, float(np.minimum(1, ps[part] * len(ps))), False
    part = min(ps, key=support)
    return part, ps[part], True


def _or_one(p: float) -> float:
    return 1.0 if math.isnan(p) else p


def _finite(values: Sequence[float]) -> npt.NDArray[np.float64]:
    x = np.asarray(values, np.float64)
    if not np.isfinite(x).all():
        raise ValueError("expected finite values, got some that are not.")
    return x
