"""Weight initializers of the lottery-ticket literature: functions of (key, shape, dtype).

A random subnetwork's accuracy hangs on them: the paper's U[-1/2, 1/2] alone costs ten points.
"""

import jax
import jax.numpy as jnp

# torch's Kaiming normal: not truncated, unlike jax.nn.initializers.he_normal.
kaiming_normal = jax.nn.initializers.variance_scaling(2.0, "fan_in", "normal")


def signed_constant(key: jax.Array, shape: tuple[int, ...], dtype=jnp.float32, out_sharding=None):
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


def uniform(key: jax.Array, shape: tuple[int, ...], dtype=jnp.float32, out_sharding=None):
    """U[-1/2, 1/2], whatever the fan: the paper's own (arXiv 2210.16589, section 5)."""
    return jax.random.uniform(key, shape, dtype, -0.5, 0.5)


INITIALIZERS = {
    "kaiming_normal": kaiming_normal,
    "signed_constant": signed_constant,
    "uniform": uniform,
}
