"""Exact resume: snapshots of a grid, and the same command after a signal."""

import dataclasses
import itertools
import shutil
import signal
import time

import compiled
import jax
import numpy as np
import pytest
import quick
import small_study
import tiny

from lth_jax import sweep, training
from lth_jax.runs import checkpoints, results
from lth_jax.sweep import events, plan, rows, snapshots

WANTED = plan.lanes(["perturb_then_prune", "prune"], [0.0, 0.03], [0.5, 0.75], [0, 1])


def grid_of(max_lanes=4, config=tiny.CONFIG):
    # A stochastic pruner: with a deterministic one a resume with wrong keys would pass.
    problem = training.Problem(tiny.own_model(), tiny.noisy_edge_popup(), config)
    with compiled.shared():
        return sweep.Runner(problem, tiny.dataset(), max_lanes=max_lanes, slice_seconds=1e-6)


def finish(runner, wanted=WANTED, done=(), saved=()):
    """Finished events by lane, and the number of slices that took steps."""
    finished, steps = {}, 0
    for event in runner.run(wanted, set(done), saved):
        if isinstance(event, sweep.Finished):
            finished[event.lane] = event
        elif isinstance(event, sweep.Progress):
            steps = event.lane_steps
    return finished, steps


@pytest.fixture(scope="module")
def whole():
    # In slices as they come: where they are cut makes no difference.
    return finish(grid_of())


def interrupted(cut, runner=None, done=()):
    """The lanes finished up to the cut-th slice, and the snapshot there, through a disk."""
    run, finished, slices = (runner or grid_of()).run(WANTED, set(done)), {}, 0
    for event in run:
        if isinstance(event, sweep.Finished):
            finished[event.lane] = event
        slices += isinstance(event, sweep.Progress)
        if slices == cut and isinstance(event, sweep.Progress):
            return finished, run.snapshot()
    raise AssertionError("the grid ended before the cut")


def through_disk(folder, snapshot):
    checkpoints.save(folder, *snapshots.to_stored(snapshot))
    return snapshots.from_stored(*next(checkpoints.load(folder)))


def assert_equal(ours, theirs):
    assert list(ours) == list(theirs)
    for lane in theirs:
        for field in ("center", "weights", "mask"):
            tiny.assert_same_bits(getattr(ours[lane], field), getattr(theirs[lane], field))
        a, b = ours[lane].row, theirs[lane].row
        assert {**a, "seconds": 0} == {**b, "seconds": 0}


# In the middle of the first stage; in a follower, its parent held; in the last block.
@pytest.mark.parametrize("cut, levels, step", [(3, 0, 2), (9, 1, 3), (25, 0, 3)])
def test_k_steps_and_the_rest_are_all_steps_bit_for_bit(tmp_path, whole, cut, levels, step):
    finished, snapshot = interrupted(cut)
    assert len(snapshot.levels) == levels and snapshot.step == step
    snapshot = through_disk(tmp_path, snapshot)
    rest, steps = finish(grid_of(), done=finished, saved=[snapshot])
    assert_equal(finished | rest, whole[0])
    assert steps < whole[1]  # It did go on, and did not start again.


@pytest.mark.slow
def test_a_snapshot_goes_on_with_another_number_of_devices(tmp_path, whole, monkeypatch):
    finished, snapshot = interrupted(9)
    one = jax.local_devices()[:1]
    monkeypatch.setattr(jax, "local_devices", lambda: one)
    rest, steps = finish(grid_of(), done=finished, saved=[through_disk(tmp_path, snapshot)])
    assert steps < whole[1]
    # Bit for bit here, as lanes are mapped one after the other on whatever device. The promise is
    # for rows: equal counts of images but for what rounding may move, 1 in 300.
    assert_equal(finished | rest, whole[0])


def test_a_snapshot_serves_a_grid_that_grew(tmp_path, whole):
    finished, snapshot = interrupted(9)
    wanted = WANTED + plan.lanes(["prune"], [], [0.5], [7])
    rest, _ = finish(grid_of(), wanted, finished, [through_disk(tmp_path, snapshot)])
    for lane, event in (finished | rest).items():
        if lane.seed != 7:
            tiny.assert_same_bits(event.weights, whole[0][lane].weights)
            tiny.assert_same_bits(event.mask, whole[0][lane].mask)


