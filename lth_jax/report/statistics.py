"""Means with intervals and paired comparisons, by Student's t (Gosset 1908)."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Mean(NamedTuple):
    """A mean over n values; `half` is half its confidence interval, NaN for n < 2."""

    mean: float
    half: float
    n: int


class Paired(NamedTuple):
    """A mean difference over n pairs, half its interval and the two-sided p of "no difference"."""

    difference: float
    half: float
    p: float
    n: int


def mean(values: Sequence[float], level: float = 0.95) -> Mean:
    """Mean and t-interval of independent values.

    Args:
        values: [n] finite numbers.
        level: Confidence level, in (0, 1).

    Returns:
        The mean; NaN for n = 0.

    Raises:
        ValueError: If a value is not finite: a diverged run must be counted, not averaged.
    """
    x = np.asarray(values, np.float64)
    if not np.isfinite(x).all():
        raise ValueError("expected finite values, got some that are not.")
    if len(x) < 2:
        return Mean(float(x[0]) if len(x) else math.nan, math.nan, len(x))
    half = _quantile(len(x), level) * x.std(ddof=1) / math.sqrt(len(x))
    return Mean(float(x.mean()), float(half), len(x))


def paired(values: Sequence[float], baseline: Sequence[float], level: float = 0.95) -> Paired:
    """Compares two methods on the same seeds by the t-test of their differences.

    Args:
        values: [n] finite numbers.
        baseline: [n] the same seeds' numbers under the baseline.
        level: Confidence level, in (0, 1).

    Returns:
        values − baseline; p is 1 where every difference is 0, 0 where they are equal and not 0.
        Differences are equal if they differ by no more than their numbers' rounding.

    Raises:
        ValueError: If the lengths differ or a value is not finite.
    """
    from scipy import special  # Here, for it takes a quarter of a second to import.

    if len(values) != len(baseline):
        raise ValueError(f"expected pairs, got {len(values)} and {len(baseline)} values.")
    both = np.asarray([values, baseline], np.float64)
    difference = mean((both[0] - both[1]).tolist(), level)
    if difference.n < 2:
        return Paired(difference.mean, math.nan, math.nan, difference.n)
    # 0.9 − 0.8 and 0.8 − 0.7 are not the same float64: of such a spread no p can be made.
    rounding = 4 * np.finfo(np.float64).eps * np.abs(both).max()
    if np.ptp(both[0] - both[1]) <= rounding:
        p = 1.0 if abs(difference.mean) <= rounding else 0.0
        return Paired(difference.mean, 0.0, p, difference.n)
    error = difference.half / _quantile(difference.n, level)
    p = float(2 * special.stdtr(difference.n - 1, -abs(difference.mean) / error))
    return Paired(difference.mean, difference.half, p, difference.n)


def _quantile(n: int, level: float) -> float:
    """Of Student's t over n values, for a two-sided interval."""
    from scipy import special

    return float(special.stdtrit(n - 1, 0.5 + level / 2))
