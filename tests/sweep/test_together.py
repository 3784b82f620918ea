"""Lanes that step together: they agree with mapped ones, and what is rare stays a branch."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from lth_jax import pruners, training
from lth_jax.models import conv, linen
from lth_jax.sweep import programs
from lth_jax.training import in_turn, methods

CONFIG = dataclasses.replace(tiny.CONFIG, perturb_epochs=2, prune_epochs=3)  # 20 steps
LANES = [(0, 0.03, 0.5), (1, 0.0, 0.75), (0, float("inf"), 0.5), (2, 0.03, 0.75)]


@functools.cache
def problem(name):
    if name == "dense":
        return tiny.problem(CONFIG)
    image = jax.ShapeDtypeStruct((1, 8, 8, 1), np.float32)
    model = linen.from_flax(conv.ConvNet(2, width=1 / 4), image)
    return training.Problem(model, pruners.edge_popup(), CONFIG)


@functools.cache
def trained(name, strategy):
    """States after 1 and after 20 steps, on the host."""
    made = programs.Programs(problem(name), strategy)
    sizes = training.lane_shapes(made.problem)
    wanted = [training.lane_task(made.problem, sizes, *lane) for lane in LANES]
    task = made.tasks(wanted, wanted[0], len(LANES))
    data, _ = made.everywhere(training.lane_data(tiny.dataset()))
    origin = made.initial(task)
    found = []
    for until in (1, 20):
        state = made.start(methods.JOINT, task, (origin.weights, origin.scores), origin)
        found.append(jax.device_get(made.advance(methods.JOINT, state, task, data, 0, until, 20)))
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "strategy"), [("dense", "vmap"), ("dense", "hybrid"), ("conv", "hybrid")]
)
def test_lanes_that_step_together_agree_with_mapped_ones(name, strategy):
    one, twenty = zip(trained(name, "map"), trained(name, strategy), strict=True)
    for (mapped, ours), bound in ((one, 1e-5), (twenty, 1e-4)):
        for part in ("weights", "scores", "losses"):
            pair = getattr(mapped, part), getattr(ours, part)
            assert tiny.largest_difference(*(jax.tree.map(np.nan_to_num, p) for p in pair)) < bound
    mapped, ours = one
    tiny.assert_same_bits(mapped.pruner_state.mask, ours.pruner_state.mask)


@pytest.mark.slow
def test_a_network_with_convolutions_goes_lane_by_lane_and_no_other():
    def dense(weights, x):
        return jax.grad(lambda w: jnp.sum((x @ w) ** 2))(weights)

    def convolved(weights, x):
        def loss(w):
            y = jax.lax.conv(x, w, (1, 1), "SAME")
            return jnp.sum(y**2)

        return jax.grad(loss)(weights)

    shapes = {dense: ((4, 3, 2), (5, 3)), convolved: ((4, 2, 3, 3, 3), (5, 3, 8, 8))}
    for function, (weights, x) in shapes.items():
        weights, x = (jax.random.normal(jax.random.key(len(s)), s) for s in (weights, x))
        ours = jax.vmap(in_turn.lane_by_lane(function), (0, None))
        assert ("scan" in str(jax.make_jaxpr(ours)(weights, x))) == (function is convolved)
        theirs = jax.vmap(function, (0, None))(weights, x)
        np.testing.assert_allclose(ours(weights, x), theirs, rtol=1e-4, atol=1e-4)
