"""One lane by itself: a method on one seed, the plain way that a grid must agree with."""

import functools
import math
from typing import Any

import jax
import numpy as np

from lth_jax import datasets, training
from lth_jax.masks import selection
from lth_jax.perturb import rounding
from lth_jax.sweep import plan, rows
from lth_jax.training import methods, scoring


def run(
    problem: training.Problem,
    dataset: datasets.Dataset,
    method: str,
    seed: int,
    eps: float | None = None,
    sparsity: float | None = None,
) -> tuple[dict[str, Any], training.Outcome]:
    """Runs all stages of a method, each as one jitted loop on the first device.

    Args:
        problem: Model, pruner and recipe.
        dataset: What to train on.
        method: One of methods.METHODS.
        seed: Integer in [0, 2^32).
        eps: Radius of the ball, None for a method without one.
        sparsity: Fraction to remove, None for a method without a mask.

    Returns:
        The row (without the fields that only a run has), and the final network.

    Raises:
        KeyError: If the method is unknown.
    """
    lane = plan.Lane(method, eps, sparsity, seed)
    arrays = training.Data(
        *dataset.train, scoring.chunks(dataset.validation), dataset.mean, dataset.std
    )
    steps_per_epoch = len(dataset.train.labels) // problem.recipe.batch_size
    weights_of = jax.jit(functools.partial(training.initial, problem))
    scores = jax.eval_shape(weights_of, jax.random.key(0)).scores
    history = rows.History()
    begin = origin = task = state = None
    for node in plan.nodes_of(lane, problem.recipe.scale_init):
        kept = selection.tree_kept(scores, node.sparsity or 0, problem.pruner.scope)
        left = sum(jax.tree.leaves(kept)) / sum(s.size for s in jax.tree.leaves(scores))
        task = training.Task(
            key=jax.random.key(np.uint32(seed)),
            eps=rounding.round_toward_zero(math.inf if node.eps is None else node.eps, np.float32),
            kept=jax.tree.map(np.int32, kept),
            scale=np.float32(left**-0.5),
            active=np.bool_(True),
        )
        if origin is None:
            origin = weights_of(task.key, task.scale)
            begin = (origin.weights, origin.scores)
        stage = node.stages[-1]
        start = jax.jit(functools.partial(training.start, problem, node.kind))
        state = start(task, begin, origin)
        total = problem.recipe.epochs(stage) * steps_per_epoch if methods.MOVES[node.kind] else 0
        if total:
            advance = jax.jit(functools.partial(training.advance, problem, node.kind))
            state = advance(state, task, arrays, 0, total, total)
        begin = (state.weights, state.scores)
        images = len(dataset.validation.labels)
        history = rows.extend(history, node.kind, total, jax.device_get(state), images, 0.0)
    finish = jax.jit(functools.partial(training.finish, problem))
    final = (state.weights, state.scores, state.model_state)
    outcome = jax.device_get(finish(*final, task, arrays, scoring.chunks(dataset.test)))
    center = jax.device_get(origin.weights)
    return rows.row(lane, history, outcome, center, dataset, problem.recipe.norm), outcome
