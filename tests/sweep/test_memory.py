"""Blocks are as large as fits: the estimate counts what a lane holds, and the grid obeys it."""

import dataclasses
from contextlib import nullcontext

import jax
import jax.numpy as jnp
import pytest
import tiny

from lth_jax import pruners, sweep, training
from lth_jax.models import linen
from lth_jax.models.networks import conv
from lth_jax.sweep import memory

IMAGE = jax.ShapeDtypeStruct((8, 8, 1), jnp.uint8)
WEIGHTS = sum(tiny.SIZES)


def test_a_lane_is_counted_by_hand():
    # joint, the largest: w_0 (here and in the ball), weights, scores and two momenta are floats,
    # the mask bytes; two radii (in both), two hints of two floats, three entries of the curve and
    # of the losses, the divergence. What is left are counters.
    state = WEIGHTS * (6 * 4 + 1)
    small = 2 * 2 * 4 + 2 * 2 * 4 + 2 * 3 * 4 + 4
    found = memory.lane_bytes(tiny.problem(), "map", IMAGE)
    floor = 2 * (state + small) + 2 * WEIGHTS * 4
    assert floor <= found <= floor + 50


def test_the_optimizers_state_is_counted():
    plain = memory.lane_bytes(tiny.problem(), "map", IMAGE)
    config = dataclasses.replace(tiny.CONFIG, perturb_optimizer="adam", prune_optimizer="lion")
    found = memory.lane_bytes(tiny.problem(config), "map", IMAGE)
    # Adam has two moments where SGD has one, lion has one; each has a counter more.
    assert 2 * WEIGHTS * 4 <= found - plain <= 2 * WEIGHTS * 4 + 50


def test_one_lane_is_refused_only_where_it_cannot_fit(monkeypatch):
    adam = dataclasses.replace(tiny.CONFIG, perturb_optimizer="adam", prune_optimizer="adam")
    for config, copies in ((tiny.CONFIG, 4), (adam, 5)):
        problem = tiny.problem(config)
        sizes = training.lane_shapes(problem)
        for bytes_there, refused in ((copies * 4 * WEIGHTS - 1, True), (10**6, False)):
            monkeypatch.setattr(memory, "_machine_bytes", lambda there=bytes_there: there)
            with pytest.raises(ValueError, match="needs more") if refused else nullcontext():
                memory.check_one_lane(problem, sizes)


def test_lanes_that_step_together_also_hold_what_a_step_makes():
    alone = memory.lane_bytes(tiny.problem(), "map", IMAGE)
    together = memory.lane_bytes(tiny.problem(), "vmap", IMAGE)
    batch = tiny.CONFIG.batch_size
    activations = batch * (64 + 16 + 16 + 10) * 4
    assert together >= alone + WEIGHTS * 4 + activations


@pytest.mark.slow
def test_convolutions_that_lanes_go_through_in_turn_are_not_counted_by_lane():
    image = jax.ShapeDtypeStruct((1, 8, 8, 1), jnp.float32)
    model = linen.from_flax(conv.ConvNet(2, width=1 / 8), image)
    problem = training.Problem(model, pruners.edge_popup(), tiny.CONFIG)
    sizes = training.lane_shapes(problem)
    weights = sum(leaf.size for leaf in jax.tree.leaves(sizes.weights)) * 4
    alone, in_turn, together = (
        memory.lane_bytes(problem, strategy, IMAGE) for strategy in ("map", "hybrid", "vmap")
    )
    assert in_turn == alone + 2 * weights < together
    dense = (memory.lane_bytes(tiny.problem(), strategy, IMAGE) for strategy in ("hybrid", "vmap"))
    assert len({*dense}) == 1


@pytest.mark.parametrize(("fitting", "expected"), [(100, 16), (3, 6), (1, 2)])
def test_blocks_hold_no_more_lanes_than_fit(monkeypatch, fitting, expected):
    lane = memory.lane_bytes(tiny.problem(), "map", IMAGE)
    monkeypatch.setattr(memory, "device_bytes", lambda: int(2 * lane * (fitting + 0.5)))
    runner = sweep.Runner(tiny.problem(), tiny.dataset(), "map", max_lanes=16)
    assert jax.local_device_count() == 2
    assert runner.block_size(100) == expected


def test_a_lane_that_does_not_fit_is_tried_alone(monkeypatch):
    monkeypatch.setattr(memory, "device_bytes", lambda: 1)
    runner = sweep.Runner(tiny.problem(), tiny.dataset(), "map", max_lanes=16)
    assert runner.block_size(100) == jax.local_device_count()
