"""Laws of many lanes, on a tiny grid of all methods; README names them."""

import dataclasses
import functools
import json
import math

import alone
import compiled
import jax
import numpy as np
import pytest
import quick
import tiny

from lth_jax import datasets, pruners, sweep, training
from lth_jax.models import linen
from lth_jax.models.networks import conv
from lth_jax.sweep import plan, programs
from lth_jax.training import methods


@functools.cache
def run(max_lanes=16, slice_seconds=5.0):
    runner = sweep.Runner(tiny.problem(), tiny.dataset(), "map", max_lanes, slice_seconds)
    events = list(runner.run(tiny.all_lanes()))
    return runner, {e.lane: e for e in events if _ends(e)}, events


@functools.cache
def in_pairs():
    """The grid in blocks of two lanes and slices of a step, which serves all quick tests.

    The last entry is how often XLA was asked for each program.
    """
    before = compiled.counts()
    return *run(max_lanes=2, slice_seconds=1e-6), compiled.counts() - before


def _ends(event):
    return isinstance(event, sweep.Finished)


def arrays(event):
    return event.center, event.weights, event.mask


def numbers(row):
    return {name: value for name, value in row.items() if name not in ("seconds", "strategy")}


@pytest.mark.slow
def test_every_lane_ends_in_a_row_that_json_can_hold():
    _, finished, _ = run()
    assert list(finished) != [] and set(finished) == set(tiny.all_lanes())
    for event in finished.values():
        json.dumps(event.row, allow_nan=False)
        assert event.row["diverged"] is None
        assert 0 <= event.row["val_accuracy"] <= 1
        epochs = sum(s.epochs(tiny.CONFIG) for s in training.METHODS[event.lane.method].stages)
        assert len(event.row["val_curve"]) == len(event.row["train_loss_curve"]) == epochs
        assert all(0 < loss < 10 for loss in event.row["train_loss_curve"])


def test_kept_is_what_was_asked_for_and_weights_stay_in_the_ball():
    _, finished, *_ = in_pairs()
    for wanted, event in finished.items():
        row = event.row
        if wanted.sparsity is None:
            assert row["kept"] == sum(tiny.SIZES)
        else:  # both sparsities are exact in binary
            assert row["kept"] == sum(n - int(n * wanted.sparsity) for n in tiny.SIZES)
        if wanted.eps in (None, math.inf):
            assert row["ball_fraction"] is None
        else:
            assert row["ball_fraction"] <= 1 and row["max_displacement"] <= wanted.eps
            assert (row["max_displacement"] > 0) == (wanted.eps > 0)


@pytest.mark.parametrize(
    "method",
    # Compiling takes seconds, so the others are slow.
    quick.first(1, ["joint", *(name for name in methods.METHODS if name != "joint")]),
)
def test_a_lane_alone_has_the_same_bits(method):
    wanted = next(w for w in tiny.all_lanes() if w.method == method and w.eps not in (0.0, 0.01))
    row, outcome = alone.run(tiny.problem(), tiny.dataset(), wanted)
    event = in_pairs()[1][wanted]
    tiny.assert_same_bits((event.weights, event.mask), (outcome.weights, outcome.mask))
    assert numbers(event.row) == numbers(row)


@pytest.mark.slow
def test_blocks_and_slices_of_any_size_give_the_same_bits():
    _, finished, events = run()
    _, other, more, _ = in_pairs()
    assert len(more) > 2 * len(events)
    for wanted, event in finished.items():
        tiny.assert_same_bits(arrays(event), arrays(other[wanted]))
        assert numbers(event.row) == numbers(other[wanted].row)


@pytest.mark.slow
def test_vmap_agrees_to_rounding():
    _, finished, _ = run()
    wanted = plan.lanes(["joint", "dense"], [0.03], [0.5], [0, 1])
    runner = sweep.Runner(tiny.problem(), tiny.dataset(), "vmap")
    flips = 0
    for event in runner.run(wanted):
        if not _ends(event):
            continue
        mapped = finished[event.lane]
        assert event.row["strategy"] == "vmap" and mapped.row["strategy"] == "map"
        tiny.assert_same_bits(event.center, mapped.center)
        # 12 steps; "lanes agree" grants 1e-4 after 20.
        assert tiny.largest_difference(event.weights, mapped.weights) < 1e-4
        pairs = zip(jax.tree.leaves(event.mask), jax.tree.leaves(mapped.mask), strict=True)
        flips += sum(np.sum(a != b) for a, b in pairs)
    assert flips <= 4  # scores that are nearly tied, of 2 × 1,184


