"""The usual augmentation of CIFAR-10: a crop out of 4 pixels of padding, and a horizontal flip."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

PAD = 4


def crop_and_flip(
    key: jax.Array, images: jax.Array, pad: int = PAD, fill: ArrayLike = 0
) -> jax.Array:
    """Moves each image by up to `pad` pixels along both axes and mirrors half of them.

    Pure, and cheap inside jit, scan, map and vmap. Every one of the (2·pad + 1)² offsets and both
    orientations are equally likely, independently for each image.

    Args:
        key: Typed key.
        images: [b, h, w, c] of any dtype.
        pad: Pixels of padding on each side.
        fill: Value of the padding, a scalar or [c]; 0 is black for raw images and the mean for
            normalized ones.

    Returns:
        [b, h, w, c] of the same dtype.
    """
    key_crop, key_flip = jax.random.split(key)
    b, h, w, c = images.shape
    offsets = jax.random.randint(key_crop, (b, 2), -pad, pad + 1)
    flips = jax.random.bernoulli(key_flip, 0.5, (b,))
    columns = jnp.arange(w)[None]
    columns = jnp.where(flips[:, None], w - 1 - columns, columns) + offsets[:, 1:]
    rows = jnp.arange(h)[None] + offsets[:, :1]
    # Indices clipped, then masked: two gathers of whole rows, with no padded copy of the images.
    moved = jnp.take_along_axis(images, jnp.clip(rows, 0, h - 1)[:, :, None, None], axis=1)
    moved = jnp.take_along_axis(moved, jnp.clip(columns, 0, w - 1)[:, None, :, None], axis=2)
    inside = ((rows >= 0) & (rows < h))[:, :, None] & ((columns >= 0) & (columns < w))[:, None, :]
    fill = jnp.broadcast_to(jnp.asarray(fill, images.dtype), (c,)).reshape(1, 1, 1, c)
    return jnp.where(inside[..., None], moved, fill)
