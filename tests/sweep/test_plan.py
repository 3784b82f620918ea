import math

import pytest

from lth_jax import training
from lth_jax.sweep import plan
from lth_jax.training import methods

PLAIN = training.TrainConfig()


def flat(blocks):
    for block in blocks:
        yield block
        yield from flat(block.followers)


def nodes_by_kind(lanes, size=4, done=()):
    found = {}
    for block in flat(plan.blocks(lanes, set(done), size, PLAIN)):
        for node, needed in zip(block.nodes, block.needed, strict=True):
            if needed:
                found.setdefault(node.stage.kind.name, []).append(node)
    return found


def test_shared_stages_run_once():
    eps, sparsity = [i / 100 for i in range(11)], [i / 10 for i in range(1, 10)]
    lanes = plan.lanes(["perturb_then_prune"], eps, sparsity, range(3))
    assert len(lanes) == 11 * 9 * 3
    found = nodes_by_kind(lanes)
    assert len(found["perturb"]) == len(set(found["perturb"])) == 11 * 3
    assert len(found["prune"]) == 11 * 9 * 3


def test_prune_serves_prune_then_perturb():
    lanes = plan.lanes(["prune", "prune_then_perturb"], [0.1, 0.2], [0.5], [0])
    found = nodes_by_kind(lanes)
    assert len(found["prune"]) == 1 and len(found["perturb_masked"]) == 2


def test_methods_without_a_ball_run_once():
    lanes = plan.lanes(["prune", "dense", "joint"], [0.0, 0.1], [0.5, 0.9], [0])
    assert [lane.eps for lane in lanes if lane.method == "prune"] == [None, None]
    assert [lane[1:3] for lane in lanes if lane.method == "dense"] == [(math.inf, None)]
    assert sum(lane.method == "joint" for lane in lanes) == 4
    (dense,) = plan.nodes_of(plan.Lane("dense", math.inf, None, 0), PLAIN)
    assert dense.eps == math.inf


@pytest.mark.parametrize("size", [2, 6, 16])
def test_every_lane_ends_once_and_blocks_fit(size):
    lanes = plan.lanes(list(methods.METHODS), [0.0, 0.1], [0.5, 0.9], range(3))
    blocks = list(flat(plan.blocks(lanes, set(), size, PLAIN)))
    ended = [lane for block in blocks for at_node in block.lanes for lane in at_node]
    assert sorted(map(str, ended)) == sorted(map(str, lanes))
    assert max(len(block.nodes) for block in blocks) <= size
    assert all(len({node.stages for node in block.nodes}) == 1 for block in blocks)


def test_blocks_are_cut_alike_whatever_is_done():
    lanes = plan.lanes(["prune", "perturb_then_prune"], [0.0, 0.1], [0.5, 0.9], range(5))
    whole = [block.nodes for block in flat(plan.blocks(lanes, set(), 4, PLAIN))]
    rest = list(flat(plan.blocks(lanes, set(lanes[:13]), 4, PLAIN)))
    assert 0 < len(rest) < len(whole)
    assert all(block.nodes in whole for block in rest)
    ended = [lane for block in rest for at_node in block.lanes for lane in at_node]
    assert sorted(map(str, ended)) == sorted(map(str, lanes[13:]))
    assert list(plan.blocks(lanes, set(lanes), 4, PLAIN)) == []


def test_parents_are_named_by_their_place_in_the_block_before():
    lanes = plan.lanes(["perturb_then_prune"], [0.0, 0.1, 0.2], [0.5, 0.9], range(3))
    for block in plan.blocks(lanes, set(), 4, PLAIN):
        for follower in block.followers:
            for node, place in zip(follower.nodes, follower.parents, strict=True):
                assert block.nodes[place][1:] == (node.eps, None, node.seed)


def test_scaled_weights_are_not_shared_between_sparsities():
    lane = plan.Lane("perturb_then_prune", 0.1, 0.5, 0)
    assert plan.nodes_of(lane, PLAIN)[0].sparsity is None
    scaled = training.TrainConfig(scale_init=True)
    assert plan.nodes_of(lane, scaled)[0].sparsity == 0.5


def test_stages_that_would_move_nothing_can_be_left_out():
    skip = training.TrainConfig(skip_at_zero=True)
    (pruned,) = plan.nodes_of(plan.Lane("prune", None, 0.5, 0), PLAIN)
    for method in ("perturb_then_prune", "random_then_prune", "prune_then_perturb"):
        lane = plan.Lane(method, 0, 0.5, 0)
        assert len(plan.nodes_of(lane, PLAIN)) == 2
        assert plan.nodes_of(lane, skip) == [pruned]
        assert len(plan.nodes_of(lane._replace(eps=0.1), skip)) == 2
    # Scores move at any eps, and a lane has a stage that it ends with.
    for method in ("joint", "random_mask_then_perturb", "dense"):
        lane = plan.Lane(method, 0.0, 0.5, 0)
        assert plan.nodes_of(lane, skip) == plan.nodes_of(lane, PLAIN)
