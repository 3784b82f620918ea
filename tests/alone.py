"""One lane by itself: a method on one seed, the plain way that a runner must agree with."""

import functools
from typing import Any

import jax

from lth_jax import datasets, training
from lth_jax.sweep import plan, rows


@functools.cache
def jitted(function, *given):
    """One lane's program; lanes of other methods share it."""
    return jax.jit(functools.partial(function, *given))


def run(
    problem: training.Problem, dataset: datasets.Dataset, lane: plan.Lane
) -> tuple[dict[str, Any], training.Outcome]:
    """Runs all stages of a lane's method, each as one jitted loop on the first device.

    Returns:
        The row (without the fields that only a run has), and the final network.
    """
    arrays, test = training.lane_data(dataset)
    steps_per_epoch = problem.config.steps_per_epoch(len(dataset.train.labels))
    weights_of = jitted(training.initial, problem)
    sizes = training.lane_shapes(problem)
    history = rows.History()
    begin = origin = task = state = None
    for node in plan.nodes_of(lane, problem.config):
        task = training.lane_task(problem, sizes, node.seed, node.eps, node.sparsity)
        task = task._replace(key=jax.random.key(task.key))
        if origin is None:
            origin = weights_of(task.key, task.scale)
            begin = (origin.weights, origin.scores)
        kind = node.stage.kind
        state = jitted(training.start, problem, kind)(task, begin, origin)
        total = node.stage.steps(problem.config, steps_per_epoch)
        if total:
            advance = jitted(training.advance, problem, kind)
            state = advance(state, task, arrays, 0, total, total)
        begin = (state.weights, state.scores)
        images = len(dataset.watched.labels)
        history = rows.extend(history, kind, total, jax.device_get(state), images, 0.0)
    finish = jitted(training.finish, problem)
    final = (state.weights, state.scores, state.model_state)
    outcome = jax.device_get(finish(*final, task, arrays, test))
    center = jax.device_get(origin.weights)
    return rows.make_row(lane, history, outcome, center, dataset, problem.config), outcome
