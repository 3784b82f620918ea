"""Stages and methods for one lane: what moves, through which mask, for how many epochs.

A stage is three functions: `start` builds its state, `advance` takes steps up to a traced `until`
(so that a stage may be cut into slices anywhere, bit for bit), `finish` scores what came out.
Everything a lane differs in (key, eps, kept) is traced: one compile serves all lanes of a kind.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from lth_jax.datasets import augment
from lth_jax.models import base as models
from lth_jax.perturb import ball
from lth_jax.pruners import base as pruners
from lth_jax.training import methods, scoring

PyTree = Any


class Data(NamedTuple):
    """The arrays that a lane reads while it trains; never the test split (law 9)."""

    images: jax.Array  # [n, h, w, c] uint8
    labels: jax.Array  # [n] int32
    validation: scoring.Chunks
    mean: jax.Array  # [c]
    std: jax.Array  # [c]


class Task(NamedTuple):
    """What lanes differ in."""

    key: jax.Array  # typed key of the seed
    eps: jax.Array  # [] float32, rounded toward zero; inf for no ball
    kept: PyTree  # integers, as the pruner's scope has it
    scale: jax.Array  # [] float32, 1/√(kept fraction), for a recipe with scale_init
    active: jax.Array  # [] bool; False for padding and for lanes whose row is there


class State(NamedTuple):
    """One lane in the middle of a stage. The step counter is the caller's: lanes share it."""

    center: PyTree  # w_0
    radii: PyTree  # of the ball, one scalar per tensor; () in a stage without a ball
    weights: PyTree
    scores: PyTree
    model_state: PyTree
    pruner_state: PyTree
    opt_state: dict[str, PyTree]  # by what moves
    curve: jax.Array  # [epochs] int32, validation images right after each epoch, -1 where not run
    diverged: jax.Array  # [] int32, first step with a non-finite loss, -1 for none


class Initial(NamedTuple):
    """What a seed stands for: the same for every eps, sparsity and method (law 10)."""

    weights: PyTree
    scores: PyTree
    model_state: PyTree


class Problem(NamedTuple):
    """The static half of a run: hashable, closed over by the compiled functions."""

    model: models.Model
    pruner: pruners.Pruner
    recipe: methods.Recipe


def _key(key: jax.Array, use: str) -> jax.Array:
    names = ("weights", "scores", "data", "perturb", "prune", "randomize")
    return jax.random.fold_in(key, names.index(use))


def initial(problem: Problem, key: jax.Array, scale: jax.Array | float = 1.0) -> Initial:
    """Draws the weights and scores of a seed; call it jitted, as eager draws differ from jitted.

    Args:
        problem: Model, pruner and recipe.
        key: Typed key of the seed.
        scale: Factor of the weights that have scores; read only if the recipe says scale_init.

    Returns:
        Weights, scores (None where a leaf is not pruned) and the model's other state.
    """
    weights, model_state = problem.model.init(_key(key, "weights"))
    scores = problem.pruner.init(_key(key, "scores"), weights)
    if problem.recipe.scale_init:
        scaled = jax.tree.map(lambda w: w * scale, pruners.choose(weights, scores))
        weights = pruners.merge(weights, scaled)
    return Initial(weights, scores, model_state)


