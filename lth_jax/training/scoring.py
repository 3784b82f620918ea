"""What a network is judged by: its loss, with the gradient, and how many images it gets right."""

from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from lth_jax import datasets
from lth_jax.models import base as models
from lth_jax.training import criteria

_CHUNK = 500  # images


class Chunks(NamedTuple):
    """A split to score, in equal chunks; padding has a label of -1 or NaN, which nothing meets."""

    images: chex.Array  # [chunks, b, ...] raw
    labels: chex.Array  # [chunks, b] int32, or [chunks, b, k] float32


def chunks(split: datasets.Split) -> Chunks:
    """Cuts a split into equal chunks for scoring, the last one padded with label -1, or NaN.

    Args:
        split: n images and labels.

    Returns:
        Chunks as NumPy arrays.
    """
    count, size = _cut(len(split.labels))
    spare = count * size - len(split.labels)
    images = np.pad(split.images, [(0, spare)] + [(0, 0)] * (split.images.ndim - 1))
    numbers = np.issubdtype(split.labels.dtype, np.floating)
    labels = np.pad(
        split.labels,
        [(0, spare)] + [(0, 0)] * (split.labels.ndim - 1),
        constant_values=np.nan if numbers else -1,
    )
    return Chunks(*(a.reshape(count, size, *a.shape[1:]) for a in (images, labels)))


def chunk_shapes(count: int, shape: tuple[int, ...]) -> Chunks:
    """The shapes of `chunks` of a split of so many images of a shape."""
    cut = _cut(count)
    images = jax.ShapeDtypeStruct((*cut, *shape), jnp.uint8)
    return Chunks(images, jax.ShapeDtypeStruct(cut, jnp.int32))


def _cut(images: int) -> tuple[int, int]:
    """Chunks, and images in each."""
    count = -(-images // _CHUNK)
    return count, -(-images // count)


def count_right(
    model: models.Model,
    weights: chex.ArrayTree,
    model_state: chex.ArrayTree,
    chunks: Chunks,
    mean: jax.Array,
    std: jax.Array,
) -> jax.Array:
    """Number of images that a network gets right, see `criteria.right`.

    Args:
        model: The model.
        weights: Tree of the (pruned) weights.
        model_state: The model's state.
        chunks: The split.
        mean: [c] or [1] as in Data.
        std: [c] or [1] as in Data.

    Returns:
        [] int32.
    """

    def score(chunk: Chunks) -> jax.Array:
        x = datasets.normalize(chunk.images, mean, std)
        logits = models.in_evaluation(model, weights, model_state, x)
        return jnp.sum(criteria.right(logits, chunk.labels))

    return jnp.sum(jax.lax.map(score, chunks)).astype(jnp.int32)


def loss_and_gradient(
    model: models.Model,
    microbatch: int,
    weights: chex.ArrayTree,
    model_state: chex.ArrayTree,
    images: jax.Array,
    labels: jax.Array,
    mean: jax.Array,
    std: jax.Array,
    key: jax.Array | None = None,
) -> tuple[jax.Array, chex.ArrayTree, chex.ArrayTree]:
    """Mean loss, see `criteria.losses`, and its gradient, summed up by microbatches.

    Args:
        model: The model.
        microbatch: Images per gradient, a divisor of the batch; 0 takes the batch whole.
        weights: Tree of the (pruned) weights.
        model_state: The model's state.
        images: [b, ...] raw.
        labels: [b] int32, or [b, k] float32.
        mean: [c] as in datasets.normalize.
        std: [c] as in datasets.normalize.
        key: What the model draws from, folded in with a microbatch's number where there are more
            than one; None for a model that takes none.

    Returns:
        Loss [], the model's state afterwards, the gradient to `weights`.
    """

    def loss_of(
        weights: chex.ArrayTree,
        model_state: chex.ArrayTree,
        images: jax.Array,
        labels: jax.Array,
        key: jax.Array | None,
    ) -> tuple[jax.Array, chex.ArrayTree]:
        x = datasets.normalize(images, mean, std)
        logits, model_state = models.in_training(model, weights, model_state, x, key)
        return jnp.mean(criteria.losses(logits, labels)), model_state

    value_and_grad = jax.value_and_grad(loss_of, has_aux=True)
    size = microbatch or len(labels)
    parts = len(labels) // size
    if parts == 1:
        (loss, model_state), gradient = value_and_grad(weights, model_state, images, labels, key)
        return loss, model_state, gradient

    def add(carry: Any, batch: Any) -> tuple[Any, None]:
        loss, model_state, gradient = carry
        images, labels, own_key = batch
        value, extra = value_and_grad(weights, model_state, images, labels, own_key)
        more, model_state = value
        return (loss + more, model_state, jax.tree.map(jnp.add, gradient, extra)), None

    batches = jax.tree.map(lambda a: a.reshape(parts, size, *a.shape[1:]), (images, labels))
    keys = None if key is None else jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(parts))
    zero = (jnp.float32(0), model_state, jax.tree.map(jnp.zeros_like, weights))
    (loss, model_state, gradient), _ = jax.lax.scan(add, zero, (*batches, keys))
    return loss / parts, model_state, jax.tree.map(lambda g: g / parts, gradient)
