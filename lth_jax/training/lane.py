"""What one lane is made of: its task and its data, for a runner, a benchmark or a test."""

import chex
import jax
import numpy as np

from lth_jax import datasets, numerics
from lth_jax.masks import selection
from lth_jax.models import base as models
from lth_jax.perturb import rounding
from lth_jax.training import scoring, stage


def shapes(problem: stage.Problem) -> stage.Initial:
    """The shapes of a seed's weights, scores and state; computes nothing.

    Args:
        problem: Model, pruner and config.

    Returns:
        Trees of jax.ShapeDtypeStruct.

    Raises:
        ValueError: If the model or the pruner refuses its settings.
    """
    key = jax.eval_shape(lambda: numerics.key(0))
    try:
        found: stage.Initial = jax.eval_shape(lambda key: stage.initial(problem, key), key)
    except (OverflowError, TypeError, MemoryError, ZeroDivisionError) as error:
        if problem.model.architecture is None:
            raise
        small = isinstance(error, ZeroDivisionError)  # The standard deviation of no weights.
        raise ValueError(f"width: the network is too {'small' if small else 'large'}.") from error
    for path, leaf in jax.tree_util.tree_leaves_with_path(found.weights):
        if leaf.size == 0:
            name = jax.tree_util.keystr(path)
            raise ValueError(f"expected weights, got none in {name} of shape {leaf.shape}.")
    return found


def outputs(problem: stage.Problem, sizes: stage.Initial, dataset: datasets.Dataset) -> int:
    """The number of logits that the model gives for an image; computes nothing.

    Args:
        problem: Model, pruner and config.
        sizes: From `shapes`.
        dataset: For the shape of an image.
    """

    def apply(weights: chex.ArrayTree, state: chex.ArrayTree, images: jax.Array) -> jax.Array:
        return models.in_evaluation(problem.model, weights, state, images)

    images = jax.ShapeDtypeStruct((1, *dataset.train.images.shape[1:]), np.float32)
    logits = jax.eval_shape(apply, sizes.weights, sizes.model_state, images)
    return int(logits.shape[-1])


def task(
    problem: stage.Problem,
    sizes: stage.Initial,
    seed: int,
    eps: float | None,
    sparsity: float | None,
    active: bool = True,
) -> stage.Task:
    """The task of a lane, on the host; for the device its seed becomes a typed key.

    Args:
        problem: Model, pruner and config.
        sizes: From `shapes`.
        seed: Integer in [0, 2^32).
        eps: Radius of the ball, inf for no bound, None where the weights do not move.
        sparsity: Fraction to remove, None for a network without a mask.
        active: False for padding.

    Returns:
        A Task of NumPy scalars whose `key` is the seed, as uint32: a block's keys are made at once.

    Raises:
        ValueError: If the sparsity leaves too little for the scope or its floor.
    """
    kept = problem.pruner.counts(sizes.scores, sparsity or 0, problem.pruner.scope)
    if problem.config.floor:
        kept = selection.with_floor(sizes.scores, kept, problem.config.floor)
    whole = sum(leaf.size for leaf in jax.tree.leaves(sizes.scores))
    left = selection.of_all(kept) / whole
    return stage.Task(
        key=np.uint32(seed),
        eps=rounding.round_toward_zero(0.0 if eps is None else eps, np.float32),
        kept=jax.tree.map(np.int32, kept),
        scale=np.float32(left**-0.5),
        active=np.bool_(active),
    )


def data(dataset: datasets.Dataset) -> tuple[stage.Data, scoring.Chunks]:
    """What a lane reads while it trains, and the test split, which it reads once.

    Args:
        dataset: A data set.

    Returns:
        NumPy arrays.
    """
    train = stage.Data(*dataset.train, scoring.chunks(dataset.watched), dataset.mean, dataset.std)
    return train, scoring.chunks(dataset.test)
