"""A convex decreasing function of the measure reached so far, kept above the exact one.

It is given by its values at the ends of cells and linear within them, so that it lies above every
convex function with these values. Its slopes are stored, never its differences: convex, decreasing
and non-negative are then facts about stored numbers, whatever was rounded. All sums are of
non-negative terms in float64 and rounded outward.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
_U = 2.0**-53
_TINY = 1e-290  # Above all that is lost by underflow.
LEAST = 1e-200  # No value or step of a grid below this is worked with.


class Operator(NamedTuple):
    """(QU)(p) = stay·U(p) + jump·U(q) + ∫_p^r U at the left ends p of cells; all >= the exact."""

    stay: Floats
    jump: Floats
    q: Floats  # 2p + ε; rounded down here
    r: Floats  # >= p; rounded up here
    end: float  # (QU)(top) / U(top)


class _Points(NamedTuple):
    """Where arguments lie: their cells, the way to each one's right end, the way behind `top`."""

    cell: npt.NDArray[np.int64]
    way: Floats
    behind: Floats


def nodes(low: float, top: float, eps: float) -> Floats:
    """Ends of cells from `low` to `top`, geometric in p + ε: 128 an octave, at most 6,000."""
    octaves = np.log2((top + eps) / (low + eps))
    count = int(np.clip(128 * octaves, 256, 6000))
    inner = (low + eps) * np.exp2(octaves * np.arange(1, count) / count) - eps
    return np.asarray(np.unique(np.r_[low, np.clip(inner, low, top), top]))


class ConvexBound:
    """U on [low, 1]: linear in cells, and constant from `top` on."""

    def __init__(self, ends: Floats, constant: float, slope: float, operator: Operator) -> None:
        """Starts with U = constant + slope·(top − p) up to `top`.

        Args:
            ends: [cells + 1] increasing; the last one is `top`.
            constant: U from `top` to 1, >= 0.
            slope: >= 0.
            operator: Fitting `ends`; it must keep the class of functions that U is of.
        """
        self.ends, self.top, self.constant = ends, float(ends[-1]), constant
        self.lengths = np.diff(ends)
        self.slopes = np.full(len(self.lengths), slope)
        # Two running sums of n terms and a few products: (2n + 12) roundings.
        self.room = (4 * len(self.lengths) + 64) * _U
        self.operator = operator
        self._q = self._locate(np.minimum(operator.q * (1 - 4 * _U), self.top))
        self._r = self._locate(np.minimum(operator.r * (1 + 4 * _U), 1.0))

    def _locate(self, x: Floats) -> _Points:
        cell = np.clip(np.searchsorted(self.ends, x, "right") - 1, 0, len(self.lengths) - 1)
        way = np.maximum(self.ends[cell + 1] - x, 0)
        behind = np.where(x >= self.top, np.maximum(1 - x, 0), np.nan)
        return _Points(cell, way, behind)

    def _values(self) -> Floats:
        """U at all ends of cells, to `room`."""
        rises = np.cumsum((self.slopes * self.lengths)[::-1])[::-1]
        return np.asarray(np.r_[rises, 0.0] + self.constant)

    def _integrals(self, values: Floats) -> Floats:
        """∫_p^1 U at all ends of cells, to `room`."""
        areas = self.lengths * (values[1:] + values[:-1]) / 2
        sums = np.cumsum(areas[::-1])[::-1]
        return np.asarray(np.r_[sums, 0.0] + self.constant * (1 - self.top))

    def at(self, p: Floats) -> Floats:
        """Upper bounds of U at points of [low, 1]."""
        cell, way, _ = self._locate(p)
        values = self._values()[cell + 1] + self.slopes[cell] * way
        return np.asarray(values * (1 + self.room) + _TINY)

    def step(self) -> None:
        """Takes U to a function of the same class that is nowhere below QU."""
        values = self._values()
        areas = self._integrals(values)
        cell, way, _ = self._q
        moved = values[cell + 1] + self.slopes[cell] * way
        cell, way, behind = self._r
        rest = areas[cell + 1] + way * (values[cell + 1] + self.slopes[cell] * way / 2)
        rest = np.where(np.isnan(behind), rest, self.constant * behind)
        gained = self.operator.stay * values[:-1] + self.operator.jump * moved + areas[:-1]
        higher = np.maximum(gained * (1 + self.room) - rest * (1 - self.room), 0) + _TINY
        if self.constant:
            self.constant = self.operator.end * self.constant + _TINY
        drops = higher - np.r_[higher[1:], self.constant]
        slopes = np.maximum(drops, 0) / self.lengths * (1 + 8 * _U)
        # Each slope at least the next: U may only rise by this, and stays convex.
        self.slopes = np.maximum.accumulate(slopes[::-1])[::-1]
        assert (self.slopes >= 0).all() and (np.diff(self.slopes) <= 0).all(), "U is not convex."
