"""Checks an answer without trusting the solver: compensated sums, fractions where they tie."""

from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from lth_jax.theory.subset_sum import exact

_U = 2.0**-53
_LARGEST = 1e100
_ROWS = 1 << 12  # Rows summed at once: the temporaries stay in cache.


Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


def check_values(x: Floats, z: Floats, eps: float, tolerance: float) -> None:
    """Refuses numbers of which sums could overflow.

    Raises:
        ValueError: If one is not finite and below 1e100 in size, or eps or tolerance is negative.
    """
    if not (0 <= eps < _LARGEST and 0 <= tolerance < _LARGEST):
        raise ValueError(f"expected finite eps, tolerance >= 0, got {eps} and {tolerance}.")
    for name, values in (("x", x), ("z", z)):
        if not (np.abs(values) < _LARGEST).all():  # NaN compares False.
            raise ValueError(f"expected finite {name} below 1e100 in size, got NaN or larger.")


class Answer(Protocol):
    """What can be checked: a subset and a perturbation for each target."""

    @property
    def mask(self) -> Bools:
        """[m, n]: S."""

    @property
    def y(self) -> Floats:
        """[m, n]: the perturbation."""


class Certificate(NamedTuple):
    """What holds of each answer."""

    reaches: Bools  # [m]: |z − σ_S| <= tolerance + |S|ε, decided exactly
    bounded: Bools  # [m]: |y| <= ε everywhere, and y = 0 outside S
    realized: Floats  # [m]: |Σ_S (x_i + y_i) − z|, to `bound`
    bound: Floats  # [m]: how far rounding may put it over the tolerance
    holds: Bools  # [m]: reaches, bounded, and realized <= tolerance + bound


def precise_sum(terms: Floats) -> tuple[Floats, Floats]:
    """Sums over the last axis with TwoSum (Ogita, Rump and Oishi 2005, Sum2).

    Args:
        terms: [m, k] float64.

    Returns:
        The sums [m] and a bound on its error, |sum|·2^-53 + k²·2^-105·Σ|terms|.
    """
    m, k = terms.shape
    result, magnitude = np.empty(m), np.empty(m)
    for start in range(0, m, _ROWS):
        block = np.ascontiguousarray(terms[start : start + _ROWS].T)
        total, carry = np.zeros(block.shape[1]), np.zeros(block.shape[1])
        for term in block:
            new = total + term
            shadow = new - total
            carry += (total - (new - shadow)) + (term - shadow)
            total = new
        result[start : start + _ROWS] = total + carry
        magnitude[start : start + _ROWS] = np.abs(block).sum(axis=0)
    return result, np.abs(result) * _U + (k + 1) ** 2 * 2.0**-105 * magnitude


def residual(x: Floats, z: Floats, mask: Bools) -> tuple[Floats, Floats]:
    """The rest z − σ_S of each row and a bound on its error; x [m, n] or [n], mask [m, n]."""
    terms = np.where(mask, -x, 0.0)
    return precise_sum(np.concatenate([z[:, None], terms], axis=1))


def within(x: Floats, z: Floats, eps: float, tolerance: float, mask: Bools) -> Bools:
    """Whether |z − σ_S| <= tolerance + |S|ε, decided exactly; x [m, n] or [n], mask [m, n]."""
    return _within(x, z, eps, tolerance, mask, *residual(x, z, mask))


def _within(
    x: Floats,
    z: Floats,
    eps: float,
    tolerance: float,
    mask: Bools,
    rest: Floats,
    rest_error: Floats,
) -> Bools:
    """`within` of the rests that `residual` returned; fractions decide what rounding cannot."""
    allowed = tolerance + mask.sum(axis=1) * eps
    margin = rest_error + 4 * _U * (np.abs(rest) + allowed)
    reaches = np.abs(rest) <= allowed
    for i in np.flatnonzero(np.abs(np.abs(rest) - allowed) <= margin):
        bits = sum(1 << int(j) for j in np.flatnonzero(mask[i]))
        reaches[i] = exact.within(np.broadcast_to(x, mask.shape)[i], z[i], eps, tolerance, bits)
    return np.asarray(reaches, bool)


def perturbation(rest: Floats, mask: Bools, eps: float) -> Floats:
    """The y that leaves the least error: clip(r / |S|, ±ε) on S, 0 elsewhere; [m, n] float64."""
    size = np.maximum(mask.sum(axis=1), 1)
    return np.where(mask, np.clip(rest / size, -eps, eps)[:, None], 0.0)


def verify(
    x: npt.ArrayLike, z: npt.ArrayLike, eps: float, tolerance: float, subset: Answer
) -> Certificate:
    """Checks every answer of `solve`.

    Args:
        x: [n] or [m, n] candidates.
        z: [m] targets.
        eps: Largest |y_i|, >= 0.
        tolerance: Largest error, >= 0.
        subset: What `solve` returned, or any other Answer.

    Returns:
        What holds. An answer with found = True must have holds = True. `bound` is
        2^-51·|z − σ_S| + 2^-1070 and the check's own rounding: y = clip(fl(r / |S|), ±ε) is three
        roundings from an exact solution.

    Raises:
        ValueError: If the shapes do not fit, or see `check_values`.
    """
    x, z = np.asarray(x, np.float64), np.asarray(z, np.float64)
    mask, y = np.asarray(subset.mask, bool), np.asarray(subset.y, np.float64)
    if mask.ndim != 2 or mask.shape != y.shape or mask.shape[:1] != z.shape:
        raise ValueError(f"expected mask and y of shape [m, n], got {mask.shape} and {y.shape}.")
    if x.shape not in (mask.shape, mask.shape[1:]):
        raise ValueError(f"expected x of shape [n] or [m, n], got {x.shape} for mask {mask.shape}.")
    check_values(x, z, eps, tolerance)
    # A y that is no number is outside ±ε, whatever it does to the sums.
    y = np.where(np.abs(y) < _LARGEST, y, _LARGEST)
    rest, rest_error = residual(x, z, mask)
    reaches = _within(x, z, eps, tolerance, mask, rest, rest_error)
    # Comparisons of floats are exact, so |y| <= eps needs no bound.
    bounded = (np.abs(y) <= eps).all(axis=1) & (np.where(mask, 0.0, y) == 0).all(axis=1)
    terms = np.where(mask, -x, 0.0)
    realized, check_error = precise_sum(
        np.concatenate([z[:, None], terms, np.where(mask, -y, 0.0)], axis=1)
    )
    bound = 4 * _U * np.abs(rest) + check_error + 2.0**-1070
    realized = np.abs(realized)
    holds = reaches & bounded & (realized <= tolerance + bound)
    return Certificate(reaches, bounded, realized, bound, holds)