@pytest.mark.slow
def test_nothing_is_known_of_the_lanes_that_a_snapshot_need_not_hold():
    """Their places hold zeros: a divergence, and a curve of more epochs than steps."""
    config = dataclasses.replace(tiny.CONFIG, prune_epochs=6)
    whole, _ = finish(grid_of(config=config))
    done = {lane: event for lane, event in whole.items() if lane.seed == 1}
    finished, snapshot = interrupted(3, grid_of(config=config), done)
    assert snapshot.step and not snapshot.levels
    rest, _ = finish(grid_of(config=config), done=done, saved=[snapshot])
    assert not finished and len(rest) + len(done) == len(whole)
    assert_equal(rest, {lane: whole[lane] for lane in rest})


def test_a_snapshot_from_before_losses_were_kept_goes_on(tmp_path, whole):
    """In a follower's third step of eight: of the epochs that were under way no loss is known."""
    finished, snapshot = interrupted(9)
    meta, arrays = snapshots.to_stored(snapshot)
    for level in meta["levels"]:
        for history in level["histories"]:
            del history["losses"]
    checkpoints.save(tmp_path, meta, {n: a for n, a in arrays.items() if "losses" not in n})
    old = snapshots.from_stored(*next(checkpoints.load(tmp_path)))
    rest, steps = finish(grid_of(), done=finished, saved=[old])
    assert steps < whole[1]
    without = [dict(event.row, seconds=0) for event in (finished | rest).values()]
    curves = [row.pop("train_loss_curve") for row in without]
    expected = [dict(event.row, seconds=0) for event in whole[0].values()]
    known = [row.pop("train_loss_curve") for row in expected]
    assert without == expected
    assert [None, None, known[0][2]] in curves
    for ours, theirs in zip(curves, known, strict=True):
        assert all(a in (None, b) for a, b in zip(ours, theirs, strict=True))


def test_a_snapshot_of_another_program_is_not_used(whole):
    _, snapshot = interrupted(3)
    arrays = {n: a for n, a in snapshot.arrays.items() if "curve" not in n}
    for other in (
        snapshot._replace(arrays=arrays),
        snapshot._replace(nodes=("other",) * len(snapshot.nodes)),
        snapshot._replace(arrays={n: a.astype(np.float16) for n, a in snapshot.arrays.items()}),
    ):
        run = grid_of().run(WANTED, saved=[other])
        first = next(event for event in run if isinstance(event, sweep.Progress))
        assert first.lane_steps == 0 and run.snapshot().step == 0


@pytest.mark.parametrize("name", quick.first(1, ["SIGINT", "SIGTERM"]))
def test_a_signal_saves_and_the_same_command_continues(tmp_path, capsys, monkeypatch, plain, name):
    steps_of = []
    progress = sweep.Progress

    def noticed(*fields):
        if len(steps_of) == 1:  # In the middle of a stage.
            signal.raise_signal(getattr(signal, name))
        steps_of.append(fields)
        return progress(*fields)

    before = signal.getsignal(getattr(signal, name))
    with monkeypatch.context() as patch:
        patch.setattr(events, "Progress", noticed)
        assert small_study.main(tmp_path / "cut") == 128 + getattr(signal, name)
    assert signal.getsignal(getattr(signal, name)) is before
    assert capsys.readouterr().err == f"stopped by {name}: the same command continues\n"
    assert (tmp_path / "cut" / "checkpoints" / "000001").is_dir()
    snapshot = checkpoints.load(tmp_path / "cut" / "checkpoints")
    step = snapshots.from_stored(*next(snapshot)).step
    assert small_study.main(tmp_path / "cut") == 0
    assert f"\na checkpoint was found, {step:,} steps into its stage\n" in capsys.readouterr().out
    assert small_study.rows(tmp_path / "cut") == small_study.rows(plain)
    assert small_study.main(tmp_path / "cut") == 0
    assert "checkpoint" not in capsys.readouterr().out
    assert not (tmp_path / "cut" / "checkpoints").exists()


