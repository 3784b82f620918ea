"""What a block's programs take, as shapes alone: to compile or export them without a device."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from lth_jax import numerics, training
from lth_jax.perturb import shards
from lth_jax.sweep import programs as sweep_programs
from lth_jax.training import scoring


def data_shapes(images: int, held_out: int, shape: tuple[int, ...]) -> training.Data:
    """The arrays of a data set of such a size.

    Args:
        images: To train on.
        held_out: To validate on.
        shape: [h, w, c] of an image, of bytes.

    Returns:
        Data of jax.ShapeDtypeStruct.
    """
    statistics = jax.ShapeDtypeStruct(shape[-1:], jnp.float32)
    return training.Data(
        images=jax.ShapeDtypeStruct((images, *shape), jnp.uint8),
        labels=jax.ShapeDtypeStruct((images,), jnp.int32),
        validation=scoring.chunk_shapes(held_out, shape),
        mean=statistics,
        std=statistics,
    )


def advance_arguments(
    programs: sweep_programs.Programs, kind: training.StageKind, lanes: int, data: training.Data
) -> tuple[Any, ...]:
    """The arguments of `programs.advance_program(kind)`, placed on the programs' devices.

    Args:
        programs: Whose devices may be those of a topology that nobody has.
        kind: Of the stage.
        lanes: Of a block, a multiple of the devices.
        data: From `data_shapes`.

    Returns:
        (state, task, (data, step, until, total)) of jax.ShapeDtypeStruct.

    Raises:
        ValueError: If the devices cannot share the lanes.
    """
    task, origin = _lane_arguments(programs, lanes)
    begin = (origin.weights, origin.scores)
    start = programs.start_program(kind)
    state = jax.eval_shape(start, (task, begin, origin), ())
    number = jax.ShapeDtypeStruct((), jnp.int32)
    shared = _placed(programs, (data, number, number, number), P())
    return (*_placed(programs, (state, task), P(shards.LANES)), shared)


def finish_arguments(
    programs: sweep_programs.Programs, lanes: int, data: training.Data, test: scoring.Chunks
) -> tuple[Any, ...]:
    """The arguments of `programs.finish_program`, placed on the programs' devices.

    Args:
        programs: As in `advance_arguments`.
        lanes: Of a block, a multiple of the devices.
        data: From `data_shapes`.
        test: From scoring.chunk_shapes.

    Returns:
        ((weights, scores, model_state), task), (data, test) of jax.ShapeDtypeStruct.

    Raises:
        ValueError: If the devices cannot share the lanes.
    """
    task, origin = _lane_arguments(programs, lanes)
    final = (origin.weights, origin.scores, origin.model_state)
    dealt = _placed(programs, (final, task), P(shards.LANES))
    return dealt, _placed(programs, (data, test), P())


def _lane_arguments(
    programs: sweep_programs.Programs, lanes: int
) -> tuple[training.Task, training.Initial]:
    """What a block's lanes are given, and what their seeds stand for, [lanes, ...] each."""
    if lanes % programs.devices:
        raise ValueError(f"lanes must be a multiple of {programs.devices} devices, got {lanes}.")
    problem = programs.problem
    origin = training.lane_shapes(problem)
    one = training.lane_task(problem, origin, seed=0, eps=0.0, sparsity=0.5)
    keys = jax.eval_shape(jax.vmap(numerics.key), np.zeros(lanes, np.uint32))

    def of_all(tree: Any) -> Any:
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct((lanes, *x.shape), x.dtype), tree)

    return of_all(one)._replace(key=keys), of_all(origin)


def _placed(programs: sweep_programs.Programs, tree: Any, spec: P) -> Any:
    sharding = NamedSharding(programs.mesh, spec)
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree)
