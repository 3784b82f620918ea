"""How many lanes fit: an estimate of what programs hold, against half of what a device has.

The estimate was compared with XLA's own analysis of programs compiled for accelerators; BUILD_NOTES
has the table.
"""

import itertools
import math
import os
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend import core

from lth_jax import numerics, pruners, training
from lth_jax.models import base, convolution
from lth_jax.perturb import ball
from lth_jax.training import in_turn, methods, optimizers, scoring

_SHARE = 0.5  # of a device's memory
_TILE = (8, 128)  # A TPU holds whole tiles of so many entries.
_KEYS = 2  # Copies of the scores' sorting keys that a selection holds on a TPU: shaped, and flat.


class Estimate(NamedTuple):
    """Bytes on one device."""

    fixed: int  # whatever the number of lanes: the data, and what one lane at a time makes
    lane: int  # more for each lane


class _Made(NamedTuple):
    """The most bytes that are alive at once while one lane is trained and scored."""

    training: int
    scoring: int
    convolves: bool


def _bytes(tree: Any) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def of_training(
    problem: training.Problem,
    kind: training.StageKind,
    strategy: str,
    data: training.Data,
    platform: str,
) -> Estimate:
    """Estimates what the program that trains a block of lanes holds: arguments, results, between.

    Args:
        problem: Model, pruner and config.
        kind: Of the stage.
        strategy: "map", "vmap" or "hybrid".
        data: Arrays or their shapes.
        platform: That runs it, as "cpu", "gpu", "cuda" or "tpu".
    """
    made = _made(problem, training.lane_shapes(problem), data)
    stage = (kind, _states(problem, [kind])[0])
    return _of_training(problem, stage, strategy, data, platform, made)


def of_scoring(
    problem: training.Problem, strategy: str, data: training.Data, test: scoring.Chunks
) -> Estimate:
    """Estimates likewise what the program holds that scores the final networks of a block.

    Args:
        problem: Model, pruner and config.
        strategy: "map", "vmap" or "hybrid".
        data: Arrays or their shapes.
        test: Likewise.
    """
    sizes = training.lane_shapes(problem)
    made = _made(problem, sizes, data)
    own = 2 * _bytes(sizes.weights) + _bytes(sizes.scores) + _masks(sizes)
    fixed = _bytes((data, test))
    if strategy == "map" or (strategy == "hybrid" and made.convolves):
        return Estimate(fixed + made.scoring, own + _bytes(sizes.weights))
    return Estimate(fixed, own + made.scoring)


def of_run(
    problem: training.Problem,
    strategy: str,
    data: training.Data,
    test: scoring.Chunks,
    platform: str,
) -> Estimate:
    """Estimates what a block needs in whatever stage, with what is kept for the stage after it.

    Beside the larger one of its training and its scoring, during which its state is there, these
    are the weights and scores that the stage before left.

    Args:
        problem: Model, pruner and config.
        strategy: "map", "vmap" or "hybrid".
        data: Arrays or their shapes.
        test: Likewise.
        platform: As in `of_training`.
    """
    stages = {s.kind for method in training.METHODS.values() for s in method.stages}
    kinds = sorted(stages, key=lambda kind: kind.name)
    states = _states(problem, kinds)
    sizes = training.lane_shapes(problem)
    made = _made(problem, sizes, data)
    trained = [
        _of_training(problem, stage, strategy, data, platform, made)
        for stage in zip(kinds, states, strict=True)
    ]
    scored = of_scoring(problem, strategy, data, test)
    before = (sizes.weights, sizes.scores)  # Of scoring they are the state's.
    own = max(_held(state, platform) for state in states)
    lane = max(*(one.lane for one in trained), own + scored.lane - _bytes(before))
    lane += _held(before, platform)
    return Estimate(max(trained[0].fixed + _bytes(test), scored.fixed), lane)


def _of_training(
    problem: training.Problem,
    stage: tuple[training.StageKind, training.State],
    strategy: str,
    data: training.Data,
    platform: str,
    made: _Made,
) -> Estimate:
    weights = _held(training.lane_shapes(problem).weights, platform)
    fixed, own = _bytes(data), _held(stage[1], platform)
    one = max(made.training, made.scoring)
    if strategy == "map":  # A loop over lanes reads one block of states and writes another.
        return Estimate(fixed + one, 2 * own)
    if platform == "tpu":
        own += _laid_anew(*stage) + (_KEYS * weights if stage[0].masked else 0)
    if strategy == "hybrid" and made.convolves:  # Each lane has its network and its gradient.
        return Estimate(fixed + one, own + 2 * weights)
    return Estimate(fixed, own + one + weights)


