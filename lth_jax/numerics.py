"""What numbers depend on beside settings: keys, the device that draws, and jax's own switches."""

import os
from typing import Any

import jax

from lth_jax import errors

# Whatever jax_default_prng_impl says: the same seed is the same network.
KEYS = "threefry2x32"
# What folders were made with that do not say it: jax's defaults.
UNSAID: dict[str, Any] = {
    "keys": KEYS,
    "threefry_partitionable": True,
    "matmul_precision": None,
    "x64": False,
    "xla_flags": [],
}
# Options of XLA that change no number: how many devices, and what it writes down.
_HARMLESS = ("--xla_force_host_platform_device_count", "--xla_dump")


def key(seed: int | jax.Array) -> jax.Array:
    """A key of one implementation, whatever jax's default is.

    Args:
        seed: An integer, may be traced.

    Returns:
        A typed key, [].
    """
    return jax.random.key(seed, impl=KEYS)


def host() -> jax.Device:
    """The host's CPU: what it draws has the same bits whatever accelerator goes on with it.

    Raises:
        RunError: If JAX was told to do without it.
    """
    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError:
        raise errors.RunError(
            "weights are drawn on the CPU, which JAX_PLATFORMS leaves out: add cpu to it."
        ) from None


def settings() -> dict[str, Any]:
    """The switches of jax and XLA that change numbers, as they stand now, by name."""
    config: Any = jax.config  # It publishes no types for these.
    flags = os.environ.get("XLA_FLAGS", "").split()
    return {
        "keys": KEYS,
        "threefry_partitionable": config.jax_threefry_partitionable,
        "matmul_precision": config.jax_default_matmul_precision,
        "x64": config.jax_enable_x64,
        "xla_flags": sorted(flag for flag in flags if not flag.startswith(_HARMLESS)),
    }
