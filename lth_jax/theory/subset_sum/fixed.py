"""Subset sums in 64-bit fixed point: integer arithmetic is exact, so only the quantization errs.

Each problem gets its own power-of-two scale that puts its reach just below 2^53. Inputs that are
multiples of that quantum (float32 candidates nearly always are) are represented exactly; for the
others `slack` bounds what quantization can do to any comparison, in quanta.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

VALUE_BITS = 53  # |any partial sum| < 2^53 quanta, so that labels fit beside it in an int64.


class Fixed(NamedTuple):
    """Problems in quanta of 2^-exponent, one row each."""

    x: npt.NDArray[np.int64]  # [m, n]
    z: npt.NDArray[np.int64]  # [m]
    eps: npt.NDArray[np.int64]  # [m]
    tolerance: npt.NDArray[
        np.int64
    ]  # [m], rounded down: an integer gap is within iff it is <= this
    slack: npt.NDArray[
        np.int64
    ]  # [m]: |true gap - gap in quanta| <= slack for every subset; 0 is exact
    exponent: npt.NDArray[np.int32]  # [m]

    def rows(self, index: slice) -> "Fixed":
        """The problems of some rows."""
        return Fixed(
            self.x[index],
            self.z[index],
            self.eps[index],
            self.tolerance[index],
            self.slack[index],
            self.exponent[index],
        )

    def prefix(self, n: int) -> "Fixed":
        """The problems with their first n candidates only."""
        return self._replace(x=self.x[:, :n])


def quantize(
    x: npt.NDArray[np.float64], z: npt.NDArray[np.float64], eps: float, tolerance: float
) -> Fixed:
    """Puts problems on an integer grid.

    Args:
        x: [m, n] float64 candidates, finite.
        z: [m] float64 targets, finite.
        eps: Largest |y_i|, >= 0.
        tolerance: Largest error, >= 0.

    Returns:
        The problems in quanta, with a proved bound on the effect of rounding them.
    """
    n = x.shape[1]
    reach = np.abs(z) + np.abs(x).sum(axis=1) + n * eps
    exponent = (VALUE_BITS - np.frexp(reach * (1 + 1e-9))[1]).astype(np.int32)
    exponent[reach == 0] = 0

    def scaled(
        values: npt.NDArray[np.float64], exponent: npt.NDArray[np.int32]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
        # Powers of two: exact, and so are the rounding to an integer and its remainder.
        values = np.ldexp(values, exponent)
        whole = np.rint(values)
        return whole.astype(np.int64), np.abs(values - whole)

    x_q, x_error = scaled(x, exponent[:, None])
    z_q, z_error = scaled(z, exponent)
    eps_q, eps_error = scaled(np.full(len(z), eps if n else 0.0), exponent)
    error = x_error.sum(axis=1) + z_error + n * eps_error
    with np.errstate(over="ignore"):  # To infinity, where all inputs are denormal.
        tolerance_q = np.minimum(np.ldexp(tolerance, exponent), 2.0**60)
    tolerance_q = np.floor(tolerance_q).astype(np.int64)
    slack = np.ceil(error * (1 + 1e-9)).astype(np.int64)
    return Fixed(x_q, z_q, eps_q, tolerance_q, slack, exponent)
