"""What a card could do at most: by its maker's word, and by a copy and a product timed on it."""

import functools
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from experiments.benchmark.accelerator import sizes
from lth_jax import numerics


class Peak(NamedTuple):
    """The makers' data sheets, dense products: bytes and operations per second."""

    bandwidth: float
    highest: float
    tf32: float
    bf16: float


# By a part of the name that jax gives the device; the first that fits. A TPU multiplies bfloat16:
# tf32 takes three products there, highest six.
_PEAKS = {
    "H200": Peak(4.8e12, 67e12, 494e12, 989e12),
    "H100 PCIe": Peak(2.0e12, 51e12, 378e12, 756e12),
    "H100": Peak(3.35e12, 67e12, 494e12, 989e12),
    "A100-SXM4-80GB": Peak(2.039e12, 19.5e12, 156e12, 312e12),
    "A100": Peak(1.555e12, 19.5e12, 156e12, 312e12),
    "TPU v5 lite": Peak(0.819e12, 197e12 / 6, 197e12 / 3, 197e12),
    "TPU v4": Peak(1.228e12, 275e12 / 6, 275e12 / 3, 275e12),
}


def peak(kind: str) -> Peak | None:
    """The data sheet of a device by the name that jax gives it, None for one not listed."""
    return next((found for part, found in _PEAKS.items() if part in kind), None)


def _seconds(call: Callable[[], Any], tries: int = 5, calls: int = 10) -> float:
    """Of a call, the least of a few tries of several in a row, after one that compiles."""
    jax.block_until_ready(call())  # type: ignore[no-untyped-call]  # Of JAX.
    found = []
    for _ in range(tries):
        begun = time.perf_counter()
        for _ in range(calls):
            last = call()
        jax.block_until_ready(last)  # type: ignore[no-untyped-call]  # Of JAX.
        found.append((time.perf_counter() - begun) / calls)
    return min(found)


@functools.cache
def measured(size: sizes.Sizes, precision: numerics.Precision) -> dict[str, float]:
    """Bytes per second of reading and writing an array, operations per second of a product."""

    def product(a: jax.Array) -> jax.Array:
        with numerics.at_precision(precision):
            return a @ a

    array = jnp.ones(size.copied, jnp.float32)
    copy = jax.jit(lambda x: x + 1)
    matrix = jnp.ones((size.side, size.side), jnp.float32)
    multiply = jax.jit(product)
    return {
        "bytes_per_second": 8 * size.copied / _seconds(lambda: copy(array)),
        "flops_per_second": 2 * size.side**3 / _seconds(lambda: multiply(matrix)),
    }
