"""A kept count that falls: all weights first, exactly `kept` in the end, and resume as ever."""

import dataclasses
from fractions import Fraction

import alone
import jax
import numpy as np
import pytest
import tiny

from lth_jax import pruners, training
from lth_jax.pruners import base
from lth_jax.training import curves, kept, methods

FALLING = ("linear", "exponential")
STEPS_PER_EPOCH, TOTAL = 4, 8


def counts(schedule, n, k, steps, total):
    """[steps] counts, the step, the total and k traced."""
    scores = {"kernel": jax.ShapeDtypeStruct((n,), np.float32)}
    one = jax.jit(
        lambda k, step, total: jax.vmap(
            lambda step: kept.after(schedule, scores, {"kernel": k}, step, total)["kernel"]
        )(step)
    )
    return np.asarray(one(np.int32(k), np.asarray(steps, np.int32), np.int32(total)))


@pytest.mark.parametrize("schedule", FALLING)
@pytest.mark.parametrize("n", [10, 1184, 397_000, 100_000_001])
def test_the_count_falls_from_all_to_exactly_what_is_kept(schedule, n):
    for share, total in ((0.5, 8), (0.01, 1000), (1.0, 3)):
        k = max(1, int(n * share))
        found = counts(schedule, n, k, range(total + 3), total)
        assert found[0] == n and (found[total:] == k).all()
        assert (np.diff(found[: total + 1]) <= n * 2**-22).all() and found.min() == k
        done = np.arange(total) / total
        wanted = n - (n - k) * done if schedule == "linear" else n * (k / n) ** done
        assert np.abs(found[:total] - wanted).max() <= 1 + n * 2**-20
    assert counts(schedule, n, n // 2, [0], 0)[0] == n // 2  # A stage without steps.


def test_small_counts_are_rounded_up():
    exact = [10 - Fraction(7 * t, 8) for t in range(9)]
    assert list(counts("linear", 10, 3, range(9), 8)) == [-(-x // 1) for x in exact]
    assert list(counts("exponential", 64, 1, range(7), 6)) == [64, 32, 16, 8, 4, 2, 1]


def test_one_count_for_all_falls_too():
    scores = {"a": np.zeros((3, 5)), "b": None, "c": np.zeros(5)}
    assert int(kept.after("linear", scores, 4, 1, 2)) == 12
    tree = kept.after("linear", scores, {"a": 5, "b": None, "c": 1}, 1, 2)
    assert (int(tree["a"]), tree["b"], int(tree["c"])) == (10, None, 3)
    same = {"a": 5, "b": None, "c": 1}
    assert kept.after("constant", scores, same, 1, 2) is same


def stage(schedule, kind, pruner=None, **change):
    config = dataclasses.replace(tiny.CONFIG, kept_schedule=schedule, **change)
    problem = tiny.problem(config, pruner)
    arrays, test = training.lane_data(tiny.dataset())
    task = training.lane_task(problem, training.lane_shapes(problem), 3, 0.03, 0.75)
    task = task._replace(key=jax.random.key(task.key))
    origin = alone.jitted(training.initial, problem)(task.key)
    begin = (origin.weights, origin.scores)
    state = alone.jitted(training.start, problem, kind)(task, begin, origin)
    advance = alone.jitted(training.advance, problem, kind)
    return (
        lambda state, step, until: advance(state, task, arrays, step, until, TOTAL),
        state,
        (task, arrays, problem, test),
    )


def ones(mask):
    return [int(np.sum(leaf)) for leaf in jax.tree.leaves(mask)]


@pytest.mark.slow
@pytest.mark.parametrize("kind", [methods.PRUNE, methods.JOINT], ids=lambda kind: kind.name)
@pytest.mark.parametrize("schedule", FALLING)
def test_every_steps_mask_has_its_count_and_the_final_one_what_is_kept(schedule, kind):
    advance, state, (task, arrays, problem, test) = stage(schedule, kind, curves=True)
    assert ones(state.pruner_state.mask) == sorted(tiny.SIZES, reverse=True)
    masks = [state.pruner_state.mask]
    for step in range(TOTAL):
        state = advance(state, step, step + 1)
        wanted = kept.after(schedule, state.scores, task.kept, step + 1, TOTAL)
        assert ones(state.pruner_state.mask) == [int(k) for k in jax.tree.leaves(wanted)]
        masks.append(state.pruner_state.mask)
    assert ones(masks[-1]) == [int(k) for k in jax.tree.leaves(task.kept)]
    outcome = training.finish(
        problem, state.weights, state.scores, state.model_state, task, arrays, test
    )
    tiny.assert_same_bits(outcome.mask, masks[-1])
    # An epoch is scored through the mask of its end, and its changes are between such masks.
    assert state.curve[1] == outcome.validation_right
    changes = dict(zip(curves.NAMES, np.asarray(state.recorded.values), strict=True))
    for name, before in (("epoch_change", masks[4]), ("step_change", masks[7])):
        pairs = zip(jax.tree.leaves(before), jax.tree.leaves(masks[8]), strict=True)
        share = sum(int(np.sum(a != b)) for a, b in pairs) / sum(tiny.SIZES)
        assert changes[name][1] == pytest.approx(share, rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("schedule", FALLING)
def test_slices_of_a_falling_count_do_not_change_a_bit(schedule):
    advance, start, _ = stage(schedule, methods.JOINT, tiny.noisy_edge_popup())
    whole, state, step = advance(start, 0, TOTAL), start, 0
    for until in (1, 5, 6, TOTAL):
        state = advance(state, step, until)
        step = until
    tiny.assert_same_bits(state, whole)


@pytest.mark.slow
def test_a_fixed_mask_keeps_its_count_while_the_weights_move():
    advance, state, (task, *_) = stage("exponential", methods.PERTURB_MASKED)
    for until in (0, 3):
        state = advance(state, 0, until)
        assert ones(state.pruner_state.mask) == jax.tree.leaves(task.kept)


@pytest.mark.slow
def test_a_pruner_without_a_state_sees_the_count_of_its_step():
    # A pruner that carries no mask from step to step selects in each step by what it is given.
    popup = pruners.edge_popup()
    bare = popup._replace(init_state=base.no_state, after_step=base.same_after_step)
    ours, theirs = (
        advance(state, 0, TOTAL)
        for advance, state, _ in (stage("linear", methods.PRUNE, p) for p in (popup, bare))
    )
    assert tiny.largest_difference(ours.scores, theirs.scores) == 0


def test_an_unknown_schedule_is_refused():
    with pytest.raises(ValueError, match="kept_schedule must be one of constant, linear, expon"):
        training.TrainConfig(kept_schedule="cosine")
