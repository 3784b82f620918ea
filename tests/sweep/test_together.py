"""Lanes that step together: they agree with mapped ones, and what is rare stays a branch."""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from lth_jax import pruners, training
from lth_jax.models import linen
from lth_jax.models.networks import conv
from lth_jax.sweep import programs
from lth_jax.training import in_turn, methods

CONFIG = dataclasses.replace(tiny.CONFIG, perturb_epochs=2, prune_epochs=3)  # 20 steps
LANES = [(0, 0.03, 0.5), (1, 0.0, 0.75), (0, float("inf"), 0.5), (2, 0.03, 0.75)]


@functools.cache
def problem(name):
    if name == "dense":
        return tiny.problem(dataclasses.replace(CONFIG, curves=True))
    image = jax.ShapeDtypeStruct((1, 8, 8, 1), np.float32)
    model = linen.from_flax(conv.ConvNet(2, width=1 / 4), image)
    return training.Problem(model, pruners.edge_popup(), CONFIG)


@functools.cache
def programs_of(name, strategy):
    return programs.Programs(problem(name), strategy)


@functools.cache
def trained(name, strategy, *slices):
    """The state after steps in slices that end where said, on the host."""
    made = programs_of(name, strategy)
    sizes = training.lane_shapes(made.problem)
    wanted = [training.lane_task(made.problem, sizes, *lane) for lane in LANES]
    task = made.tasks(wanted, wanted[0], len(LANES))
    data, _ = made.everywhere(training.lane_data(tiny.dataset()))
    origin = made.initial(task)
    state = made.start(methods.JOINT, task, (origin.weights, origin.scores), origin)
    for begin, until in itertools.pairwise((0, *slices)):
        state = made.advance(methods.JOINT, state, task, data, begin, until, 20)
    return jax.device_get(state)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "strategy"), [("dense", "vmap"), ("dense", "hybrid"), ("conv", "hybrid")]
)
def test_lanes_that_step_together_agree_with_mapped_ones(name, strategy):
    for steps, bound in ((1, 1e-5), (20, 1e-4)):
        mapped, ours = trained(name, "map", steps), trained(name, strategy, steps)
        for part in ("weights", "scores", "losses"):
            pair = getattr(mapped, part), getattr(ours, part)
            assert tiny.largest_difference(*(jax.tree.map(np.nan_to_num, p) for p in pair)) < bound
        if steps == 1:
            tiny.assert_same_bits(mapped.pruner_state.mask, ours.pruner_state.mask)
        # The images right of 64 that are watched, and the shares of the mask that changed.
        assert np.max(np.abs(mapped.curve - ours.curve)) <= 1
        if name == "dense":
            pair = (np.nan_to_num(of.recorded.values, nan=-1) for of in (mapped, ours))
            assert np.max(np.abs(np.subtract(*pair))) < 2e-3


@pytest.mark.slow
def test_lanes_that_step_together_may_be_sliced_anywhere():
    tiny.assert_same_bits(trained("dense", "vmap", 20), trained("dense", "vmap", 3, 4, 9, 20))


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