@pytest.mark.slow
def test_one_compile_per_kind_of_stage():
    *_, compiles = in_pairs()
    moving = ("perturb", "prune", "perturb_masked", "joint")
    expected = {f"advance_{kind}": 1 for kind in moving} | {"initial": 1, "finish": 1}
    expected |= {f"start_{kind}": 1 for kind in (*moving, "randomize")}
    # Counted where XLA is called, on both devices: a program for each would count twice.
    assert jax.local_device_count() == 2
    assert {name: compiles[name] for name in expected} == expected


def test_shared_stages_take_their_steps_once():
    runner, *_ = in_pairs()
    lanes_ = plan.lanes(["perturb_then_prune"], [0.01], [0.5, 0.75], [0, 1])
    last = [e for e in runner.run(lanes_) if isinstance(e, sweep.Progress)][-1]
    # 2 seeds × 4 steps of perturbing, 4 lanes × 8 steps of pruning.
    assert last.lane_steps == last.all_lane_steps == 2 * 4 + 4 * 8


def test_what_is_missing_comes_out_as_if_nothing_had_been_done():
    runner, finished, *_ = in_pairs()
    wanted = tiny.all_lanes()
    done = set(wanted[::2])
    rest = [e for e in runner.run(wanted, done) if _ends(e)]
    assert {e.lane for e in rest} == set(wanted) - done
    for event in rest:
        tiny.assert_same_bits(arrays(event), arrays(finished[event.lane]))
        assert numbers(event.row) == numbers(finished[event.lane].row)


def test_the_same_seed_is_the_same_network_for_every_method():
    _, finished, *_ = in_pairs()
    centers = {}
    for wanted, event in finished.items():
        tiny.assert_same_bits(centers.setdefault(wanted.seed, event.center), event.center)
    assert tiny.largest_difference(centers[0], centers[1]) > 0


@pytest.mark.parametrize(
    "method", ["perturb_then_prune", "random_then_prune", "prune_then_perturb"]
)
def test_a_ball_of_radius_0_is_plain_pruning_bit_for_bit(method):
    _, finished, *_ = in_pairs()
    for sparsity in tiny.SPARSITY:
        ours = finished[plan.Lane(method, 0.0, sparsity, 1)]
        prune = finished[plan.Lane("prune", None, sparsity, 1)]
        tiny.assert_same_bits(arrays(ours), arrays(prune))
        for field in ("val_accuracy", "test_accuracy"):
            assert ours.row[field] == prune.row[field]


def test_joint_in_a_ball_of_radius_0_is_longer_pruning():
    _, finished, *_ = in_pairs()
    for sparsity in tiny.SPARSITY:
        ours = finished[plan.Lane("joint", 0.0, sparsity, 1)]
        longer = finished[plan.Lane("prune_longer", None, sparsity, 1)]
        # To rounding: another program. Of 1,184 near-tied scores a few may fall otherwise.
        pairs = zip(jax.tree.leaves(ours.mask), jax.tree.leaves(longer.mask), strict=True)
        assert sum(np.sum(a != b) for a, b in pairs) <= 4
        tiny.assert_same_bits(ours.weights, longer.weights)


def test_training_never_sees_the_test_split():
    dataset = tiny.dataset()
    other = dataset._replace(
        test=datasets.Split(255 - dataset.test.images, dataset.test.labels[::-1])
    )
    wanted = plan.lanes(["joint"], [0.01], [0.5], [0, 1])
    runner, *_ = in_pairs()
    swapped = sweep.Runner(tiny.problem(), other, max_lanes=2)
    swapped.programs = runner.programs
    (ours, _), (theirs, _) = (
        [e for e in each.run(wanted) if _ends(e)] for each in (runner, swapped)
    )
    tiny.assert_same_bits(arrays(ours), arrays(theirs))
    assert ours.row["test_accuracy"] != theirs.row["test_accuracy"]
    assert ours.row["val_curve"] == theirs.row["val_curve"]


