"""Exact selection from scores that are split over devices inside a shard_map."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import quick
from by_sorting import oracle
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from lth_jax import pruners
from lth_jax.masks import selection
from lth_jax.perturb import shards

N = 22


def adversaries():
    rng = np.random.default_rng(0)
    special = [0.0, -0.0, np.nan, np.inf, -np.inf, 1e-45, -1e-45, 3.4e38]
    some = [
        rng.normal(size=N),
        np.full(N, 0.25),
        rng.choice(special, N),
        rng.integers(0, 3, N),
        np.repeat([1.0, 2.0], N // 2),
        np.repeat([2.0, 1.0], N // 2),
    ]
    return np.float32(some)


SPLIT = P("shards")


def over_devices(function, seen, out=SPLIT, name="shards"):
    mesh = jax.make_mesh((2,), (name,), axis_types=(AxisType.Auto,))
    places = {"mesh": mesh, "in_specs": (P(name), P()), "out_specs": out}
    return jax.jit(jax.shard_map(function, check_vma=seen, **places))


@pytest.mark.parametrize("seen", [True, False])
def test_masks_of_split_scores_are_those_of_a_stable_sort(seen):
    def both(scores, kept):
        mask, hint = selection.topk_mask_and_threshold(scores, kept, axis_name="shards")
        again = selection.topk_mask(scores, kept, hint, axis_name=("shards",))
        return mask, again, selection.kth_largest(scores, kept, axis_name="shards")

    find = over_devices(both, seen, (P("shards"), P("shards"), P()))
    for scores in adversaries():
        flat = np.r_[scores[np.isnan(scores)], -np.sort(-scores[~np.isnan(scores)])]
        for kept in range(N + 1):
            mask, again, value = find(scores, kept)
            np.testing.assert_array_equal(mask, oracle(scores, kept))
            np.testing.assert_array_equal(again, mask)
            if kept:
                np.testing.assert_array_equal(value, flat[kept - 1])


@pytest.mark.slow
def test_lanes_of_split_scores_and_samples_of_large_ones():
    find = functools.partial(selection.topk_mask, axis_name="shards")
    every = over_devices(jax.vmap(find, (None, 0)), True, P(None, "shards"))
    for scores in adversaries():
        masks = every(scores, jnp.arange(N + 1))
        for kept in range(N + 1):
            np.testing.assert_array_equal(masks[kept], oracle(scores, kept))
    rng = np.random.default_rng(1)
    large = np.sort(np.round(rng.normal(size=(30_000,)), 3)).astype(np.float32)
    one = over_devices(find, True)
    for kept in [0, 1, 100, 15_000, 29_999, 30_000]:
        np.testing.assert_array_equal(one(large, kept), oracle(large, kept))


@pytest.mark.slow
def test_ties_go_by_the_axes_in_the_order_given():
    """By vmap, which names axes, too: as many shards as one likes without devices."""
    scores = jnp.ones((2, 3, 4))

    def find(scores, axis_name):
        return selection.topk_mask(scores, 7, axis_name=axis_name)

    for axis_name, order in ((("a", "b"), (0, 1, 2)), (("b", "a"), (1, 0, 2))):
        run = functools.partial(find, axis_name=axis_name)
        mask = jax.vmap(jax.vmap(run, axis_name="b"), axis_name="a")(scores)
        flat = np.transpose(np.asarray(mask), order).ravel()
        np.testing.assert_array_equal(flat, np.arange(24) < 7)


def test_trees_of_split_scores_keep_exactly_as_many():
    rng = np.random.default_rng(2)
    scores = {"a": jnp.float32(rng.normal(size=(4, 3))), "b": jnp.ones(10), "none": None}

    def masks(scores, kept):
        per_tensor = selection.tree_topk_mask(
            scores, {"a": 5, "b": 7, "none": None}, None, "shards"
        )
        return per_tensor, selection.tree_topk_mask(scores, kept, axis_name="shards")

    per_tensor, together = over_devices(masks, True)(scores, 9)
    np.testing.assert_array_equal(per_tensor["a"], oracle(scores["a"], 5))
    np.testing.assert_array_equal(per_tensor["b"], np.arange(10) < 7)
    assert sum(int(m.sum()) for m in jax.tree.leaves(together)) == 9


@pytest.mark.parametrize("seen", quick.first(1, [True, False]))
def test_shards_and_lanes_are_not_taken_for_each_other(seen):
    scores = jnp.asarray(adversaries()[:4])
    for axis_name, name in (((), "shards"), (None, shards.LANES)):
        one = functools.partial(selection.topk_mask, axis_name=axis_name)
        each = lambda x, kept, one=one: jax.lax.map(lambda s: one(s, kept), x)  # noqa: E731
        masks = over_devices(each, seen, P(name), name)(scores, 9)
        for mask, row in zip(masks, scores, strict=True):
            np.testing.assert_array_equal(mask, oracle(row, 9))
    for find in (selection.topk_mask, selection.kth_largest, selection.tree_topk_mask):
        with pytest.raises(ValueError, match="'shards' expected axis_name"):
            over_devices(find, seen)(scores[0], 9)
    whole = over_devices(
        lambda _, kept: selection.topk_mask(jnp.ones(3), kept, None, ()), seen, P()
    )
    np.testing.assert_array_equal(whole(scores[0], 1), [True, False, False])


def test_kept_counts_all_shards():
    find = functools.partial(selection.topk_mask, kept=N + 1, axis_name="shards")
    with pytest.raises(ValueError, match=rf"kept must lie in \[0, {N}\]"):
        over_devices(lambda x, _: find(x), True)(adversaries()[0], 0)


def test_edge_popup_of_split_weights_keeps_as_many_and_draws_scores_of_whole_ones():
    rng = np.random.default_rng(3)
    weights = {"w": jnp.float32(rng.normal(size=(4, 3)))}
    pruner = pruners.edge_popup(axis_name="shards")
    scores = pruner.init(jax.random.key(0), weights)  # Outside: as without the name.

    def network(scores, weights):
        kept = {"w": 5}
        state = pruner.init_state(jax.random.key(1), weights, scores, kept)
        # Forward and backward: each shard has its own part of the gradient.
        grad = jax.grad(
            lambda w: pruner.subnetwork(jax.random.key(1), w, scores, kept, state)["w"].sum()
        )
        state = pruner.after_step(jax.random.key(1), 0, weights, scores, kept, state)[-1]
        return pruner.mask(scores, kept, state), grad(weights)

    mesh = jax.make_mesh((2,), ("shards",), axis_types=(AxisType.Auto,))
    split = jax.jit(jax.shard_map(network, mesh=mesh, in_specs=SPLIT, out_specs=SPLIT))
    mask, gradient = split(scores, weights)
    np.testing.assert_array_equal(mask["w"], oracle(np.abs(scores["w"]), 5))
    np.testing.assert_array_equal(gradient["w"], mask["w"])
    with pytest.raises(ValueError, match="scores are of whole tensors"):
        over_devices(lambda w, _: pruner.init(jax.random.key(0), w), True)(weights["w"], 0)
