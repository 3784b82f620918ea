"""Stages for one lane: what moves, through which mask, for how many steps.

A stage is three functions: `start` builds its state, `advance` takes steps up to a traced `until`
(so that a stage may be cut into slices anywhere, bit for bit), `finish` scores what came out.
Everything a lane differs in (key, eps, kept) is traced: one compile serves all lanes of a kind.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from lth_jax import models, pruners
from lth_jax.datasets import augment
from lth_jax.perturb import ball, shards
from lth_jax.training import config as train_config
from lth_jax.training import curves, in_turn, methods, scoring, statistics
from lth_jax.training import kept as kept_counts
from lth_jax.training import optimizers as stage_optimizers


class Data(NamedTuple):
    """The arrays that a lane reads while it trains; never the test split."""

    images: chex.Array  # [n, ...] raw, or each as one row
    labels: chex.Array  # [n] int32, or [n, k] float32
    validation: scoring.Chunks
    mean: chex.Array  # [c] or [1]
    std: chex.Array  # [c] or [1]


class Task(NamedTuple):
    """What lanes differ in."""

    key: chex.Array  # typed key of the seed
    eps: chex.Array  # [] float32, rounded toward zero; inf for no bound
    kept: chex.ArrayTree  # integers, as the pruner's scope has it
    scale: chex.Array  # [] float32, 1/√(kept fraction), for a config with scale_init
    active: chex.Array  # [] bool; False for padding and for lanes whose row is there


# Loss [], the model's state afterwards, and gradients to what moves.
_Gradients = tuple[jax.Array, chex.ArrayTree, dict[methods.Part, chex.ArrayTree]]


class State(NamedTuple):
    """One lane in the middle of a stage. The step counter is the caller's: lanes share it."""

    center: chex.ArrayTree  # w_0; where a pruner drew weights anew, the new draw
    radii: chex.ArrayTree  # of the ball, one scalar per tensor; () in a stage without a ball
    weights: chex.ArrayTree
    scores: chex.ArrayTree
    model_state: chex.ArrayTree
    pruner_state: chex.ArrayTree
    opt_state: dict[methods.Part, chex.ArrayTree]  # by what moves
    curve: jax.Array  # [epochs] int32, validation images right after each epoch, -1 where not run
    losses: jax.Array  # [epochs] float32, the batches' training losses summed, NaN where not run
    diverged: jax.Array  # [] int32, first step with a non-finite loss, -1 for none
    recorded: curves.Curves | tuple[()] = ()  # where the config asks for them and scores move


class Initial(NamedTuple):
    """What a seed stands for: the same for every eps, sparsity and method."""

    weights: chex.ArrayTree
    scores: chex.ArrayTree
    model_state: chex.ArrayTree


class Problem(NamedTuple):
    """The static half of a run: hashable, closed over by the compiled functions."""

    model: models.Model
    pruner: pruners.Pruner
    config: train_config.TrainConfig
    in_turn: bool = False  # whether lanes that step together go through convolutions one by one


def _key(key: jax.Array, use: str) -> jax.Array:
    names = ("weights", "scores", "data", "perturb", "prune", "randomize", "optimizer")
    return jax.random.fold_in(key, names.index(use))


def initial(problem: Problem, key: jax.Array, scale: jax.Array | float = 1.0) -> Initial:
    """Draws the weights and scores of a seed; call it jitted, as eager draws differ from jitted.

    Args:
        problem: Model, pruner and config.
        key: Typed key of the seed.
        scale: Factor of the weights that have scores; read only if the config says scale_init.

    Returns:
        Weights, scores (None where a leaf is not pruned) and the model's other state.
    """
    weights, model_state = problem.model.init(_key(key, "weights"))
    scores = problem.pruner.init(_key(key, "scores"), weights)
    if problem.config.scale_init:
        scaled = jax.tree.map(lambda w: w * scale, pruners.choose(weights, scores))
        weights = pruners.merge(weights, scaled)
    return Initial(weights, scores, model_state)