def _laid_anew(kind: training.StageKind, state: training.State) -> int:
    """Bytes of the copies that a TPU makes of a lane's arrays for the loop over steps.

    XLA packs the arrays of all lanes that leave room in their tiles, but the loop has those that it
    writes in a layout of its own. What fills its tiles stays where it is.
    """

    def is_ball(part: Any) -> bool:
        return isinstance(part, ball.BallState)

    remembered = [s for s in jax.tree.leaves(state.opt_state, is_leaf=is_ball) if not is_ball(s)]
    moves = [getattr(state, part) for part in kind.moves]
    written = jax.tree.leaves((moves, remembered, state.pruner_state, state.model_state))
    return _held([leaf for leaf in written if _in_tiles(leaf.shape) > leaf.size], "tpu")


def _held(tree: Any, platform: str) -> int:
    """Bytes of a lane's arrays: on a TPU in tiles, laid where they leave the least room."""
    if platform != "tpu":
        return _bytes(tree)
    return sum(_in_tiles(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def _in_tiles(shape: tuple[int, ...]) -> int:
    """Entries of an array and of the room in its tiles; the vectors of lanes share theirs."""
    filled = [math.prod(shape)] if len(shape) < 2 else []
    for rows, columns in itertools.permutations(range(len(shape)), 2):
        whole = list(shape)
        for place, entries in zip((rows, columns), _TILE, strict=True):
            whole[place] = -(-shape[place] // entries) * entries
        filled.append(math.prod(whole))
    return min(filled)


def _states(problem: training.Problem, kinds: list[training.StageKind]) -> list[training.State]:
    """The shapes of a lane's state in stages of some kinds."""
    sizes = training.lane_shapes(problem)
    host = training.lane_task(problem, sizes, seed=0, eps=0.0, sparsity=0.0)

    def states() -> list[training.State]:
        origin = training.initial(problem, numerics.key(0))
        task = host._replace(key=numerics.key(0))
        begin = (origin.weights, origin.scores)
        return [training.start(problem, kind, task, begin, origin) for kind in kinds]

    found: list[training.State] = jax.eval_shape(states)
    return found


def _masks(sizes: training.Initial) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(sizes.scores))


def _made(problem: training.Problem, sizes: training.Initial, data: training.Data) -> _Made:
    """What a step's gradient and the scoring of a chunk of images make."""
    size = problem.config.microbatch or problem.config.batch_size
    chunk = data.validation
    images = jax.ShapeDtypeStruct((size, *chunk.images.shape[2:]), chunk.images.dtype)
    labels = jax.ShapeDtypeStruct((size, *data.labels.shape[1:]), data.labels.dtype)
    channels = jax.ShapeDtypeStruct(data.mean.shape, jnp.float32)
    key = None
    if base.takes_key(problem.model.apply):
        key = jax.eval_shape(lambda: numerics.key(0))

    def step(*given: Any) -> Any:
        return scoring.loss_and_gradient(problem.model, 0, *given)

    def score(weights: Any, model_state: Any, images: Any) -> Any:
        return base.in_evaluation(problem.model, weights, model_state, images)

    scored = jax.ShapeDtypeStruct(chunk.images.shape[1:], jnp.float32)
    given = (sizes.weights, sizes.model_state)
    with convolution.plain_convolutions():
        steps = jax.make_jaxpr(step)(*given, images, labels, channels, channels, key)
        scores = jax.make_jaxpr(score)(*given, scored)
    more = _bytes(sizes.weights) if problem.config.microbatch else 0  # Gradients are summed up.
    convolves = in_turn.convolves(score, *given, scored)
    return _Made(most_alive(steps) + more, most_alive(scores), convolves)


def most_alive(traced: core.ClosedJaxpr) -> int:
    """The most bytes of results that a traced function holds at once, in the order it was traced.

    What operations hold inside is not counted, nor what is given.
    """
    last: dict[Any, int] = {}
    for place, equation in enumerate(traced.jaxpr.eqns):
        for variable in (*equation.outvars, *equation.invars):
            if not isinstance(variable, core.Literal):
                last[variable] = place
    for variable in traced.jaxpr.outvars:
        if not isinstance(variable, core.Literal):
            last[variable] = len(traced.jaxpr.eqns)
    alive: dict[Any, int] = {}
    most = 0
    for place, equation in enumerate(traced.jaxpr.eqns):
        alive |= {variable: _size(variable) for variable in equation.outvars}
        most = max(most, sum(alive.values()))
        alive = {variable: size for variable, size in alive.items() if last[variable] > place}
    return most


def _size(variable: Any) -> int:
    aval = variable.aval
    return int(aval.size * aval.dtype.itemsize)


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
    data: training.Data,
    test: scoring.Chunks,
    platform: str,
) -> int:
    """Lanes of a block that fit one device by the estimate `of_run`, at least one."""
    found = of_run(problem, strategy, data, test, platform)
    return max(1, int((_SHARE * device_bytes() - found.fixed) / found.lane))
