import fractions
import math

import jax.numpy as jnp
import numpy as np
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


GOOD = plan.Lane("joint", 0.1, 0.5, 0)


@pytest.mark.parametrize(
    "lane, said",
    [
        (GOOD._replace(eps=math.nan), "eps must be at least 0, got nan"),
        (GOOD._replace(eps=-1.0), "eps must be at least 0, got -1.0"),
        (GOOD._replace(eps=None), "must be numbers, got None"),
        (GOOD._replace(eps="inf"), "must be numbers, got 'inf'"),
        (GOOD._replace(method="random_then_prune", eps=math.inf), "eps must be finite"),
        (GOOD._replace(sparsity=math.nan), r"sparsity must lie in \[0, 1\)"),
        (GOOD._replace(sparsity=1.0), r"sparsity must lie in \[0, 1\)"),
        (GOOD._replace(sparsity=None), "must be numbers, got None"),
        (GOOD._replace(seed=-1), r"seeds must lie in \[0, 2\^32\)"),
        (GOOD._replace(seed=2**32), r"seeds must lie in \[0, 2\^32\)"),
        (GOOD._replace(seed=0.5), "seeds must be integers"),
        (GOOD._replace(seed=True), "seeds must lie in"),
        (GOOD._replace(method="pruning"), "method must be one of prune, "),
        (GOOD._replace(method="prune"), "eps must be None for 'prune', got 0.1"),
        (GOOD._replace(method="dense", sparsity=None), "eps must be inf for 'dense', got 0.1"),
        (GOOD._replace(method="dense", eps=math.inf), "sparsity must be None for 'dense'"),
        (tuple(GOOD), "expected a Lane"),
        (None, "expected a Lane"),
    ],
)
def test_a_lane_that_no_grid_has_is_refused(lane, said):
    with pytest.raises(ValueError, match=said):
        plan.check([GOOD, lane])


def test_lanes_of_every_method_are_good_and_none_is_there_twice():
    lanes = plan.lanes(list(methods.METHODS), [0, np.float32(0.1), -0.0], [0.0, 0.5], range(3))
    plan.check(lanes)
    assert {str(lane.eps) for lane in lanes} == {"0", "0.1", "None", "inf"}
    assert str(plan.lanes(["joint"], [-0.0], [0.5])[0].eps) == "0.0"
    with pytest.raises(ValueError, match="every lane once"):
        plan.check([*lanes, lanes[3]])


@pytest.mark.parametrize("axis", ["names", "eps", "sparsity", "seeds"])
@pytest.mark.parametrize("values", [{0, 1}, b"01", np.array(1), (i for i in (0, 1)), {0: 1}, None])
def test_an_axis_without_an_order_or_an_end_is_refused(axis, values):
    grid = {"names": ["joint"], "eps": [0.1], "sparsity": [0.5], "seeds": [0]}
    with pytest.raises(ValueError, match="must be a list, got"):
        plan.lanes(**grid | {axis: values})


@pytest.mark.parametrize(
    "number", [fractions.Fraction(1, 3), 1j, np.complex64(1), np.ones(2), jnp.ones(2)]
)
def test_an_entry_that_is_no_real_number_is_refused(number):
    for axis in ("eps", "sparsity"):
        grid = {"eps": [0.1], "sparsity": [0.5]} | {axis: [number]}
        with pytest.raises(ValueError, match="eps and sparsity must be numbers, got "):
            plan.lanes(["joint"], **grid)


@pytest.mark.parametrize("method", [["prune"], methods.METHODS["joint"]._replace(name=3), None])
def test_a_name_that_is_no_text_is_refused(method):
    with pytest.raises(ValueError, match="method must be one of|must have a name of letters"):
        plan.lanes([method], [0.1], [0.5])
