"""The running statistics of a final network, found anew from training images.

Those that training leaves are of the masks and weights that it went through: sampled or relaxed
masks, other counts, the network of the stage before. Training itself never reads them, only scoring
does. The mean over batches in place of a moving average is as for averaged weights (Izmailov et al.
2018, 1803.05407).
"""

import chex
import jax
import jax.numpy as jnp

from lth_jax import datasets
from lth_jax.models import base as models

_MOST = 10_000  # images


def looked_at(count: int) -> int:
    """About how many of so many training images are looked at."""
    return min(count, _MOST)


def of_network(
    batch_state: models.BatchState,
    network: chex.ArrayTree,
    state: chex.ArrayTree,
    images: jax.Array,
    mean: jax.Array,
    std: jax.Array,
    order: jax.Array,
    size: int,
) -> chex.ArrayTree:
    """The mean of what a network's batches give, each by itself.

    Args:
        batch_state: Of the model.
        network: Its (pruned) weights.
        state: Its state, for structure and shapes.
        images: [n, ...] raw training images, which are taken as they are, never augmented.
        mean: [c] or [1], see datasets.normalize.
        std: [c] or [1], see datasets.normalize.
        order: [n], in which they are taken: 10,000 of them, or all if fewer, in whole batches.
        size: Images in a batch, at most n.

    Returns:
        A tree like `state`.
    """
    batches = max(looked_at(len(order)) // size, 1)
    flat = images.reshape(len(order), -1)  # As in a training step: faster to gather.

    def add(total: chex.ArrayTree, rows: jax.Array) -> tuple[chex.ArrayTree, None]:
        raw = flat[rows].reshape(size, *images.shape[1:])
        found = batch_state(network, state, datasets.normalize(raw, mean, std))
        return jax.tree.map(jnp.add, total, found), None

    zero = jax.tree.map(jnp.zeros_like, state)
    total, _ = jax.lax.scan(add, zero, order[: batches * size].reshape(batches, size))
    return jax.tree.map(lambda leaf: leaf / batches, total)
