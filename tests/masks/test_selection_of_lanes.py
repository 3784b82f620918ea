"""Selection for lanes that step together: the same masks and hints as of a lane alone."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from by_sorting import oracle
from test_selection import ADVERSARIES, CHOSEN, N

from lth_jax.masks import selection
from lth_jax.perturb import shards

together = functools.partial(jax.vmap, axis_name=shards.TOGETHER)
LANES = [(name, kept) for name in ADVERSARIES for kept in [*CHOSEN, -2, N + 5]]
SCORES = np.stack([ADVERSARIES[name] for name, _ in LANES])
KEPT = np.array([kept for _, kept in LANES], np.int32)


def trees(scores):
    """Of a lane, or of many: two tensors of two axes, one of them the other backwards."""
    shape = (*scores.shape[:-1], N, 1)
    return {"a": scores.reshape(shape), "b": scores[..., ::-1].reshape(shape), "none": None}


@functools.cache
def selected(dtype):
    """Scores and counts, and what two selections find: the second starts where the first ended."""
    scores = trees(jnp.asarray(SCORES, dtype))
    kept = {"a": KEPT, "b": KEPT[::-1].copy(), "none": None}

    def steps(scores, kept):
        first = selection.tree_topk_mask_and_thresholds(scores, kept)
        changed = jax.tree.map(lambda s: s.at[0].set(0), scores)
        return first, selection.tree_topk_mask_and_thresholds(changed, kept, first[1])

    return scores, kept, jax.jit(together(steps))(scores, kept)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_masks_of_many_lanes_are_those_of_a_stable_sort(dtype):
    scores, kept, found = selected(dtype)
    for again, (masks, _) in enumerate(found):
        for name in ("a", "b"):
            for lane, count in enumerate(np.clip(kept[name], 0, N)):
                of_lane = np.array(scores[name][lane])
                of_lane[:again] = 0
                np.testing.assert_array_equal(
                    masks[name][lane], oracle(of_lane, int(count)), err_msg=f"{LANES[lane]} {name}"
                )
        assert masks["none"] is None


def test_more_passes_and_ties_are_branches_and_one_loop_serves_all_tensors():
    scores, kept = trees(SCORES), {"a": KEPT, "b": KEPT, "none": None}
    find = selection.tree_topk_mask_and_thresholds
    hints = {"a": jnp.zeros((len(LANES), 2)), "b": jnp.zeros((len(LANES), 2)), "none": None}
    program = str(jax.make_jaxpr(together(find))(scores, kept, hints))
    assert (program.count("while["), program.count("cond[")) == (1, 2)


@pytest.mark.slow
def test_global_counts_rank_all_tensors_of_a_lane():
    scores = trees(jnp.asarray(SCORES))
    ranked = np.concatenate([np.asarray(scores[n]).reshape(len(LANES), N) for n in "ab"], 1)
    kept = np.arange(len(LANES), dtype=np.int32) * 2
    masks = jax.jit(together(selection.tree_topk_mask))(scores, kept)
    for lane, count in enumerate(kept):
        ours = np.concatenate([np.asarray(masks[n][lane]).ravel() for n in "ab"])
        np.testing.assert_array_equal(ours, oracle(ranked[lane], int(count)))


@pytest.mark.slow
def test_any_hint_gives_the_same_masks():
    values = [0.0, 1.0, -3e38, np.nan, np.inf, -np.inf, 1e-45]
    hints = np.array([(v, r) for v in values for r in [0.0, 1.0, -1.0, np.nan, np.inf, 3e38]], "f4")
    scores = ADVERSARIES["towers"]
    find = jax.jit(together(selection.topk_mask_and_threshold, in_axes=(None, None, 0)))
    masks, after = find(scores, N // 2, hints)
    assert (np.asarray(masks) == oracle(scores, N // 2)).all()
    assert np.isfinite(after).all()  # Else every later search would begin anew.


@pytest.mark.slow
def test_ties_are_broken_where_no_search_needs_another_pass():
    find = jax.jit(together(selection.topk_mask, in_axes=(None, 0, None)))
    kept = np.arange(N + 1, dtype=np.int32)
    masks = find(jnp.zeros(N), kept, jnp.array([0.0, 1e-45]))  # Two passes find the tie.
    np.testing.assert_array_equal(masks, [oracle(np.zeros(N), count) for count in kept])
