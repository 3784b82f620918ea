"""3×3 convolutions of stride 1 in 16 products per 2×2 outputs instead of 36, for CPUs.

Winograd's minimal filtering F(2×2, 3×3), for convolutional nets by Lavin and Gray (2015,
1509.09308): a 4×4 tile of the image and the kernel are transformed, multiplied entry by entry
(which, summed over channels, are 16 matrix products) and transformed back. The transforms only
add, subtract and halve, so float32 stays within some 1e-7 of the largest entry: nearer than lax for
dense kernels, less near for sparse ones. They mix neighbours before the products: entries beyond
1e37 may overflow, and inf − inf is NaN.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

# One axis: y = A ((G k) · (B d)), d 4 pixels, k 3 entries of the kernel, y 2 outputs.
_A = ((1, 1, 1, 0), (0, 1, -1, -1))
_B = ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1))
_G = ((1, 0, 0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0, 0, 1))
# With fewer channels than this the transforms cost more than the products that they save.
_LEAST_CHANNELS = 16
# Entries of a chunk of images and of its outputs: its tiles should stay in a core's cache.
_MOST = 2**18

Pads = tuple[tuple[int, int], tuple[int, int]]
Square = list[list[jax.Array]]  # [4][4] or [2][2], of one array per place in a tile


def fits(images: jax.Array, kernel_shape: tuple[int, ...], strides: tuple[int, int]) -> bool:
    """Whether a convolution is one of these, and gains by it."""
    return (
        tuple(kernel_shape[:2]) == (3, 3)
        and strides == (1, 1)
        and min(kernel_shape[2:]) >= _LEAST_CHANNELS
        and images.dtype in (jnp.float32, jnp.float64)
    )


def convolve(images: jax.Array, kernel: jax.Array, pads: Pads, precision: Any = None) -> jax.Array:
    """The convolution.

    Args:
        images: [n, h, w, i] float32 or float64.
        kernel: [3, 3, i, o].
        pads: ((top, bottom), (left, right)); negative ones crop.
        precision: Of the products, as in lax.

    Returns:
        [n, h', w', o].
    """
    n, h, w, i = images.shape
    out = _outputs(images.shape, pads)
    o = kernel.shape[3]
    kernels = [_grow_kernel(row) for row in _grow_kernel(kernel)]

    def some(images: jax.Array) -> jax.Array:
        tiles = _tiles(images, pads, out)
        products = [
            [lax.dot(tiles[p][q], kernels[p][q], precision=precision) for q in range(4)]
            for p in range(4)
        ]
        down = [[_sum(row, [products[p][q] for p in range(4)]) for q in range(4)] for row in _A]
        whole = [[_sum(row, terms) for row in _A] for terms in down]
        return _merge(whole, len(images), out, o)

    part = _part(n, h * w * i, out[0] * out[1] * o)
    if part == n:
        return some(images)
    parts: jax.Array = lax.map(some, images.reshape(-1, part, h, w, i))
    return parts.reshape(n, *out, o)


def kernel_gradient(
    images: jax.Array, cotangent: jax.Array, pads: Pads, precision: Any = None
) -> jax.Array:
    """The gradient to the kernel: `convolve`, transposed.

    Args:
        images: [n, h, w, i].
        cotangent: [n, h', w', o].
        pads: As in `convolve`.
        precision: Of the products, as in lax.

    Returns:
        [3, 3, i, o].
    """
    n, h, w, i = images.shape
    out, o = (cotangent.shape[1], cotangent.shape[2]), cotangent.shape[3]

    def some(images: jax.Array, cotangent: jax.Array) -> jax.Array:
        tiles = _tiles(images, pads, out)
        grown = _grow_cotangent(cotangent)
        contract = (((0,), (0,)), ((), ()))
        return jnp.stack(
            [
                lax.dot_general(tiles[p][q], grown[p][q], contract, precision=precision)
                for p in range(4)
                for q in range(4)
            ]
        )

    part = _part(n, h * w * i, out[0] * out[1] * o)
    if part == n:
        total = some(images, cotangent)
    else:
        parts = jax.tree.map(lambda a: a.reshape(-1, part, *a.shape[1:]), (images, cotangent))
        zero = jnp.zeros((16, i, o), images.dtype)
        total, _ = lax.scan(lambda sums, pair: (sums + some(*pair), None), zero, parts)
    g = jnp.asarray(_G, images.dtype)
    return jnp.einsum("pa,qb,pqio->abio", g, g, total.reshape(4, 4, i, o), precision="highest")


def _outputs(shape: tuple[int, ...], pads: Pads) -> tuple[int, int]:
    (top, bottom), (left, right) = pads
    return shape[1] + top + bottom - 2, shape[2] + left + right - 2


def _part(n: int, entries_in: int, entries_out: int) -> int:
    most = max(1, _MOST // max(entries_in, entries_out, 1))
    return max(d for d in range(1, n + 1) if n % d == 0 and d <= most)


def _sum(factors: Sequence[float], terms: Sequence[jax.Array]) -> jax.Array:
    """Σ factor · term over factors of 0, ±1 and ±½, in as few operations as that takes."""
    total: jax.Array | None = None
    for factor, term in zip(factors, terms, strict=True):
        if factor == 0:
            continue
        term = term if abs(factor) == 1 else abs(factor) * term
        if total is None:
            total = term if factor > 0 else -term
        else:
            total = total + term if factor > 0 else total - term
    assert total is not None, "no row of the transforms is all zeros"
    return total


def _grow_kernel(kernel: jax.Array) -> list[jax.Array]:
    """G on the first axis: [3, ...] -> [4] of [...]."""
    return [_sum(row, list(kernel)) for row in _G]


def _tiles(images: jax.Array, pads: Pads, out: tuple[int, int]) -> Square:
    """The transformed tiles: [4][4] of [n·tiles, i]."""
    n, h, w, i = images.shape
    grid = [-(-size // 2) for size in out]
    # To 2·tiles + 2 pixels a side.
    fill = [
        (low, 2 * count + 2 - size - low, 0)
        for size, (low, _), count in zip((h, w), pads, grid, strict=True)
    ]
    padded = lax.pad(images, jnp.zeros((), images.dtype), ((0, 0, 0), *fill, (0, 0, 0)))
    pixels = [
        [padded[:, y : y + 2 * grid[0] - 1 : 2, x : x + 2 * grid[1] - 1 : 2] for x in range(4)]
        for y in range(4)
    ]
    down = [[_sum(row, [pixels[y][x] for y in range(4)]) for x in range(4)] for row in _B]
    return [[_sum(row, down[p]).reshape(-1, i) for row in _B] for p in range(4)]


def _grow_cotangent(cotangent: jax.Array) -> Square:
    """Aᵀ on both axes: [4][4] of [n·tiles, o]."""
    n, h, w, o = cotangent.shape
    even = jnp.pad(cotangent, ((0, 0), (0, h % 2), (0, w % 2), (0, 0)))
    corners = [[even[:, y::2, x::2] for x in range(2)] for y in range(2)]
    columns = list(zip(*_A, strict=True))
    down = [[_sum(c, [corners[y][x] for y in range(2)]) for x in range(2)] for c in columns]
    return [[_sum(c, down[p]).reshape(-1, o) for c in columns] for p in range(4)]


def _merge(whole: Square, n: int, out: tuple[int, int], o: int) -> jax.Array:
    """[2][2] of [n·tiles, o] -> [n, h', w', o]."""
    grid = [-(-size // 2) for size in out]
    whole = [[corner.reshape(n, *grid, o) for corner in row] for row in whole]
    rows = [jnp.stack(row, axis=3).reshape(n, grid[0], 2 * grid[1], o) for row in whole]
    merged = jnp.stack(rows, axis=2).reshape(n, 2 * grid[0], 2 * grid[1], o)
    return merged[:, : out[0], : out[1]]
