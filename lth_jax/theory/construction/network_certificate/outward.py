"""Sums of non-negative float64 terms, rounded up to above the exact ones."""

import typing
from typing import Any

import numpy as np
import numpy.typing as npt

U = 2.0**-53
TINY = 2.0**-1074  # The smallest float64: a product that underflows is off by half of it.

Matrix = npt.NDArray[np.float64]


@typing.overload
def up(x: float, terms: int) -> float: ...
@typing.overload
def up(x: Matrix, terms: int) -> Matrix: ...
def up(x: Any, terms: int) -> Any:
    """Rounds a computed sum of `terms` non-negative products up to above the exact one."""
    room = 4 * (terms + 8)
    return np.nextafter(x * (1 + room * U) + room * TINY, np.inf)


def frobenius(x: Matrix) -> np.float64:
    """The ℓ2 norm of all entries; squares that underflow count as the largest they may be."""
    return np.float64(np.linalg.norm(x) + np.sqrt(np.count_nonzero(x)) * 2.0**-537)


def worst(*bounds: Matrix | np.float64 | float) -> float:
    """The largest of bounds and 0; NaN stands for one that overflowed and is infinite."""
    largest = np.max([np.max(bound) for bound in bounds], initial=0.0)
    return np.inf if np.isnan(largest) else float(largest)
