"""How many lanes fit: a stated estimate of a lane's bytes, against half of what a device has."""

import os
from typing import Any

import jax
import jax.numpy as jnp

from lth_jax import training
from lth_jax.training import methods, scoring

_SHARE = 0.5  # of a device's memory


def _bytes(tree: Any) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def lane_bytes(problem: training.Problem, strategy: str, example: jax.ShapeDtypeStruct) -> int:
    """Estimates what one more lane in a block costs.

    Counted are the state of its largest stage twice (a slice reads one and writes one), the weights
    and scores of the stage before, and, for lanes that step together (vmap), a step's gradient and
    every intermediate array of a microbatch as if none were freed.

    Args:
        problem: Model, pruner and recipe.
        strategy: "map" or "vmap".
        example: [h, w, c] of an image, uint8.

    Returns:
        Bytes.
    """

    def shapes():
        origin = training.initial(problem, jax.random.key(0))
        kept = jax.tree.map(lambda _: jnp.int32(1), origin.scores)
        kept = kept if problem.pruner.scope == "tensor" else jnp.int32(1)
        task = training.Task(jax.random.key(0), jnp.float32(0), kept, jnp.float32(1), jnp.bool_(1))
        begin = (origin.weights, origin.scores)
        starts = [training.start(problem, k, task, begin, origin) for k in methods.MOVES]
        return origin, begin, starts

    origin, begin, states = jax.eval_shape(shapes)
    total = 2 * max(map(_bytes, states)) + _bytes(begin)
    if strategy == "map":
        return total
    size = problem.recipe.microbatch or problem.recipe.batch_size
    images = jax.ShapeDtypeStruct((size, *example.shape), example.dtype)
    labels = jax.ShapeDtypeStruct((size,), jnp.int32)
    channels = jax.ShapeDtypeStruct(example.shape[-1:], jnp.float32)

    def step(weights, state, images, labels, mean, std):
        return scoring.loss_and_gradient(
            problem.model, 0, weights, state, images, labels, mean, std
        )

    traced = jax.make_jaxpr(step)(
        origin.weights, origin.model_state, images, labels, channels, channels
    )
    made = [v.aval for equation in traced.eqns for v in equation.outvars]
    return total + _bytes(origin.weights) + _bytes(made)


def device_bytes() -> int:
    """Memory of one device: what its runtime says, or of a CPU device its part of the machine's."""
    device = jax.local_devices()[0]
    limit = (device.memory_stats() or {}).get("bytes_limit")
    if limit:
        return limit
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return machine // jax.local_device_count()


def lanes_per_device(
    problem: training.Problem, strategy: str, example: jax.ShapeDtypeStruct
) -> int:
    """Lanes of a block that fit one device by the estimate, at least one."""
    return max(1, int(_SHARE * device_bytes() / lane_bytes(problem, strategy, example)))
