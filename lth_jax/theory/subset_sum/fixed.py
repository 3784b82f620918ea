"""Subset sums in 64-bit fixed point: integer arithmetic is exact, so only the quantization errs.

Each problem gets its own power-of-two scale that puts its reach just below 2^53. Inputs that are
multiples of that quantum (float32 candidates nearly always are) are represented exactly; for the
others `slack` bounds what quantization can do to any comparison, in quanta.
"""

from typing import NamedTuple

import numpy as np

VALUE_BITS = 53  # |any partial sum| < 2^53 quanta, so that labels fit beside it in an int64.


class Fixed(NamedTuple):
    """Problems in quanta of 2^-exponent, one row each."""

    x: np.ndarray  # [m, n] int64
    z: np.ndarray  # [m] int64
    eps: np.ndarray  # [m] int64
    tolerance: np.ndarray  # [m] int64, rounded down: an integer gap is within iff it is <= this
    slack: np.ndarray  # [m] int64: |true gap - gap in quanta| <= slack for every subset; 0 is exact
    exponent: np.ndarray  # [m] int32

    def rows(self, index: np.ndarray | slice) -> "Fixed":
        """The problems of some rows."""
        return Fixed(*(field[index] for field in self))

    def prefix(self, n: int) -> "Fixed":
        """The problems with their first n candidates only."""
        return self._replace(x=self.x[:, :n])


def quantize(x: np.ndarray, z: np.ndarray, eps: float, tolerance: float) -> Fixed:
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

    def scaled(values, exponent):
        # Powers of two: exact, and so are the rounding to an integer and its remainder.
        values = np.ldexp(values, exponent)
        whole = np.rint(values)
        return whole.astype(np.int64), np.abs(values - whole)

    x_q, x_error = scaled(x, exponent[:, None])
    z_q, z_error = scaled(z, exponent)
    eps_q, eps_error = scaled(np.full(len(z), eps), exponent)
    error = x_error.sum(axis=1) + z_error + n * eps_error
    with np.errstate(over="ignore"):  # To infinity, where all inputs are denormal.
        tolerance_q = np.minimum(np.ldexp(tolerance, exponent), 2.0**60)
    tolerance_q = np.floor(tolerance_q).astype(np.int64)
    slack = np.ceil(error * (1 + 1e-9)).astype(np.int64)
    return Fixed(x_q, z_q, eps_q, tolerance_q, slack, exponent)