def start(
    problem: Problem,
    kind: methods.StageKind,
    task: Task,
    begin: tuple[chex.ArrayTree, chex.ArrayTree],
    origin: Initial,
) -> State:
    """Begins a stage with a fresh optimizer and fresh running statistics.

    Args:
        problem: Model, pruner and config.
        kind: Of the stage.
        task: The lane's key, eps and kept.
        begin: (weights, scores) where the stage before ended, or of `origin` in a first stage.
        origin: What the seed stands for. The centre is its weights; but of a pruner that draws
            weights anew, in a stage that does not train scores, it is where the stage begins.

    Returns:
        The state at step 0.
    """
    config, pruner = problem.config, problem.pruner
    weights, scores = begin
    whole_center = origin.weights
    if pruner.redraws and "scores" not in kind.moves:  # sweep/fits.py: no weight moved before.
        whole_center = weights
    center = pruners.choose(whole_center, scores)
    if kind.random_start:
        point = ball.random_in_ball(
            _key(task.key, "randomize"),
            center,
            task.eps if config.shift_share == 1 else task.eps * config.shift_share,
            norm=config.norm,
            unit=config.eps_unit,
            shared=config.shared_shift,
        )
        weights = pruners.merge(weights, point)
    moving = {"weights": pruners.choose(weights, scores), "scores": scores}
    optimizers = _optimizers(problem, kind, task, 1, 1)
    radii: chex.ArrayTree = ()
    pruner_state: chex.ArrayTree = ()
    if kind.in_ball:
        radii = ball.radii(center, task.eps, config.eps_unit, config.norm)
    first = _task_at(problem, kind, task, scores, 0, 1)
    if kind.masked:
        key = _key(task.key, "prune")
        given = origin.weights if pruner.redraws else weights
        pruner_state = pruner.init_state(key, given, scores, first.kept)
    epochs = config.perturb_epochs + config.prune_epochs
    recorded: curves.Curves | tuple[()] = ()
    if config.curves and "scores" in kind.moves:
        recorded = curves.begin(pruner.mask(scores, first.kept, pruner_state), epochs)
    return State(
        center=whole_center,
        radii=radii,
        weights=weights,
        scores=scores,
        model_state=origin.model_state,
        pruner_state=pruner_state,
        opt_state={name: tx.init(moving[name], center) for name, tx in optimizers.items()},
        curve=jnp.full((epochs,), -1, jnp.int32),
        losses=jnp.full((epochs,), jnp.nan, jnp.float32),
        diverged=jnp.int32(-1),
        recorded=recorded,
    )


def subnetwork(
    problem: Problem, kind: methods.StageKind, state: State, task: Task
) -> chex.ArrayTree:
    """The network that a stage is about: its final weights, pruned by its final mask."""
    if not kind.masked:
        return state.weights
    mask = problem.pruner.mask(state.scores, task.kept, state.pruner_state)
    return problem.pruner.apply(state.weights, state.scores, mask)


def advance(
    problem: Problem,
    kind: methods.StageKind,
    state: State,
    task: Task,
    data: Data,
    step: int | jax.Array,
    until: int | jax.Array,
    total: int | jax.Array,
) -> State:
    """Takes the steps `step` .. `until` − 1 of a stage.

    Args:
        problem: Model, pruner and config.
        kind: Of the stage, one with something that moves.
        state: The lane's state after `step` steps.
        task: The lane's key, eps and kept.
        data: Training and validation arrays.
        step: [] int32, may be traced; shared by all lanes.
        until: [] int32, may be traced.
        total: [] int32, steps of the whole stage, which its schedule spans.

    Returns:
        The state after `until` steps, the same bits however the way there was sliced.
    """
    epoch = step // _steps_per_epoch(problem, data)
    order = _order(problem, task, data, epoch)
    if shards.step_together():
        return _by_epochs(problem, kind, task, data, total, (step, until), state, order)
    one_step = functools.partial(_one_step, problem, kind, task, data, total)
    final: State = jax.lax.fori_loop(step, until, one_step, (state, order))[0]
    return final


