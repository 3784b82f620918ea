"""Weight initializers of the lottery-ticket literature: functions of (key, shape, dtype)."""

from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp

InitializerName = Literal["kaiming_normal", "signed_constant", "uniform"]

# torch's Kaiming normal: not truncated, unlike jax.nn.initializers.he_normal.
kaiming_normal = jax.nn.initializers.variance_scaling(2.0, "fan_in", "normal")


def signed_constant(
    key: jax.Array,
    shape: Sequence[int],
    dtype: Any = jnp.float32,
    out_sharding: Any = None,
) -> jax.Array:
    """±√(2/fan_in) with equal odds (Ramanujan et al. 2020).

    Args:
        key: Typed key.
        shape: [..., in, out] of a kernel; fan_in is everything but the last axis.
        dtype: Of the result.
        out_sharding: Accepted for flax, unused.

    Returns:
        [*shape] weights of one magnitude.
    """
    fan_in = 1
    for size in shape[:-1]:
        fan_in *= size
    return jax.random.rademacher(key, shape, dtype) * jnp.asarray((2.0 / fan_in) ** 0.5, dtype)


def uniform(
    key: jax.Array,
    shape: Sequence[int],
    dtype: Any = jnp.float32,
    out_sharding: Any = None,
) -> jax.Array:
    """U[-1/2, 1/2], whatever the fan: the paper's own (arXiv 2210.16589, section 5)."""
    return jax.random.uniform(key, shape, dtype, -0.5, 0.5)


INITIALIZERS: dict[str, jax.nn.initializers.Initializer] = {
    "kaiming_normal": kaiming_normal,
    "signed_constant": signed_constant,
    "uniform": uniform,
}
