"""What numbers depend on beside settings: keys, devices, precision, and jax's own switches."""

import os
import typing
from typing import Any, Literal

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
Precision = Literal["highest", "tf32", "bf16"]
PRECISIONS: tuple[Precision, ...] = typing.get_args(Precision)
# By precision what jax calls it, the first one being what programs are traced with. On a GPU jax's
# "bfloat16" is TF32, hence the name of an algorithm. Convolutions have no algorithms.
_NAMES: dict[Precision, tuple[str, ...]] = {
    "highest": ("highest", "float32", "F32_F32_F32"),
    "tf32": ("high", "tensorfloat32", "TF32_TF32_F32"),
    "bf16": ("BF16_BF16_F32", "bfloat16"),
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


def platform() -> str:
    """What this process runs on, as jax names it: "cpu", "gpu" or "tpu"."""
    found: str = jax.local_devices()[0].platform
    return found


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


def at_precision(precision: Precision) -> Any:
    """Within it what is traced multiplies matrices and convolves at a precision.

    Arrays stay float32, and so do sums of products: what is said is how factors are rounded. A CPU
    does not round them whatever is said. What names a precision of its own keeps it.

    Args:
        precision: "highest" is float32; "tf32" is TF32 on a GPU, and three products of bfloat16
            numbers on a TPU; "bf16" is one, but TF32 in a GPU's convolutions.

    Returns:
        A context manager.
    """
    make: Any = jax.default_matmul_precision  # It publishes no types.
    return make(_NAMES[precision][0])


def check_precision(precision: Precision) -> None:
    """Refuses a precision that jax's own switch contradicts, where either would change numbers.

    Raises:
        ValueError: One line that names both.
    """
    said = settings()["matmul_precision"]
    if said is not None and said not in _NAMES[precision] and platform() != "cpu":
        raise ValueError(
            f"precision is {precision!r}, and jax_default_matmul_precision is {said!r}: leave one "
            "of them out."
        )
