"""Subset sums over the rationals: floats are fractions, so every comparison can be decided.

Slow (Python integers) and bounded: one target costs 2^⌊n/2⌋ · (⌈n/2⌉ + 1) bisections. The fast
search calls it only for targets whose least gap is within rounding of the tolerance.
"""

import bisect
import fractions
from collections.abc import Iterable, Sequence


def _integers(values: Sequence[float]) -> list[int]:
    """The values as integers over one common denominator, a power of two."""
    ratios = [float(value).as_integer_ratio() for value in values]
    common = max((denominator for _, denominator in ratios), default=1)
    return [numerator * (common // denominator) for numerator, denominator in ratios]


def _sums_by_size(x: Sequence[int]) -> list[list[tuple[int, int]]]:
    """For each size the (sum, bits) of all subsets of that size, sorted, one per distinct sum."""
    groups: list[dict[int, int]] = [{} for _ in range(len(x) + 1)]
    groups[0][0] = 0
    for i, value in enumerate(x):
        for size in range(i, -1, -1):
            for total, bits in groups[size].items():
                groups[size + 1].setdefault(total + value, bits | 1 << i)
    return [sorted(group.items()) for group in groups]


def nearest(
    x: Iterable[float], z: float, eps: float, size: int | None = None
) -> tuple[fractions.Fraction, int]:
    """The least error max(0, |z − σ_S| − |S|ε) over all subsets, exactly.

    Args:
        x: [n] candidates.
        z: The target.
        eps: Largest |y_i|, >= 0.
        size: Only subsets of exactly this size, 0 to n; None for any.

    Returns:
        The error and one subset that has it, as bits; among equal errors one with least
        |z − σ_S| − |S|ε.
    """
    values = [*x, z, eps]
    *scaled, target, slack = _integers(values)
    unit = max(float(value).as_integer_ratio()[1] for value in values)
    half = len(scaled) // 2
    left, right = _sums_by_size(scaled[:half]), _sums_by_size(scaled[half:])
    best: tuple[int, int] | None = None
    for i, group in enumerate(left):
        for j, others in enumerate(right):
            if size is not None and i + j != size:
                continue
            sums = [total for total, _ in others]
            for total, bits in group:
                place = bisect.bisect_left(sums, target - total)
                for k in (place - 1, place):
                    if 0 <= k < len(sums):
                        gap = abs(target - total - sums[k]) - (i + j) * slack
                        if best is None or gap < best[0]:
                            best = gap, bits | others[k][1] << half
    assert best is not None  # The empty set, or any of the size asked for, was looked at.
    return fractions.Fraction(max(0, best[0]), unit), best[1]


def within(x: Iterable[float], z: float, eps: float, tolerance: float, bits: int) -> bool:
    """Whether |z − σ_S| <= tolerance + |S|ε holds exactly for the subset `bits`."""
    members = [fractions.Fraction(float(v)) for i, v in enumerate(x) if bits >> i & 1]
    rest = abs(fractions.Fraction(float(z)) - sum(members))
    return rest <= fractions.Fraction(tolerance) + len(members) * fractions.Fraction(eps)
