"""Weights within a radius of their centers, as low-bit steps whose rounding errors cancel."""

import numpy as np
import numpy.typing as npt

Float32s = npt.NDArray[np.float32]

MIN_BITS, MAX_BITS = 2, 16


def top_level(bits: int) -> int:
    """The largest level of `bits` bits: 2^(bits−1) − 1, so that −ε, 0 and ε are all levels.

    Raises:
        ValueError: If bits lies outside [2, 16].
    """
    if not MIN_BITS <= bits <= MAX_BITS:
        raise ValueError(f"bits must lie in [{MIN_BITS}, {MAX_BITS}], got {bits}.")
    return (1 << (bits - 1)) - 1


def inside(center: Float32s, wanted: npt.NDArray[np.floating], radius: float) -> Float32s:
    """The float32 near `wanted` at a distance of at most `radius` from `center`, in float64.

    Args:
        center: [...] float32.
        wanted: [...] float64.
        radius: >= 0.

    Returns:
        [...] float32.
    """
    exact = center.astype(np.float64)
    weights: Float32s = np.clip(wanted, exact - radius, exact + radius).astype(np.float32)
    while True:
        outside = np.abs(weights.astype(np.float64) - exact) > radius
        if not outside.any():
            return weights
        weights = np.where(outside, np.nextafter(weights, center), weights)


def rebuild(
    center: Float32s, levels: npt.NDArray[np.integer], radius: float, bits: int
) -> Float32s:
    """The weights that levels stand for: center + level·radius/top, rounded into the ball.

    Args:
        center: [...] float32.
        levels: [...] integers in ±top_level(bits).
        radius: >= 0.
        bits: See `top_level`.

    Returns:
        [...] float32; the same bits on any machine, as it is plain IEEE arithmetic.
    """
    step = radius / top_level(bits)
    if radius == 0:
        return np.array(center)
    return inside(center, center.astype(np.float64) + levels * step, radius)


def levels_of(
    center: Float32s,
    wanted: npt.NDArray[np.floating],
    mask: npt.NDArray[np.bool_],
    radius: float,
    bits: int,
) -> npt.NDArray[np.int32]:
    """Rounds perturbations to levels, handing each rounding error to the next kept entry.

    So the sum over the first axis is off by half a step, not by half a step per entry, unless
    entries at the edge of the ball leave no room. Weights that are levels already stay.

    Args:
        center: [k, m] float32.
        wanted: [k, m] float weights, within `radius` of the center where kept.
        mask: [k, m] bool, the entries that count.
        radius: >= 0.
        bits: See `top_level`.

    Returns:
        [k, m] int32, 0 outside the mask.
    """
    top = top_level(bits)
    levels = np.zeros(center.shape, np.int32)
    if radius == 0:
        return levels
    step = radius / top
    moved = np.where(mask, np.asarray(wanted, np.float64) - center, 0.0)
    nearest = np.clip(np.rint(moved / step), -top, top).astype(np.int32)
    if np.array_equal(np.where(mask, rebuild(center, nearest, radius, bits), wanted), wanted):
        return nearest
    carry = np.zeros(center.shape[1])
    for row in range(len(center)):
        aim = moved[row] + carry
        levels[row] = np.where(mask[row], np.clip(np.rint(aim / step), -top, top), 0)
        stored = rebuild(center[row], levels[row], radius, bits).astype(np.float64) - center[row]
        carry = np.where(mask[row], aim - stored, carry)
    return levels


def carried(
    center: Float32s, wanted: npt.NDArray[np.floating], mask: npt.NDArray[np.bool_], radius: float
) -> Float32s:
    """Rounds weights to float32 in the ball, handing each rounding error to the next kept entry.

    Args:
        center: [k, m] float32.
        wanted: [k, m] float64.
        mask: [k, m] bool.
        radius: >= 0.

    Returns:
        [k, m] float32, the center outside the mask.
    """
    weights = np.array(center)
    if radius == 0:
        return weights
    carry = np.zeros(center.shape[1])
    for row in range(len(center)):
        aim = wanted[row] + carry
        weights[row] = np.where(mask[row], inside(center[row], aim, radius), center[row])
        carry = np.where(mask[row], aim - weights[row], carry)
    return weights