def _by_epochs(
    problem: Problem,
    kind: methods.StageKind,
    task: Task,
    data: Data,
    total: int | jax.Array,
    span: tuple[int | jax.Array, int | jax.Array],
    state: State,
    order: jax.Array,
) -> State:
    """The same steps, with an epoch's end outside of their loop: a GPU waits at each branch."""
    steps_per_epoch, (begin, until) = _steps_per_epoch(problem, data), span

    def leg(carry: Any) -> Any:
        """The steps to the end of an epoch, or to `until`."""
        at, state, order, before = carry
        end = jnp.minimum(until, (at // steps_per_epoch + 1) * steps_per_epoch)

        def one(step: jax.Array, carry: Any) -> Any:
            state, _, last = _step(problem, kind, task, data, total, step, carry[0], order)
            return state, last.before if problem.config.curves else ()

        state, before = jax.lax.fori_loop(at, end, one, (state, before))
        then = _task_at(problem, kind, task, state.scores, end, total)
        last = _Last(at // steps_per_epoch, then, before)
        ends = end % steps_per_epoch == 0
        return end, *_end_epoch(problem, kind, task, data, ends, last, state, order), before

    now = _task_at(problem, kind, task, state.scores, begin, total)
    before = (state.scores, now.kept, state.pruner_state) if problem.config.curves else ()
    first = (jnp.asarray(begin, jnp.int32), state, order, before)
    final: State = jax.lax.while_loop(lambda carry: carry[0] < until, leg, first)[1]
    return final


def _task_at(
    problem: Problem,
    kind: methods.StageKind,
    task: Task,
    scores: chex.ArrayTree,
    step: int | jax.Array,
    total: int | jax.Array,
) -> Task:
    """The task with the numbers that are kept after so many steps of a stage."""
    if "scores" not in kind.moves:
        return task
    schedule = problem.config.kept_schedule
    return task._replace(kept=kept_counts.after(schedule, scores, task.kept, step, total))


def _steps_per_epoch(problem: Problem, data: Data) -> int:
    return problem.config.steps_per_epoch(len(data.labels))


def _order(problem: Problem, task: Task, data: Data, epoch: int | jax.Array) -> jax.Array:
    """The epoch's shuffle: of the seed and the epoch alone, so that methods see the same order."""
    key = jax.random.fold_in(_key(task.key, "data"), epoch)
    return jax.random.permutation(key, len(data.labels))


def _keys_of_step(
    problem: Problem, kind: methods.StageKind, task: Task, step: jax.Array
) -> tuple[jax.Array, jax.Array | None]:
    """Three keys of a step, and one for a model that takes one."""
    run_key = _key(task.key, "prune" if "scores" in kind.moves else "perturb")
    step_key = jax.random.fold_in(run_key, step)
    keys = jax.random.split(step_key, 3)
    # A program without it stays what it was: folders know a model of one's own by its program.
    return keys, jax.random.fold_in(step_key, 3) if models.takes_key(problem.model.apply) else None


class _Last(NamedTuple):
    """What an epoch's end needs to know of its last step."""

    epoch: jax.Array
    then: Task  # as it is after the step
    before: chex.ArrayTree  # scores, kept and the pruner's state before it


def _one_step(
    problem: Problem,
    kind: methods.StageKind,
    task: Task,
    data: Data,
    total: int | jax.Array,
    step: jax.Array,
    carry: tuple[State, jax.Array],
) -> tuple[State, jax.Array]:
    """A step; at the end of an epoch validation and a new order."""
    state, order = carry
    state, ends, last = _step(problem, kind, task, data, total, step, state, order)
    return _end_epoch(problem, kind, task, data, ends, last, state, order)


def _step(
    problem: Problem,
    kind: methods.StageKind,
    task: Task,
    data: Data,
    total: int | jax.Array,
    step: jax.Array,
    state: State,
    order: jax.Array,
) -> tuple[State, jax.Array, _Last]:
    """A batch, a gradient, a move; whether an epoch ends, and what its end needs to know."""
    steps_per_epoch = _steps_per_epoch(problem, data)
    (key_mask, key_images, key_after), key_model = _keys_of_step(problem, kind, task, step)
    epoch, place = step // steps_per_epoch, step % steps_per_epoch
    now, then = (_task_at(problem, kind, task, state.scores, t, total) for t in (step, step + 1))

    def gradients_of(size: int) -> _Gradients:
        batch = _batch(problem, data, order, place, size, key_images)
        return _gradients(problem, kind, state, now, data, batch, key_mask, key_model)

    loss, model_state, gradients = _at_place(problem, data, place, gradients_of)
    ends = (step + 1) % steps_per_epoch == 0
    begins_at = (state.scores, now.kept, state.pruner_state)
    state, moving = _move(problem, kind, state, task, gradients, total, steps_per_epoch, ends)
    weights = pruners.merge(state.weights, moving.get("weights", state.weights))
    scores, pruner_state = moving.get("scores", state.scores), state.pruner_state
    if "scores" in moving:
        moved = weights
        weights, scores, pruner_state = problem.pruner.after_step(
            key_after, step, weights, scores, then.kept, pruner_state
        )
        if problem.pruner.redraws:
            state = _recentered(state, moved, weights)
    failed = (state.diverged < 0) & ~jnp.isfinite(loss)
    before = jnp.where(place == 0, 0, state.losses[epoch])
    state = state._replace(
        weights=weights,
        scores=scores,
        model_state=model_state,
        pruner_state=pruner_state,
        losses=state.losses.at[epoch].set(before + loss),
        diverged=jnp.where(failed, step, state.diverged),
    )
    return state, ends, _Last(epoch, then, begins_at)


def _end_epoch(
    problem: Problem,
    kind: methods.StageKind,
    task: Task,
    data: Data,
    ends: jax.Array,
    last: _Last,
    state: State,
    order: jax.Array,
) -> tuple[State, jax.Array]:
    """Where an epoch ends, validation and a new order."""
    epoch, then, begins_at = last

    def end_epoch(
        curve: jax.Array, recorded: chex.ArrayTree, order: jax.Array
    ) -> tuple[jax.Array, chex.ArrayTree, jax.Array]:
        del order
        pruned = subnetwork(problem, kind, state, then)
        read = (data.validation, data.mean, data.std)
        right = _count_right(problem, pruned, state.model_state, *read)
        if isinstance(recorded, curves.Curves):
            ends_at = (state.scores, then.kept, state.pruner_state)
            old, new = (problem.pruner.mask(*of) for of in (begins_at, ends_at))
            recorded = curves.record(recorded, epoch, old, new, state.scores)
        return curve.at[epoch].set(right), recorded, _order(problem, task, data, epoch + 1)

    # Only what it changes goes through the branch: the rest of the state would be copied.
    changed = (state.curve, state.recorded, order)
    curve, recorded, order = jax.lax.cond(ends, end_epoch, lambda *same: same, *changed)
    return state._replace(curve=curve, recorded=recorded), order


def _recentered(state: State, before: chex.ArrayTree, after: chex.ArrayTree) -> State:
    """The state with new centres where weights were drawn anew: the new draws."""

    def one(center: jax.Array, old: jax.Array, new: jax.Array) -> jax.Array:
        # A NaN differs from itself without having been drawn.
        return jnp.where((old != new) & (new == new), new, center)

    center = jax.tree.map(one, state.center, before, after)
    opt_state = dict(state.opt_state)
    if "weights" in opt_state:  # The ball is the last link, and has the centre, too.
        own = pruners.choose(center, state.scores)
        opt_state["weights"] = tuple(
            link._replace(center=own) if isinstance(link, ball.BallState) else link
            for link in opt_state["weights"]
        )
    return state._replace(center=center, opt_state=opt_state)


def _at_place(
    problem: Problem, data: Data, place: jax.Array, gradients_of: Callable[[int], _Gradients]
) -> _Gradients:
    """What a function of the batch's size gives for the epoch's `place`-th batch."""
    size, steps_per_epoch = problem.config.batch_size, _steps_per_epoch(problem, data)
    left = len(data.labels) - (steps_per_epoch - 1) * size
    if left >= size:
        return gradients_of(size)
    # A batch of its own shape, so that averages are over its images alone.
    is_last = place == steps_per_epoch - 1
    found: _Gradients = jax.lax.cond(
        is_last, lambda: gradients_of(left), lambda: gradients_of(size)
    )
    return found


def _batch(
    problem: Problem, data: Data, order: jax.Array, place: jax.Array, size: int, key: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Images [size, ...] and labels [size] of the epoch's `place`-th batch."""
    rows = jax.lax.dynamic_slice_in_dim(order, place * problem.config.batch_size, size)
    # As rows of bytes: a gather of whole images costs three times as much on a CPU.
    flat = data.images.reshape(len(data.labels), -1)
    images = flat[rows].reshape(len(rows), *data.validation.images.shape[2:])
    if problem.config.augment:
        images = augment.crop_and_flip(key, images)
    return images, data.labels[rows]


def _optimizers(
    problem: Problem,
    kind: methods.StageKind,
    task: Task,
    total: int | jax.Array,
    steps_per_epoch: int,
) -> dict[methods.Part, stage_optimizers.Optimizer]:
    config = problem.config
    return stage_optimizers.optimizers(
        config, kind, task.eps, lambda: _key(task.key, "optimizer"), total, steps_per_epoch
    )


def _moving(kind: methods.StageKind, state: State) -> dict[methods.Part, chex.ArrayTree]:
    """What the stage moves: of the weights those that have scores."""
    parts: dict[methods.Part, chex.ArrayTree] = {
        "weights": pruners.choose(state.weights, state.scores),
        "scores": state.scores,
    }
    return {name: parts[name] for name in kind.moves}


def _by_lane(problem: Problem, function: Callable[..., Any]) -> Callable[..., Any]:
    return in_turn.lane_by_lane(function) if problem.in_turn else function


def _count_right(problem: Problem, *given: Any) -> jax.Array:
    count = functools.partial(scoring.count_right, problem.model)
    right: jax.Array = _by_lane(problem, count)(*given)
    return right


def _gradients(
    problem: Problem,
    kind: methods.StageKind,
    state: State,
    task: Task,
    data: Data,
    batch: tuple[jax.Array, jax.Array],
    key: jax.Array,
    key_model: jax.Array | None,
) -> _Gradients:
    """Loss [], the model's state afterwards, and gradients to what moves."""
    pruner = problem.pruner

    def network_of(moving: dict[methods.Part, chex.ArrayTree]) -> chex.ArrayTree:
        weights = pruners.merge(state.weights, moving.get("weights", state.weights))
        scores = moving.get("scores", state.scores)
        return kind.network(pruner, key, weights, scores, task.kept, state.pruner_state)

    # The mask is found once per step and pulled back once, however many microbatches there are.
    network, pull_back = jax.vjp(network_of, _moving(kind, state))
    take = functools.partial(scoring.loss_and_gradient, problem.model, problem.config.microbatch)
    given = (network, state.model_state, *batch, data.mean, data.std, key_model)
    loss, model_state, gradient = _by_lane(problem, take)(*given)
    (gradients,) = pull_back(gradient)
    if "scores" in gradients and pruner.penalty is not pruners.no_penalty:
        penalty = jax.grad(pruner.penalty)(state.scores, task.kept)
        gradients["scores"] = jax.tree.map(jnp.add, gradients["scores"], penalty)
    return loss, model_state, gradients


def _move(
    problem: Problem,
    kind: methods.StageKind,
    state: State,
    task: Task,
    gradients: dict[methods.Part, chex.ArrayTree],
    total: int | jax.Array,
    steps_per_epoch: int,
    ends: jax.Array,
) -> tuple[State, dict[methods.Part, chex.ArrayTree]]:
    """The state with the optimizers' new states, and what moved after its step."""
    config, moving = problem.config, _moving(kind, state)
    opt_state = {}
    for name, tx in _optimizers(problem, kind, task, total, steps_per_epoch).items():
        updates, opt_state[name] = tx.update(gradients[name], state.opt_state[name], moving[name])
        moving[name] = optax.apply_updates(moving[name], updates)
    if kind.in_ball and "weights" in moving and config.project_per == "epoch":
        center = pruners.choose(state.center, state.scores)
        where = (config.norm, config.eps_unit)
        inside = ball.project(center, moving["weights"], task.eps, *where)
        pick = functools.partial(jnp.where, ends)
        moving["weights"] = jax.tree.map(pick, inside, moving["weights"])
    return state._replace(opt_state=opt_state), moving


class Outcome(NamedTuple):
    """What a finished lane leaves."""

    weights: chex.ArrayTree  # unpruned
    mask: chex.ArrayTree  # bool, None where a leaf is not pruned
    validation_right: jax.Array  # [] int32
    test_right: jax.Array  # [] int32
    finite: jax.Array  # [] bool, whether the network's weights are
    network: chex.ArrayTree = ()  # the pruned network, where it is not just weights by mask
    model_state: chex.ArrayTree = ()  # the network's own, for a model with `batch_state`


def finish(
    problem: Problem,
    weights: chex.ArrayTree,
    scores: chex.ArrayTree,
    model_state: chex.ArrayTree,
    task: Task,
    data: Data,
    test: scoring.Chunks,
) -> Outcome:
    """Scores the final network of a lane, on the test split once.

    Args:
        problem: Model, pruner and config.
        weights: After the lane's last step.
        scores: After the lane's last step.
        model_state: After the lane's last step; a model with `batch_state` finds its own anew.
        task: The lane's kept; where nothing is pruned it counts every weight.
        data: For its validation split, and the training images for `batch_state`.
        test: The test split.

    Returns:
        Weights, mask and counts.
    """
    mask = problem.pruner.mask(scores, task.kept, None)
    network = problem.pruner.apply(weights, scores, mask)
    own_state: chex.ArrayTree = ()
    if (batch_state := problem.model.batch_state) is not None:
        # Of the network, the seed and the images alone, whatever stages came before: so methods
        # that end at the same network end at the same numbers.
        images = (data.images, data.mean, data.std, _order(problem, task, data, 0))
        size = problem.config.microbatch or problem.config.batch_size
        find = functools.partial(statistics.of_network, batch_state, size=size)
        model_state = own_state = _by_lane(problem, find)(network, model_state, *images)
    finite = [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(network)]

    def right(split: scoring.Chunks) -> jax.Array:
        return _count_right(problem, network, model_state, split, data.mean, data.std)

    own = network if pruners.changes_weights(problem.pruner) else ()
    counts = right(data.validation), right(test)
    return Outcome(weights, mask, *counts, jnp.all(jnp.stack(finite)), own, own_state)
