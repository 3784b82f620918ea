"""How many lanes fit: a stated estimate of a lane's bytes, against half of what a device has."""

import os
from typing import Any

import jax
import jax.numpy as jnp

from lth_jax import models, numerics, pruners, training
from lth_jax.training import in_turn, methods, optimizers, scoring

_SHARE = 0.5  # of a device's memory
_CLASS = jax.ShapeDtypeStruct((), jnp.int32)


def _bytes(tree: Any) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def lane_bytes(
    problem: training.Problem,
    strategy: str,
    example: jax.ShapeDtypeStruct,
    label: jax.ShapeDtypeStruct = _CLASS,
) -> int:
    """Estimates what one more lane in a block costs.

    Counted are the state of its largest stage twice (a slice reads one and writes one), the weights
    and scores of the stage before, and, for lanes that step together, a step's gradient and
    every intermediate array of a microbatch as if none were freed.

    Args:
        problem: Model, pruner and config.
        strategy: "map", "vmap" or "hybrid".
        example: [...] of an image, raw.
        label: [] of its class, or [k].

    Returns:
        Bytes.
    """
    sizes = training.lane_shapes(problem)
    host = training.lane_task(problem, sizes, seed=0, eps=0.0, sparsity=0.0)
    kinds = {s.kind for method in training.METHODS.values() for s in method.stages}

    def states() -> list[training.State]:
        origin = training.initial(problem, numerics.key(0))
        task = host._replace(key=numerics.key(0))
        begin = (origin.weights, origin.scores)
        return [training.start(problem, kind, task, begin, origin) for kind in kinds]

    total = 2 * max(map(_bytes, jax.eval_shape(states))) + _bytes((sizes.weights, sizes.scores))
    if strategy == "map":
        return total
    size = problem.config.microbatch or problem.config.batch_size
    images = jax.ShapeDtypeStruct((size, *example.shape), example.dtype)
    labels = jax.ShapeDtypeStruct((size, *label.shape), label.dtype)
    channels = jax.ShapeDtypeStruct(example.shape[-1:], jnp.float32)

    key = None
    if models.takes_key(problem.model.apply):
        key = jax.eval_shape(lambda: numerics.key(0))

    def step(*given: Any) -> Any:
        return scoring.loss_and_gradient(problem.model, 0, *given)

    given = (sizes.weights, sizes.model_state, images, labels, channels, channels, key)
    if strategy == "hybrid" and in_turn.convolves(step, *given):  # Only network and gradient.
        return total + 2 * _bytes(sizes.weights)
    traced = jax.make_jaxpr(step)(*given)
    made = [v.aval for equation in traced.eqns for v in equation.outvars]
    return total + _bytes(sizes.weights) + _bytes(made)


def check_one_lane(problem: training.Problem, sizes: training.Initial) -> None:
    """Refuses a network of which not even one lane fits this machine, where that is certain.

    Args:
        problem: Model, pruner and config.
        sizes: From training.lane_shapes.

    Raises:
        ValueError: If the devices are CPUs and one lane needs more than all memory.
    """
    # At the very least a device holds a lane's centre, weights and gradient, and what the smaller
    # of the optimizers remembers.
    kinds = (methods.PRUNE, methods.PERTURB)
    least = min(_optimizer_bytes(problem.config, kind, sizes) for kind in kinds)
    needed = 3 * _bytes(sizes.weights) + least
    if jax.local_devices()[0].platform == "cpu" and needed > _machine_bytes():
        raise ValueError(
            f"model, width: one lane needs more than the {_machine_bytes() / 1e9:.1f} GB of this "
            "machine."
        )


def _optimizer_bytes(
    config: training.TrainConfig, kind: training.StageKind, sizes: training.Initial
) -> int:
    def states(origin: training.Initial) -> Any:
        made = optimizers.optimizers(config, kind, jnp.float32(0), lambda: numerics.key(0), 1, 1)
        center = pruners.choose(origin.weights, origin.scores)
        parts = {"weights": center, "scores": origin.scores}
        return [optimizer.init(parts[part], center) for part, optimizer in made.items()]

    return _bytes(jax.eval_shape(states, sizes))


def _machine_bytes() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def device_bytes() -> int:
    """Memory of one device: what its runtime says, or of a CPU device its part of the machine's."""
    device = jax.local_devices()[0]
    limit: int | None = (device.memory_stats() or {}).get("bytes_limit")
    if limit:
        return limit
    return _machine_bytes() // jax.local_device_count()


def lanes_per_device(
    problem: training.Problem,
    strategy: str,
    example: jax.ShapeDtypeStruct,
    label: jax.ShapeDtypeStruct = _CLASS,
) -> int:
    """Lanes of a block that fit one device by the estimate, at least one."""
    return max(1, int(_SHARE * device_bytes() / lane_bytes(problem, strategy, example, label)))
