"""Ties: of the entries that equal the threshold, the first ones are kept."""

import math

import jax
import jax.numpy as jnp

from lth_jax.masks import threshold
from lth_jax.perturb import shards


def last_kept(keys: jax.Array, tied: jax.Array, kept: jax.Array, split: shards.Axes) -> jax.Array:
    """Up to which entry those at the threshold are kept.

    Args:
        keys: [n] integers from `threshold.keys_of`.
        tied: [] key; fewer than `kept` are above it.
        kept: [] int32, how many are kept in all.
        split: Axes that the keys are split over; earlier shards come first.

    Returns:
        [] int32, an index; -1 where a shard keeps none of them.
    """
    # By rows: a long cumsum is slow.
    width = math.isqrt(keys.size - 1) + 1
    fill = jnp.iinfo(keys.dtype).min
    rows = jnp.pad(keys, (0, -keys.size % width), constant_values=fill).reshape(-1, width)
    reaching, above = threshold.count_reaching(rows, [tied, tied + 1])
    needed = kept - shards.total(above.sum(), split)
    if split:  # Earlier shards come first.
        tied_of = shards.gathered((reaching - above).sum(), split)
        earlier = jnp.cumsum(tied_of) - tied_of
        needed = needed - earlier[shards.place(split)]
    own = needed
    seen = jnp.cumsum(reaching - above)
    row = jnp.sum(seen < needed)
    needed -= seen[row] - (reaching - above)[row]
    last = (row * width + jnp.sum(jnp.cumsum(rows[row] == tied) < needed)).astype(jnp.int32)
    return jnp.where(own > 0, last, -1) if split else last