def test_the_same_command_again_changes_no_byte(tmp_path, capsys):
    assert small_study.main(tmp_path) == 0
    first = capsys.readouterr().out
    before = small_study.tree(tmp_path)
    times = {p: p.stat().st_mtime_ns for p in tmp_path.iterdir() if p.name != ".lock"}
    assert small_study.main(tmp_path) == 0
    assert small_study.tree(tmp_path) == before
    assert {p: p.stat().st_mtime_ns for p in times} == times
    table = first[first.index("accuracy in %") :]
    assert capsys.readouterr().out.endswith(table)


@pytest.mark.slow
def test_more_seeds_are_more_rows(tmp_path, plain):
    shutil.copytree(plain, tmp_path / "grown")
    before = (plain / "results.jsonl").read_bytes()
    assert small_study.main(tmp_path / "grown", seeds=3) == 0
    assert (tmp_path / "grown" / "results.jsonl").read_bytes().startswith(before)
    assert small_study.main(tmp_path / "at_once", seeds=3) == 0
    ours, theirs = small_study.rows(tmp_path / "grown"), small_study.rows(tmp_path / "at_once")
    assert small_study.by_lane(ours) == small_study.by_lane(theirs)


@pytest.mark.slow
def test_a_signal_between_blocks_without_steps_is_heard(tmp_path, capsys, monkeypatch):
    progress = sweep.Progress

    def noticed(*fields):
        signal.raise_signal(signal.SIGTERM)
        return progress(*fields)

    still = {"method": "prune", "prune_epochs": "0", "perturb_epochs": "0"}
    with monkeypatch.context() as patch:
        patch.setattr(events, "Progress", noticed)
        assert small_study.main(tmp_path, **still) == 143
    assert capsys.readouterr().err == "stopped by SIGTERM: the same command continues\n"
    assert not (tmp_path / "results.jsonl").exists()
    assert small_study.main(tmp_path, **still) == 0
    assert len(small_study.rows(tmp_path)) == 2


def test_a_signal_after_the_last_slice_is_heard_and_no_row_is_lost(tmp_path, monkeypatch, plain):
    make, last = rows.make_row, results.lane_of(small_study.rows(plain)[-1])

    def noticed(lane, *others):
        if lane == last:
            signal.raise_signal(signal.SIGINT)
        return make(lane, *others)

    with monkeypatch.context() as patch:
        patch.setattr(rows, "make_row", noticed)
        assert small_study.main(tmp_path) == 130
    assert small_study.rows(tmp_path) == small_study.rows(plain)


@pytest.mark.slow
def test_a_lane_that_diverges_is_recorded_and_never_averaged(tmp_path, capsys):
    # A free lane with an absurd rate overflows; the ball of radius 0 beside it cannot.
    wild = {"method": "perturb_then_prune", "eps": "0,inf", "perturb_lr": "1e30"}
    assert small_study.main(tmp_path, **wild) == 0
    rows = {(r["eps"], r["seed"]): r for r in small_study.rows(tmp_path)}
    for seed in (0, 1):
        assert rows[0.0, seed]["diverged"] is None and rows[0.0, seed]["test_accuracy"] > 0
        # 4 steps of perturbing: seen in the first steps, not only at the end.
        assert 0 <= rows["inf", seed]["diverged"] <= 4
        assert rows["inf", seed]["test_accuracy"] is rows["inf", seed]["val_accuracy"] is None
    summary = (tmp_path / "summary.csv").read_text().splitlines()
    assert summary[2].startswith("perturb_then_prune,inf,0.5,0,2,,,,")
    assert "0 (+2 diverged)" in capsys.readouterr().out
    calm = wild | {"eps": "0", "perturb_lr": "0.01"}
    assert small_study.main(tmp_path / "calm", **calm) == 0
    assert [rows[0.0, seed] for seed in (0, 1)] == small_study.rows(tmp_path / "calm")


@pytest.mark.slow
def test_a_clock_that_runs_backwards_changes_no_row(tmp_path, monkeypatch, plain):
    clock = itertools.count(1e9, -1e4)
    monkeypatch.setattr(time, "time", lambda: next(clock))
    assert small_study.main(tmp_path, checkpoint_minutes="0") == 0
    assert next(clock) < 1e9 - 1e4  # It was asked.
    assert small_study.rows(tmp_path) == small_study.rows(plain)
