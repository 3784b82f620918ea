"""Arithmetic whose rounding goes to a known side: toward zero, or toward a center."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax import lax
from jax.typing import ArrayLike, DTypeLike

from lth_jax.perturb import shards

# Bound, with room, of the relative error of `norm`.
NORM_ERROR = 2.0**-14


def round_toward_zero(eps: ArrayLike | Sequence[float], dtype: DTypeLike = np.float32) -> Any:
    """The largest number of a dtype that is not above eps (float32(0.05) is above 0.05).

    Args:
        eps: Numbers >= 0, on the host: rounded exactly, as NumPy. Or traced: a value that was
            already rounded to its own dtype when it became an array.
        dtype: Floating point.

    Returns:
        Array of dtype and eps' shape: NumPy's, or JAX's for a traced eps.

    Raises:
        ValueError: If eps is no number, or an integer too large for one of 64 bits.
    """
    if isinstance(eps, jax.core.Tracer):
        return narrow_toward_zero(eps, dtype)
    exact = on_host(eps)
    with np.errstate(over="ignore"):
        nearest = exact.astype(dtype)
    below = np.nextafter(nearest, np.zeros_like(nearest))
    return np.where(nearest.astype(np.float64) > exact, below, nearest)


def on_host(eps: ArrayLike | Sequence[float]) -> npt.NDArray[np.float64]:
    """Numbers as float64.

    Raises:
        ValueError: If one is no number, or too large.
    """
    try:
        if eps is None:  # NumPy would take it for NaN.
            raise TypeError
        return np.asarray(eps, np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"eps must be a number >= 0, got {eps!r}.") from None
    except OverflowError:
        raise ValueError("eps must be inf where there is no bound, got a larger number.") from None


def ends(center: jax.Array, radius: jax.Array) -> tuple[jax.Array, jax.Array]:
    """w_0 - r and w_0 + r, rounded toward w_0: TwoSum (Knuth 1969) tells which way they went."""
    # XLA rewrites (r + c) - c to r where c is a constant of the program: hide that it is one.
    center, radius = lax.optimization_barrier((center, radius))
    return -_upper_end(-center, radius), _upper_end(center, radius)


def _upper_end(center: jax.Array, radius: jax.Array) -> jax.Array:
    exact = center.astype(jnp.promote_types(center.dtype, radius.dtype))
    end = exact + radius
    virtual = end - exact
    error = (exact - (end - virtual)) + (radius - virtual)
    # A sum that overflows is too large as well, unless there is no bound.
    above = (error < 0) | (jnp.isposinf(end) & (radius < jnp.inf))
    end = jnp.where(above, jnp.nextafter(end, jnp.full_like(end, -jnp.inf)), end)
    return end if end.dtype == center.dtype else _narrow_down(end, center.dtype)


def norm(x: jax.Array, split: shards.Axes = ()) -> jax.Array:
    """Euclidean norm, summed in blocks of 64, so that its relative error stays under NORM_ERROR.

    Args:
        x: [...] float, the largest entry 0 or within 2^±96: beyond, the quotients flush to zero.
        split: Axes that x is split over, at most 1,000 shards.

    Returns:
        [] float32, or float64.
    """
    split = shards.of(x, split)
    x = jnp.abs(wide(x)).reshape(-1)
    largest = shards.largest(jnp.max(x, initial=0), split)
    x = (x / jnp.where(largest > 0, largest, 1)) ** 2
    while x.size > 1:
        x = jnp.pad(x, (0, -x.size % 64)).reshape(-1, 64).sum(1)
    return largest * jnp.sqrt(shards.total(x.sum(), split))


def deviation(parts: Sequence[jax.Array], split: shards.Axes = ()) -> jax.Array:
    """The standard deviation of all entries of some arrays together.

    Args:
        parts: [...] floats.
        split: Axes that they are split over.

    Returns:
        [] float32, or float64.
    """
    over = [shards.of(x, split) for x in parts]
    flat = [jnp.ravel(wide(x)) for x in parts]
    if not any(over):
        return jnp.std(jnp.concatenate(flat))

    def total(sums: Sequence[jax.Array]) -> Any:
        return sum(shards.total(x, axes) for x, axes in zip(sums, over, strict=True))

    size = sum(x.size * shards.count(axes) for x, axes in zip(flat, over, strict=True))
    mean = total([x.sum() for x in flat]) / size
    found: jax.Array = jnp.sqrt(total([jnp.sum((x - mean) ** 2) for x in flat]) / size)
    return found


def wide(x: jax.Array) -> jax.Array:
    """Casts to float32, or leaves float64."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def narrow_toward_zero(x: jax.Array, dtype: DTypeLike) -> jax.Array:
    """Casts numbers >= 0 without rounding up."""
    x = jnp.asarray(x)
    # Not by size: float16 and bfloat16 hold different numbers.
    exact = jnp.promote_types(x.dtype, dtype) == dtype
    return x.astype(dtype) if exact else _narrow_down(x, dtype)


def rounded(x: jax.Array, dtype: DTypeLike) -> jax.Array:
    """Casts to the nearest; XLA may keep excess precision through a pair of casts, so via bits."""
    x = x.astype(dtype)
    size = jnp.finfo(dtype).bits
    if size > 32:
        return x
    bits = {16: jnp.uint16, 32: jnp.uint32}[size]
    seen: jax.Array = lax.bitcast_convert_type(lax.bitcast_convert_type(x, bits), dtype)
    return seen


def _narrow_down(x: jax.Array, dtype: DTypeLike) -> jax.Array:
    """Casts to the largest number of a narrower dtype that is not above x >= its lowest."""
    narrow = x.astype(dtype)
    below = jnp.nextafter(narrow, jnp.full_like(narrow, -jnp.inf))
    both = jnp.promote_types(x.dtype, dtype)
    return jnp.where(rounded(x, dtype).astype(both) > x.astype(both), below, narrow)
