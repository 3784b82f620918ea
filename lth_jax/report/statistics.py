"""Means with intervals and paired comparisons, by Student's t (Gosset 1908)."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import special


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
    half = special.stdtrit(len(x) - 1, 0.5 + level / 2) * x.std(ddof=1) / math.sqrt(len(x))
    return Mean(float(x.mean()), float(half), len(x))


def paired(values: Sequence[float], baseline: Sequence[float], level: float = 0.95) -> Paired:
    """Compares two methods on the same seeds by the t-test of their differences.

    Args:
        values: [n] finite numbers.
        baseline: [n] the same seeds' numbers under the baseline.
        level: Confidence level, in (0, 1).

    Returns:
        values − baseline; p is 1 where every difference is 0, 0 where they are equal and not 0.

    Raises:
        ValueError: If the lengths differ or a value is not finite.
    """
    if len(values) != len(baseline):
        raise ValueError(f"expected pairs, got {len(values)} and {len(baseline)} values.")
    difference = mean(np.subtract(values, baseline, dtype=np.float64).tolist(), level)
    if difference.n < 2:
        return Paired(difference.mean, math.nan, math.nan, difference.n)
    error = difference.half / special.stdtrit(difference.n - 1, 0.5 + level / 2)
    if error == 0:
        p = 1.0 if difference.mean == 0 else 0.0
    else:
        p = float(2 * special.stdtr(difference.n - 1, -abs(difference.mean) / error))
    return Paired(difference.mean, difference.half, p, difference.n)
