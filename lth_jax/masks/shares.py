"""How a number of kept weights is shared out over tensors: by ERK, and by floors, exactly.

ERK is the Erdős–Rényi-kernel rule (Mocanu et al. 2018, 1707.04780; Evci et al. 2020, 1911.11134):
the density of a tensor is in proportion to the sum of its dimensions over their product, so the
number that it keeps is in proportion to that sum. All arithmetic is rational, on the host.
"""

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any


def erk(shapes: Sequence[tuple[int, ...]], total: int) -> list[int]:
    """Numbers to keep in proportion to the sums of dimensions, at least 1 and at most all each.

    What a tensor cannot take, or has to take, is made up by the others in the same proportion.
    Fractions are rounded so that the sum is exact: the largest remainders go up, ties to the first.

    Args:
        shapes: Of the tensors.
        total: Number to keep of all of them.

    Returns:
        One number each, `total` in all.

    Raises:
        ValueError: If total is above 0 and less than one for each tensor, or above all.
    """
    sizes = [math.prod(shape) for shape in shapes]
    least = [min(1, size) for size in sizes]
    if not 0 <= total <= sum(sizes) or 0 < total < sum(least):
        raise ValueError(
            f"scope erk keeps at least one of each of {sum(least)} tensors and at most all of "
            f"{sum(sizes)} weights, got {total} to keep; another sparsity may do."
        )
    if total == 0:
        return [0] * len(sizes)
    return _rounded(_bounded([sum(shape) for shape in shapes], least, sizes, total), total)


def _bounded(
    parts: Sequence[int], least: Sequence[int], most: Sequence[int], total: int
) -> list[Fraction]:
    """`parts` times the one factor by which, clipped to bounds, they sum to `total`."""
    found = [Fraction(0)] * len(parts)
    free = list(range(len(parts)))
    left = Fraction(total)
    while free:
        factor = left / max(sum(parts[i] for i in free), 1)
        wanted = {i: factor * parts[i] for i in free}
        clipped = {i: min(max(wanted[i], Fraction(least[i])), Fraction(most[i])) for i in free}
        over = sum(clipped.values()) - left
        # The bounds that would be broken on the side that weighs more are met in any solution.
        settled = [i for i in free if over == 0 or (clipped[i] - wanted[i]) * over > 0]
        for i in settled:
            found[i] = clipped[i]
            left -= clipped[i]
        free = [i for i in free if i not in settled]
    return found


def _rounded(values: Sequence[Fraction], total: int) -> list[int]:
    """Whole numbers next to the values, `total` in all; the largest remainders go up."""
    whole = [math.floor(value) for value in values]
    order = sorted(range(len(values)), key=lambda i: whole[i] - values[i])  # Stable: ties in order.
    for i in order[: total - sum(whole)]:
        whole[i] += 1
    return whole


def floors(sizes: Sequence[int], total: int, floor: Any) -> list[int]:
    """The least numbers to keep: a share of what each would keep if all were pruned alike.

    Args:
        sizes: Numbers of entries.
        total: Number to keep of all of them.
        floor: The share, in (0, 1], as the decimal that it prints; at least one weight is kept.

    Returns:
        One number each, at most `total` in all.

    Raises:
        ValueError: If these are more than `total`.
    """
    share = Fraction(str(floor)) * Fraction(total, max(sum(sizes), 1))
    least = [min(size, max(1, math.floor(share * size))) if total else 0 for size in sizes]
    if sum(least) > total:
        raise ValueError(
            f"floor={floor} keeps at least {sum(least)} weights of {len(sizes)} tensors, but only "
            f"{total} are to be kept; another sparsity may do."
        )
    return least