def start(problem: Problem, kind: str, task: Task, begin: tuple, origin: Initial) -> State:
    """Begins a stage with a fresh optimizer and fresh running statistics.

    Args:
        problem: Model, pruner and recipe.
        kind: One of methods.MOVES.
        task: The lane's key, eps and kept.
        begin: (weights, scores) where the stage before ended, or of `origin` in a first stage.
        origin: What the seed stands for. The centre is always its weights.

    Returns:
        The state at step 0.
    """
    recipe, pruner = problem.recipe, problem.pruner
    weights, scores = begin
    center = pruners.choose(origin.weights, scores)
    if kind == "randomize":
        key = _key(task.key, "randomize")
        where = {"norm": recipe.norm, "unit": recipe.unit, "shared": recipe.shared_shift}
        weights = pruners.merge(weights, ball.random_in_ball(key, center, task.eps, **where))
    # The ball's centre is what the optimizer is initialized with: w_0, wherever the stage begins.
    moving = {"weights": center, "scores": scores}
    optimizers = methods.optimizers(recipe, kind, task.eps, 1)
    radii, pruner_state = (), ()
    if kind in methods.IN_BALL:
        radii = ball.radii(center, task.eps, recipe.unit, recipe.norm)
    if kind in methods.MASKED:
        key = _key(task.key, "prune")
        pruner_state = pruner.init_state(key, weights, scores, task.kept)
    return State(
        center=origin.weights,
        radii=radii,
        weights=weights,
        scores=scores,
        model_state=origin.model_state,
        pruner_state=pruner_state,
        opt_state={name: tx.init(moving[name]) for name, tx in optimizers.items()},
        curve=jnp.full((recipe.perturb_epochs + recipe.prune_epochs,), -1, jnp.int32),
        diverged=jnp.int32(-1),
    )


def subnetwork(problem: Problem, kind: str, state: State, task: Task) -> PyTree:
    """The network that a stage is about: its final weights, pruned by its final mask."""
    if kind not in methods.MASKED:
        return state.weights
    mask = problem.pruner.mask(state.scores, task.kept, state.pruner_state)
    return problem.pruner.apply(state.weights, mask)


def _order(problem: Problem, task: Task, data_: Data, epoch) -> jax.Array:
    """The epoch's shuffle: of the seed and the epoch alone, so that methods see the same order."""
    key = jax.random.fold_in(_key(task.key, "data"), epoch)
    return jax.random.permutation(key, len(data_.labels))


