"""Adam, and an optimizer of one's own that draws: lanes agree, and resuming is exact."""

import dataclasses
import functools
import itertools

import alone
import optax
import pytest
import tiny

from lth_jax import sweep
from lth_jax.runs import checkpoints
from lth_jax.sweep import plan, snapshots

pytestmark = pytest.mark.slow  # Programs of their own for every optimizer.

PAIRS = {
    "adam_for_both": ("adam", "adam"),
    # Its key is a part of the state that is no array of numbers.
    "noise_and_lion": (functools.partial(optax.noisy_sgd, eta=1e-4), "lion"),
}
WANTED = plan.lanes(["joint"], [0.0, 0.03], [0.5], [0, 1])


def config_of(pair):
    perturb, prune = PAIRS[pair]
    rates = {"perturb_lr": 0.02, "prune_lr": 0.05}
    return dataclasses.replace(
        tiny.CONFIG, perturb_optimizer=perturb, prune_optimizer=prune, **rates
    )


@functools.cache
def runner_of(pair):
    return sweep.Runner(tiny.problem(config_of(pair)), tiny.dataset(), "map", 4, 1e-6)


@functools.cache
def whole(pair):
    events = runner_of(pair).run(WANTED)
    return {event.lane: event for event in events if isinstance(event, sweep.Finished)}


def _first_slice(events):
    return next(event for event in events if isinstance(event, sweep.Progress))


def numbers(row):
    return {name: value for name, value in row.items() if name not in ("seconds", "strategy")}


def assert_equal(ours, theirs):
    for field in ("center", "weights", "mask"):
        tiny.assert_same_bits(getattr(ours, field), getattr(theirs, field))
    assert numbers(ours.row) == numbers(theirs.row)


@pytest.mark.parametrize("pair", PAIRS)
def test_a_lane_alone_has_the_same_bits_and_stays_in_its_ball(pair):
    for lane in WANTED[1::2]:
        event = whole(pair)[lane]
        row, outcome = alone.run(tiny.problem(config_of(pair)), tiny.dataset(), lane)
        tiny.assert_same_bits((event.weights, event.mask), (outcome.weights, outcome.mask))
        assert numbers(event.row) == numbers(row)
        assert row["ball_fraction"] <= 1 and (row["max_displacement"] > 0) == (lane.eps > 0)
        if lane.eps == 0:
            tiny.assert_same_bits(event.weights, event.center)


@pytest.mark.parametrize("pair", PAIRS)
def test_k_steps_and_the_rest_are_all_steps_bit_for_bit(pair, tmp_path):
    run = runner_of(pair).run(WANTED)
    slices = (event for event in run if isinstance(event, sweep.Progress))
    next(itertools.islice(slices, 6, None))
    checkpoints.save(tmp_path, *snapshots.to_stored(run.snapshot()))
    saved = snapshots.from_stored(*next(checkpoints.load(tmp_path)))
    assert 0 < saved.step < 12
    rest = list(runner_of(pair).run(WANTED, (), [saved]))
    assert _first_slice(rest).all_lane_steps == len(WANTED) * (12 - saved.step)  # It did go on.
    finished = [event for event in rest if isinstance(event, sweep.Finished)]
    assert [event.lane for event in finished] == WANTED
    for event in finished:
        assert_equal(event, whole(pair)[event.lane])
