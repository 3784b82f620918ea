"""The time that is left, against runs whose every cost is known."""

import functools

import pytest
import tiny

from lth_jax import sweep
from lth_jax.sweep import pace, plan
from lth_jax.training import methods

STEPS_PER_EPOCH, DEVICES = 100, 2
LANES = plan.lanes(
    ["prune_longer", "perturb_then_prune", "joint"], [0.0, 0.02, 0.05], [0.5, 0.9], range(5)
)


def blocks(lanes=LANES, size=16, done=()):
    return list(plan.in_order(list(plan.blocks(lanes, set(done), size, tiny.CONFIG))))


def steps(stage):
    return stage.steps(tiny.CONFIG, STEPS_PER_EPOCH)


class Costs:
    """Seconds by what they are for; a run of them, in the order of a real one."""

    def __init__(self, step, compiles, node, together=False):
        self.step, self.compiles, self.node, self.together = step, compiles, node, together

    def turns(self, block):
        return 1 if self.together else -(-sum(block.needed) // DEVICES)

    def walk(self, some, slice_steps=25):
        """(seconds since the start, share of lane steps, estimate) after every slice."""
        known, now, taken, seen = pace.Pace(DEVICES, self.together, 50.0), 0.0, 0, []
        whole = sum(sum(b.needed) * steps(b.stage) for b in some)
        for number, block in enumerate(some):
            kind = block.stage.kind
            names = [pace.INITIAL, pace.start_name(kind)]
            names += [pace.advance_name(kind)] if steps(block.stage) else []
            for name in names:
                now += self.compile(known, name)
            at = 0
            while at < steps(block.stage):
                took = min(slice_steps, steps(block.stage) - at)
                seconds = self.step[kind.name] * took * self.turns(block)
                now, at = now + seconds, at + took
                known.add_steps(block, took, seconds)
                taken += took * sum(block.needed)
                seen.append((now, taken / whole, known.left(some[number:], steps, at)))
            if any(block.lanes):
                now += self.compile(known, pace.FINISH) + FINISH
                known.add_finish(FINISH)
            now += self.node * sum(block.needed)
            known.add_around(block, self.node * sum(block.needed))
        return now, seen

    def compile(self, known, name):
        if name in known.compiled:
            return 0.0
        known.compiled[name] = self.compiles.get(name, 1.0)
        return known.compiled[name]


FINISH = 0.4  # seconds
STEP = {"prune": 1e-3, "perturb": 0.7e-3, "joint": 1.2e-3}


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize(
    "compiles",
    [{}, {"advance_prune": 4.0, "advance_perturb": 3.0, "advance_joint": 5.0}],
    ids=["short", "long"],
)
def test_from_a_third_on_the_time_left_is_within_a_quarter(compiles, together):
    end, seen = Costs(STEP, compiles, 0.01, together).walk(blocks())
    checked = 0
    for now, share, left in seen:
        if share >= 1 / 3 and end - now > 1:
            assert left == pytest.approx(end - now, rel=0.25), share
            checked += 1
    assert checked > 10


def test_once_all_kinds_are_known_it_is_exact():
    some = blocks()
    end, seen = Costs(STEP, {}, 0.0).walk(some)
    last = [(end - now, left) for now, share, left in seen if share > 0.9]
    assert last and all(left == pytest.approx(true, abs=1e-9) for true, left in last)


def test_what_has_not_run_counts_as_what_is_most_alike():
    known = pace.Pace(1, False, 20.0)
    one = functools.partial(plan.lanes, eps=[0.1], sparsity=[0.5])
    perturb, prune = blocks(one(["perturb_then_prune"]))
    (joint,) = blocks(one(["joint"]))
    assert known.left([joint], steps, 0) is None
    known.compiled |= {"start_perturb": 0.0, "advance_perturb": 5.0, "finish": 0.0}
    known.add_steps(perturb, 10, 10.0)
    assert known.left([prune], steps, 0) == 200 * 1.0 + 5.0 + 20 * 1.0
    known.add_finish(8.0)
    assert known.left([prune], steps, 0) == 200 * 1.0 + 5.0 + 8.0
    known.compiled |= {"start_prune": 0.5, "advance_prune": 7.0}
    known.add_steps(prune, 10, 30.0)
    # joint has a mask and moves scores, as prune does.
    assert known.left([joint], steps, 0) == 300 * 3.0 + 7.5 + 8.0
    assert known.left([prune], steps, 150) == 50 * 3.0 + 8.0


def test_lanes_of_a_device_take_turns_unless_they_step_together():
    for together, turns in ((False, 4), (True, 1)):
        known = pace.Pace(DEVICES, together, 0.0)
        full, single = blocks(plan.lanes(["prune_longer"], [], [0.5], range(8)), 7)
        assert [sum(block.needed) for block in (full, single)] == [7, 1]
        known.add_steps(full, 10, 10.0)
        assert known.left([single], steps, 0) == 300 / turns


@pytest.mark.slow
def test_a_run_tells_what_it_compiles_its_lanes_and_the_time_left():
    runner = sweep.Runner(tiny.problem(), tiny.dataset(), "map", 4, 0.05)
    wanted = plan.lanes(["joint"], [0.03], [0.5], range(4))
    events = list(runner.run(wanted))
    about = [e.program for e in events if isinstance(e, sweep.Compiling)]
    assert about == ["initial", "start_joint", "advance_joint", "finish"]
    assert [e.program for e in events if isinstance(e, sweep.Compiled)] == about
    foreseen = [e.expected for e in events if isinstance(e, sweep.Compiling)]
    assert foreseen[:-1] == [0.0] * 3 and foreseen[-1] > 0  # Nothing alike was known before.
    assert all(e.seconds > 0 for e in events if isinstance(e, sweep.Compiled))
    slices = [e for e in events if isinstance(e, sweep.Progress)]
    assert slices[0].left is None and slices[-1].left >= 0
    # None while compiling, then one of each lane: a caller who wants to stop is soon asked.
    assert [e.lane_steps for e in slices[:2]] == [0, 4]
    assert {e.all_lanes for e in slices} == {4}
    again = list(runner.run(wanted, done=wanted[:2]))
    assert not [e for e in again if isinstance(e, sweep.Compiling)]
    assert [e.all_lanes for e in again if isinstance(e, sweep.Progress)][0] == 2
    assert methods.JOINT in runner.pace(4).slices
