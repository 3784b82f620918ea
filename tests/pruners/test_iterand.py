"""Weights that are drawn anew: how many, from what, and that the ball is about the new draws."""

import functools

import alone
import jax
import numpy as np
import pytest
import tiny

import lth_jax
from lth_jax import pruners, training
from lth_jax.sweep import fits, snapshots
from lth_jax.training import methods

TOTAL, EPS = 8, 0.03


@functools.cache
def often():
    """Every second step: in the eight of a tiny stage four times."""
    return pruners.iterand(every=2, chance=0.25)


@functools.cache
def walk(kind):
    """The lane's start, and a function that takes it from one step to another."""
    problem = tiny.problem(tiny.CONFIG, often())
    arrays = jax.device_put(training.lane_data(tiny.dataset())[0])
    task = training.lane_task(problem, training.lane_shapes(problem), 3, EPS, 0.75)
    task = task._replace(key=jax.random.key(task.key))
    origin = alone.jitted(training.initial, problem)(task.key)
    begin = origin.weights, origin.scores
    state = alone.jitted(training.start, problem, kind)(task, begin, origin)
    advance = alone.jitted(training.advance, problem, kind)
    return state, lambda state, step, until: advance(state, task, arrays, step, until, TOTAL)


def by_leaf(*trees):
    return zip(*(jax.tree.leaves(jax.device_get(tree)) for tree in trees), strict=True)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [methods.PRUNE, methods.JOINT], ids=lambda kind: kind.name)
def test_only_pruned_weights_are_drawn_anew_and_the_ball_is_about_the_new_draws(kind):
    start, advance = walk(kind)
    state = start
    for step in range(TOTAL):
        before, state = state, advance(state, step, step + 1)
        mask = state.pruner_state.mask
        parts = (before.center, state.center, state.weights, mask, start.center)
        drawn = 0
        for old, new, w, m, first in by_leaf(*parts):
            changed = old != new
            drawn += changed.sum()
            assert not np.any(changed & m)
            np.testing.assert_array_equal(w[changed], new[changed])  # At the centre.
            assert np.isin(new, first).all()
            moved = np.abs(np.float64(w) - new).max()
            assert moved <= np.float32(EPS) if kind is methods.JOINT else moved == 0
        pruned = sum(tiny.SIZES) * 3 // 4
        expected, deviation = (pruned / 4, (pruned * 3 / 16) ** 0.5) if step % 2 else (0, 0)
        assert abs(drawn - expected) <= 5 * deviation
    if kind is methods.JOINT:
        tiny.assert_same_bits(state.opt_state["weights"][-1].center, state.center)
        (far,) = [max(np.abs(w - c).max() for w, c in by_leaf(state.weights, start.center))]
        assert far > 2 * EPS  # About w_0 it would not hold.


@pytest.mark.slow
@pytest.mark.parametrize("kind", [methods.PRUNE, methods.JOINT], ids=lambda kind: kind.name)
def test_slices_and_a_snapshot_between_draws_do_not_change_a_bit(kind):
    start, advance = walk(kind)
    whole = advance(start, 0, TOTAL)
    half = jax.tree.map(lambda x: jax.numpy.stack([x]), advance(start, 0, 5))
    stored = snapshots.flatten(half, [0])
    back = snapshots.unflatten(jax.eval_shape(lambda: half), [0], stored, [0])
    again = advance(jax.tree.map(lambda x: x[0], back), 5, TOTAL)
    tiny.assert_same_bits(again, whole)


@pytest.mark.slow
def test_rows_certify_the_ball_about_the_new_draws_in_every_method(tmp_path):
    study = lth_jax.Study(
        tiny.own_model(), tiny.dataset(), often(), tiny.CONFIG, tmp_path / "run", keep_tickets=True
    )
    asked = ["prune", "perturb_then_prune", "prune_then_perturb", "joint"]
    result = study.run(asked, seeds=[0], eps=[0.0, EPS], sparsity=[0.75])
    assert len(result.rows) == 7 == len(result.tickets())
    for row in result.rows:
        assert row["max_displacement"] <= np.float32(row["eps"] or 0)
        if row["eps"] == EPS:
            assert 0.5 < row["ball_fraction"] <= 1
    # At ε = 0 every order is `prune`, draws included.
    at_zero = {r["method"]: r["test_accuracy"] for r in result.rows if not r["eps"]}
    assert len({at_zero[name] for name in asked[:-1]}) == 1


def test_methods_in_which_a_centre_would_be_lost_are_refused():
    stage = training.Stage
    for kinds in (
        (methods.PRUNE, methods.JOINT),
        (methods.PERTURB, methods.PERTURB_MASKED),
        (methods.JOINT, methods.PERTURB_MASKED),
        (methods.RANDOMIZE, methods.PERTURB),
    ):
        method = training.Method("mine", tuple(stage(kind, True, True) for kind in kinds))
        assert "not the centre" in fits.refusal(often(), method)
        assert fits.refusal(pruners.edge_popup(), method) is None


@pytest.mark.parametrize("asked", [{"every": 0}, {"chance": 1.5}, {"chance": float("nan")}])
def test_numbers_out_of_range_are_refused(asked):
    with pytest.raises(ValueError, match=f"{next(iter(asked))} must"):
        pruners.iterand(**asked)
