"""Arithmetic whose rounding goes to a known side: toward zero, or toward a center."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike, DTypeLike

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
    """
    if isinstance(eps, jax.core.Tracer):
        return narrow_toward_zero(eps, dtype)
    exact = np.asarray(eps, np.float64)
    with np.errstate(over="ignore"):
        nearest = exact.astype(dtype)
    below = np.nextafter(nearest, np.zeros_like(nearest))
    return np.where(nearest.astype(np.float64) > exact, below, nearest)


def ends(center: jax.Array, radius: jax.Array) -> tuple[jax.Array, jax.Array]:
    """w_0 - r and w_0 + r, rounded toward w_0: TwoSum (Knuth 1969) tells which way they went."""
    # XLA rewrites (r + c) - c to r where c is a constant of the program: hide that it is one.
    center, radius = lax.optimization_barrier((center, radius))
    return -_upper_end(-center, radius), _upper_end(center, radius)


def _upper_end(center: jax.Array, radius: jax.Array) -> jax.Array:
    end = center + radius
    virtual = end - center
    error = (center - (end - virtual)) + (radius - virtual)
    return jnp.where(error < 0, jnp.nextafter(end, jnp.full_like(end, -jnp.inf)), end)


def norm(x: jax.Array) -> jax.Array:
    """Euclidean norm, summed in blocks of 64, so that its relative error stays under NORM_ERROR."""
    x = jnp.abs(wide(x)).reshape(-1)
    largest = jnp.max(x, initial=0)
    x = (x / jnp.where(largest > 0, largest, 1)) ** 2
    while x.size > 1:
        x = jnp.pad(x, (0, -x.size % 64)).reshape(-1, 64).sum(1)
    return largest * jnp.sqrt(x.sum())


def wide(x: jax.Array) -> jax.Array:
    """Casts to float32, or leaves float64."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def narrow_toward_zero(x: jax.Array, dtype: DTypeLike) -> jax.Array:
    """Casts numbers >= 0; XLA may keep excess precision through a pair of casts, so via bits."""
    x = jnp.asarray(x)
    if jnp.finfo(dtype).bits >= jnp.finfo(x.dtype).bits:
        return x.astype(dtype)
    narrow = x.astype(dtype)
    bits = {16: jnp.uint16, 32: jnp.uint32}[jnp.finfo(dtype).bits]
    seen = lax.bitcast_convert_type(lax.bitcast_convert_type(narrow, bits), dtype)
    below = jnp.nextafter(narrow, jnp.zeros_like(narrow))
    return jnp.where(seen.astype(x.dtype) > x, below, narrow)