def test_the_test_split_is_read_once_per_finished_block(monkeypatch):
    runner, *_ = in_pairs()
    reads = []
    finish = runner.programs.finish
    monkeypatch.setattr(runner.programs, "finish", lambda *a: reads.append(1) or finish(*a))
    list(runner.run(plan.lanes(["perturb_then_prune"], [0.01], [0.5], [0, 1])))
    assert len(reads) == 1


@pytest.mark.slow
def test_one_lane_may_diverge_while_others_go_on():
    # A huge ball with a huge rate overflows; the ball of radius 0 beside it cannot.
    config = dataclasses.replace(tiny.CONFIG, perturb_lr=1e30)
    runner = sweep.Runner(tiny.problem(config), tiny.dataset())
    wanted = plan.lanes(["perturb_then_prune"], [0.0, float("inf")], [0.5], [0])
    calm, wild = (e.row for e in runner.run(wanted) if _ends(e))
    assert calm["diverged"] is None and calm["test_accuracy"] is not None
    assert 1 <= wild["diverged"] <= 4
    assert wild["test_accuracy"] is wild["val_accuracy"] is None
    assert wild["kept"] == calm["kept"]
    json.dumps(calm, allow_nan=False)


@pytest.mark.slow
def test_scaled_weights_grow_with_the_sparsity():
    config = dataclasses.replace(tiny.CONFIG, scale_init=True)
    runner = sweep.Runner(tiny.problem(config), tiny.dataset())
    wanted = plan.lanes(["perturb_then_prune"], [0.01], [0.5, 0.75], [0])
    half, quarter = (e for e in runner.run(wanted) if _ends(e))
    plain = run()[1][plan.Lane("prune", None, 0.5, 0)].center
    for event, left in ((half, 0.5), (quarter, 0.25)):
        for ours, theirs in zip(jax.tree.leaves(event.center), jax.tree.leaves(plain), strict=True):
            # Kept counts are rounded up, so the fraction is a little above 1 - sparsity.
            np.testing.assert_allclose(ours, theirs / left**0.5, rtol=2e-3)


def test_bad_arguments_are_refused():
    problem, dataset = tiny.problem(), tiny.dataset(train_size=16)
    with pytest.raises(ValueError, match="batch_size"):
        sweep.Runner(problem, dataset)
    with pytest.raises(ValueError, match="max_lanes"):
        sweep.Runner(problem, tiny.dataset(), max_lanes=0)
    with pytest.raises(ValueError, match="strategy"):
        programs.strategy_for("pmap")


def test_a_mean_of_microbatches_is_the_batch():
    config = dataclasses.replace(tiny.CONFIG, microbatch=8)
    wanted = plan.Lane("dense", math.inf, None, 0)
    _, parts = alone.run(tiny.problem(config), tiny.dataset(), wanted)
    # 12 steps of float32: sums in another order, no more.
    assert tiny.largest_difference(in_pairs()[1][wanted].weights, parts.weights) < 1e-5


@functools.cache
def convolutional():
    image = jax.ShapeDtypeStruct((1, 8, 8, 1), np.float32)
    model = linen.from_flax(conv.ConvNet(2, width=1 / 4), image)
    config = dataclasses.replace(tiny.CONFIG, microbatch=16)
    return training.Problem(model, pruners.edge_popup(), config)


@functools.cache
def convolutional_alone(lane):
    return alone.run(convolutional(), tiny.dataset(), lane)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["map", "vmap"])
def test_convolutional_lanes_agree_with_one_alone(strategy, compiles):
    runner = sweep.Runner(convolutional(), tiny.dataset(), strategy, max_lanes=4)
    wanted = plan.lanes(["dense", "joint"], [0.03], [0.5, 0.75], [0, 1])
    finished = {event.lane: event for event in runner.run(wanted) if _ends(event)}
    assert compiles()["advance_joint"] == 1
    for lane in (plan.Lane("dense", math.inf, None, 1), plan.Lane("joint", 0.03, 0.75, 1)):
        row, outcome = convolutional_alone(lane)
        event = finished[lane]
        if strategy == "map":
            tiny.assert_same_bits((event.weights, event.mask), (outcome.weights, outcome.mask))
            assert numbers(event.row) == numbers(row)
        elif lane.method == "dense":  # 12 steps; "lanes agree" grants 1e-4 after 20.
            assert tiny.largest_difference(event.weights, outcome.weights) < 1e-4
        assert event.row["kept"] == row["kept"]