def advance(
    problem: Problem, kind: str, state: State, task: Task, data_: Data, step, until, total
) -> State:
    """Takes the steps `step` .. `until` − 1 of a stage.

    Args:
        problem: Model, pruner and recipe.
        kind: One of methods.MOVES with something that moves.
        state: The lane's state after `step` steps.
        task: The lane's key, eps and kept.
        data_: Training and validation arrays.
        step: [] int32, may be traced; shared by all lanes.
        until: [] int32, may be traced.
        total: [] int32, steps of the whole stage, which its schedule spans.

    Returns:
        The state after `until` steps, the same bits however the way there was sliced.
    """
    recipe, pruner = problem.recipe, problem.pruner
    steps_per_epoch = len(data_.labels) // recipe.batch_size
    optimizers = methods.optimizers(recipe, kind, task.eps, total)
    run_key = _key(task.key, "prune" if "scores" in optimizers else "perturb")
    read = (data_.validation, data_.mean, data_.std)

    def one_step(step, carry):
        state, order = carry
        step_key = jax.random.fold_in(run_key, step)
        key_mask, key_images, key_after = jax.random.split(step_key, 3)
        first = step % steps_per_epoch * recipe.batch_size
        rows = jax.lax.dynamic_slice_in_dim(order, first, recipe.batch_size)
        # As rows of bytes: a gather of whole images costs three times as much on a CPU.
        flat = data_.images.reshape(len(data_.labels), -1)
        images = flat[rows].reshape(len(rows), *data_.images.shape[1:])
        if recipe.augment:
            images = augment.crop_and_flip(key_images, images)

        def network_of(moving):
            weights = pruners.merge(state.weights, moving.get("weights", state.weights))
            if kind == "perturb":
                return weights
            if kind == "perturb_masked":
                mask = pruner.mask(state.scores, task.kept, state.pruner_state)
                return pruner.apply(weights, mask)
            scores = moving.get("scores", state.scores)
            return pruner.subnetwork(key_mask, weights, scores, task.kept, state.pruner_state)

        moving = {"weights": pruners.choose(state.weights, state.scores), "scores": state.scores}
        moving = {name: moving[name] for name in optimizers}
        # The mask is found once per step and pulled back once, however many microbatches there are.
        network, pull_back = jax.vjp(network_of, moving)
        loss, model_state, gradient = scoring.loss_and_gradient(
            problem.model,
            recipe.microbatch,
            network,
            state.model_state,
            images,
            data_.labels[rows],
            *read[1:],
        )
        (gradients,) = pull_back(gradient)
        if "scores" in moving and pruner.penalty is not pruners.no_penalty:
            penalty = jax.grad(pruner.penalty)(state.scores, task.kept)
            gradients["scores"] = jax.tree.map(jnp.add, gradients["scores"], penalty)
        opt_state = {}
        for name, tx in optimizers.items():
            updates, opt_state[name] = tx.update(
                gradients[name], state.opt_state[name], moving[name]
            )
            moving[name] = optax.apply_updates(moving[name], updates)
        ends = (step + 1) % steps_per_epoch == 0
        if "weights" in moving and recipe.project_per == "epoch":
            center = pruners.choose(state.center, state.scores)
            inside = ball.project(center, moving["weights"], task.eps, recipe.norm, recipe.unit)
            pick = lambda inner, outer: jnp.where(ends, inner, outer)  # noqa: E731
            moving["weights"] = jax.tree.map(pick, inside, moving["weights"])
        weights = pruners.merge(state.weights, moving.get("weights", state.weights))
        scores, pruner_state = moving.get("scores", state.scores), state.pruner_state
        if "scores" in moving:
            weights, scores, pruner_state = pruner.after_step(
                key_after, step, weights, scores, task.kept, pruner_state
            )
        failed = (state.diverged < 0) & ~jnp.isfinite(loss)
        state = state._replace(
            weights=weights,
            scores=scores,
            model_state=model_state,
            pruner_state=pruner_state,
            opt_state=opt_state,
            diverged=jnp.where(failed, step, state.diverged),
        )

        def end_epoch(curve, order):
            del order
            epoch = step // steps_per_epoch
            pruned = subnetwork(problem, kind, state, task)
            right = scoring.count_right(problem.model, pruned, state.model_state, *read)
            return curve.at[epoch].set(right), _order(problem, task, data_, epoch + 1)

        # Only what it changes goes through the branch: the rest of the state would be copied.
        curve, order = jax.lax.cond(ends, end_epoch, lambda *same: same, state.curve, order)
        return state._replace(curve=curve), order

    order = _order(problem, task, data_, step // steps_per_epoch)
    return jax.lax.fori_loop(step, until, one_step, (state, order))[0]


class Outcome(NamedTuple):
    """What a finished lane leaves."""

    weights: PyTree  # unpruned
    mask: PyTree  # bool, None where a leaf is not pruned
    validation_right: jax.Array  # [] int32
    test_right: jax.Array  # [] int32
    finite: jax.Array  # [] bool, whether the network's weights are


def finish(
    problem: Problem,
    weights: PyTree,
    scores: PyTree,
    model_state: PyTree,
    task: Task,
    data_: Data,
    test: scoring.Chunks,
) -> Outcome:
    """Scores the final network of a lane, on the test split once.

    Args:
        problem: Model, pruner and recipe.
        weights: After the lane's last step.
        scores: After the lane's last step.
        model_state: After the lane's last step.
        task: The lane's kept; where nothing is pruned it counts every weight.
        data_: For its validation split.
        test: The test split.

    Returns:
        Weights, mask and counts.
    """
    mask = problem.pruner.mask(scores, task.kept, None)
    network = problem.pruner.apply(weights, mask)
    finite = [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(network)]

    def right(split):
        return scoring.count_right(
            problem.model, network, model_state, split, data_.mean, data_.std
        )

    return Outcome(weights, mask, right(data_.validation), right(test), jnp.all(jnp.stack(finite)))
