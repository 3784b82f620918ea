"""Fewer kept weights at the same certificate: where a smaller subset does as well, or nearly.

For each target weight the least error of each small size is known beside the best of all; a
Lagrange multiplier picks min (terms + μ · what the error costs), and μ is the least one whose
network still keeps within the certificate. This is a search, not a proof that no sparser ticket is
there: sizes over FEW, or over MOST where errors may grow, are seen only as the best subset.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lth_jax.theory.construction import stream
from lth_jax.theory.subset_sum import fixed, search

Floats = npt.NDArray[np.float64]
FEW = 4
# At ε = 0 and 20 candidates sizes up to 8 would keep 4 % less than up to 6, in twice the time.
MOST = 6
_RANGE = 80.0  # Of the multiplier, in powers of 2.
_STEPS = 16  # Halvings of that.


class Menu(NamedTuple):
    """The answers of one layer by size: [sizes, m]."""

    bits: npt.NDArray[np.int64]
    terms: npt.NDArray[np.int64]
    left: Floats


def menu(columns: stream.Columns, owners: stream.Owners, found: stream.Answers, most: int) -> Menu:
    """The nearest subset of each size up to `most`, and the best one of `found`.

    A weight that a size reaches exactly needs no larger one.
    """
    z, eps = columns.targets.ravel(), columns.scale * columns.eps
    rows = [found]
    by_size = [stream.empty(z)]
    units = np.repeat(owners.units, columns.outputs)
    for size in range(1, min(most, int(units.max(initial=0))) + 1):
        answers = by_size[-1].copy()
        open_ = by_size[-1].left != 0
        for n in np.unique(units[open_]):
            at = np.flatnonzero(open_ & (units == n))
            if n >= size:
                answers.put(at, _of_size(columns.candidates(owners, at, int(n)), z[at], eps, size))
        by_size.append(answers)
    rows += by_size
    return Menu(
        np.stack([row.bits for row in rows]),
        np.stack([row.sizes for row in rows]),
        np.stack([row.left for row in rows]),
    )


def _of_size(x: Floats, z: Floats, eps: float, size: int) -> stream.Answers:
    """The nearest subset of exactly `size` members."""
    nearest = search.nearest_of_size(fixed.quantize(x, z, eps, 0.0), size)
    return stream.of_subsets(x, z, nearest.subset, eps)


def pick(
    menus: list[Menu], weights: list[Floats], fits: Callable[[list[Floats]], bool]
) -> list[npt.NDArray[np.int64]] | None:
    """Which of each weight's answers to take.

    Args:
        menus: Of each layer.
        weights: [m] of each layer: what a unit of a weight's error costs, roughly.
        fits: Whether errors `left` [m] of each layer keep within the certificate.

    Returns:
        The rows of each menu [m]; None if not even the least errors of all fit.
    """
    costs = [np.abs(menu.left) * weight for menu, weight in zip(menus, weights, strict=True)]

    def chosen(price: float) -> list[npt.NDArray[np.int64]]:
        return [
            (menu.terms + price * cost).argmin(axis=0)
            for menu, cost in zip(menus, costs, strict=True)
        ]

    def holds(rows: list[npt.NDArray[np.int64]]) -> bool:
        taken = zip(menus, rows, strict=True)
        return fits([np.take_along_axis(menu.left, row[None], 0)[0] for menu, row in taken])

    # At the lowest price all errors at their worst count as one term; at the highest errors alone.
    worst = max(sum(float(cost.max(axis=0).sum()) for cost in costs), 1e-300)
    low, high = -np.log2(worst), _RANGE - np.log2(worst)
    best = chosen(2.0**high)
    if not holds(best):
        return None
    for _ in range(_STEPS):
        middle = (low + high) / 2
        rows = chosen(2.0**middle)
        if holds(rows):
            best, high = rows, middle
        else:
            low = middle
    return best
