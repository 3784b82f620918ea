"""What a folder promises: names, rows, locks, checkpoints, and resuming bit for bit (law 8)."""

import errno
import fcntl
import json
import math
import os
import resource
import shutil
import signal
import subprocess
import sys
import time

import jax
import ml_dtypes
import numpy as np
import pytest
import study
import tiny

from lth_jax import checkpoints, errors, grid, locks, plan, results, runs, snapshots

CONFIG = {"study": "s", "eps_unit": "std", "git": "a"}


def row(seed=0, **changed):
    fields = {"method": "prune", "eps": None, "sparsity": 0.5, "seed": seed, "diverged": None}
    return fields | {"val_accuracy": 0.25, "test_accuracy": 0.5, "seconds": 1.0} | changed


def test_identities_are_pinned_and_a_new_defaulted_setting_renames_nothing():
    defaults = {"model": "lenet", "width": 1.0, "eps": math.inf}
    assert runs.identity(defaults, defaults) == "44136fa355"
    other = defaults | {"model": "conv2", "width": 0.5}
    assert runs.identity(other, defaults) == "171835195a"
    grown = {"novel": 3}
    assert runs.identity(other | grown, defaults | grown) == runs.identity(other, defaults)
    assert runs.identity(other | {"novel": 4}, defaults | grown) != runs.identity(other, defaults)


def test_rows_come_back_as_they_were_and_none_is_ever_touched(tmp_path):
    folder = runs.Folder(tmp_path, CONFIG)
    folder.append([row(0), row(1, eps=math.inf, method="joint")])
    before = folder.results.read_bytes()
    again = runs.Folder(tmp_path, CONFIG)
    assert again.done == {plan.Lane("prune", None, 0.5, 0), plan.Lane("joint", math.inf, 0.5, 1)}
    again.append([row(2, val_accuracy=math.nan, test_accuracy=None, diverged=3)])
    assert again.results.read_bytes().startswith(before)
    assert runs.Folder(tmp_path, CONFIG).rows[2]["val_accuracy"] is None


def test_a_torn_last_row_is_run_again_and_the_others_stay(tmp_path):
    folder = runs.Folder(tmp_path, CONFIG)
    folder.append([row(0), row(1)])
    whole = folder.results.read_bytes()
    first = whole.index(b"\n") + 1
    for size in (len(whole) - 1, len(whole) - 9, first + 1):
        folder.results.write_bytes(whole[:size])
        again = runs.Folder(tmp_path, CONFIG)
        assert [r["seed"] for r in again.rows] == [0]
        again.append([row(1)])
        assert again.results.read_bytes() == whole


@pytest.mark.parametrize(
    "old, new, said",
    [
        (b'"test_accuracy": 0.5', b'"test_accuracy": 0.6', "not as it was written"),
        (b'"seed": 1', b'"seed": 0', "not as it was written"),
        (b'"method": "prune"', b'"method": "prone"', "expected a row"),
        (b'{"method"', b'"method"', "expected a row"),
        (b"0.25", b"0.2\xff", "expected a row"),
    ],
)
def test_an_edited_row_is_named_and_nothing_is_touched(tmp_path, old, new, said):
    folder = runs.Folder(tmp_path, CONFIG)
    folder.append([row(1)])
    folder.results.write_bytes(folder.results.read_bytes().replace(old, new))
    before = study.tree(tmp_path)
    with pytest.raises(errors.InputError, match=f"results.jsonl:1: .*{said}"):
        runs.Folder(tmp_path, CONFIG)
    assert study.tree(tmp_path) == before


def test_a_row_that_is_there_twice_is_refused(tmp_path):
    folder = runs.Folder(tmp_path, CONFIG)
    folder.append([row(1)])
    folder.results.write_bytes(2 * folder.results.read_bytes())
    with pytest.raises(errors.InputError, match=r"results.jsonl:2: repeats the lane of line 1"):
        runs.Folder(tmp_path, CONFIG)


def test_a_folder_of_other_settings_is_refused_with_the_difference(tmp_path):
    runs.Folder(tmp_path, CONFIG)
    runs.Folder(tmp_path, CONFIG | {"git": "b", "devices": 7})
    before = study.tree(tmp_path)
    with pytest.raises(errors.InputError, match="eps_unit: 'std' there, 'absolute' now"):
        runs.Folder(tmp_path, CONFIG | {"eps_unit": "absolute"})
    with pytest.raises(errors.InputError, match="more: None there, 1 now"):
        runs.check(tmp_path, CONFIG | {"more": 1})
    assert study.tree(tmp_path) == before
    (tmp_path / "config.json").unlink()
    (tmp_path / "results.jsonl").write_text("")
    with pytest.raises(errors.InputError, match="no config.json"):
        runs.check(tmp_path, CONFIG)


def test_a_full_disk_leaves_the_rows_that_are_there(tmp_path):
    folder = runs.Folder(tmp_path, CONFIG)
    folder.append([row(0)])
    before = folder.results.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 50, limits[1]))
    try:
        with pytest.raises(errors.RunError, match="File too large; the rows that are there"):
            folder.append([row(1)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert folder.results.read_bytes() == before
    assert [r["seed"] for r in folder.rows] == [0]
    folder.append([row(1)])
    assert len(runs.Folder(tmp_path, CONFIG).rows) == 2


HOLD = """
import sys, time
from lth_jax import locks
with locks.hold(sys.argv[1]):
    print(flush=True)
    time.sleep(60)
"""


def test_a_lock_is_exclusive_and_a_dead_process_loses_it(tmp_path):
    lock = tmp_path / ".lock"
    command = [sys.executable, "-c", HOLD, str(lock)]
    where = {"cwd": study.ROOT, "env": os.environ | {"PYTHONPATH": str(study.ROOT)}}
    with subprocess.Popen(command, stdout=subprocess.PIPE, **where) as other:
        other.stdout.readline()
        assert locks.is_held(lock)
        with pytest.raises(errors.RunError, match=f"in use by process {other.pid} on") as caught:
            locks.hold(lock).__enter__()
        assert caught.value.status == 3
        told = []

        def tell(line):
            told.append(line)
            other.kill()  # As hard as it gets: nothing of its own can tidy up.

        with locks.hold(lock, wait=True, tell=tell):
            assert len(told) == 1 and "waiting" in told[0]
            assert json.loads(lock.read_text())["pid"] == os.getpid()
    assert not locks.is_held(lock)


def test_without_flock_a_file_stands_in(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "no locks here")

    monkeypatch.setattr(fcntl, "flock", refuse)
    lock, owner = tmp_path / ".lock", tmp_path / ".lock.owner"
    with locks.hold(lock):
        assert locks.is_held(lock)
        with pytest.raises(errors.RunError, match=f"process {os.getpid()}"):
            locks.hold(lock).__enter__()
    assert not owner.exists()
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    signature = json.loads(locks._signature())
    owner.write_text(json.dumps(signature | {"pid": dead.pid}))
    with locks.hold(lock):
        pass
    owner.write_text(json.dumps(signature | {"host": "elsewhere", "pid": dead.pid}))
    with pytest.raises(errors.RunError, match="on elsewhere"):
        locks.hold(lock).__enter__()


def arrays(seed=0):
    rng = np.random.default_rng(seed)
    return {
        "state.a['b/c']": rng.normal(size=(3, 4)).astype(np.float32),
        "state.n": np.array([np.nan, -0.0, np.inf], np.float32),
        "state.h": rng.normal(size=(2, 2)).astype(ml_dtypes.bfloat16),
        "state.i": np.arange(3, dtype=np.int32),
        "state.m": np.array([True, False]),
        "state.none": np.zeros((3, 0), np.int32),
    }


def test_checkpoints_come_back_bit_for_bit_and_two_are_kept(tmp_path):
    for number in range(4):
        checkpoints.save(tmp_path, {"step": number}, arrays(number))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["000003", "000004"]
    found = list(checkpoints.load(tmp_path))
    assert [meta for meta, _ in found] == [{"step": 3}, {"step": 2}]
    for (_, ours), number in zip(found, (3, 2), strict=True):
        theirs = arrays(number)
        assert list(ours) == list(theirs)
        for name in theirs:
            assert ours[name].dtype == theirs[name].dtype
            assert ours[name].shape == theirs[name].shape
            assert ours[name].tobytes() == theirs[name].tobytes()


def damages(data):
    flipped = bytearray(data)
    flipped[len(data) // 2] ^= 1
    return {"flipped": bytes(flipped), "truncated": data[:-1], "empty": b"", "gone": None}


def test_any_damage_to_a_checkpoint_falls_back_to_the_one_before(tmp_path):
    for number in range(2):
        checkpoints.save(tmp_path, number, arrays(number))
    newest = tmp_path / "000002"
    tried = 0
    for file in sorted(p for p in newest.rglob("*") if p.is_file() and p.stat().st_size):
        whole = file.read_bytes()
        for kind, damaged in damages(whole).items():
            file.unlink() if damaged is None else file.write_bytes(damaged)
            told = []
            (meta, _), *_ = checkpoints.load(tmp_path, told.append)
            assert meta == 0, (file, kind)
            assert len(told) == 1 and "damaged checkpoint" in told[0] and "\n" not in told[0]
            file.write_bytes(whole)
            tried += 1
    assert tried >= 20
    assert next(checkpoints.load(tmp_path))[0] == 1
    for place in tmp_path.iterdir():
        shutil.rmtree(place / "arrays")
    assert list(checkpoints.load(tmp_path)) == []


def test_a_checkpoint_that_does_not_fit_the_disk_leaves_the_others(tmp_path):
    checkpoints.save(tmp_path, 0, arrays())
    before = study.tree(tmp_path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    noise = np.random.default_rng(0).normal(size=(300, 300))
    try:
        with pytest.raises(errors.RunError, match="no checkpoint written"):
            checkpoints.save(tmp_path, 1, {"noise": noise})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert study.tree(tmp_path) == before


WANTED = plan.lanes(["perturb_then_prune", "prune"], [0.0, 0.03], [0.5, 0.75], [0, 1])


@pytest.fixture(autouse=True)
def _slices_of_one_step(monkeypatch):
    monkeypatch.setattr(grid, "_FIRST_SLICE", 1)


def grid_of(max_lanes=4):
    # A stochastic pruner: with a deterministic one a resume with wrong keys would pass.
    problem = tiny.problem(pruner=tiny.noisy_edge_popup())
    return grid.Grid(problem, tiny.dataset(), max_lanes=max_lanes, slice_seconds=1e-6)


def finish(runner, wanted=WANTED, done=(), saved=()):
    """Finished events by lane, and the number of slices that took steps."""
    finished, steps = {}, 0
    for event in runner.run(wanted, set(done), saved):
        if isinstance(event, grid.Finished):
            finished[event.lane] = event
        else:
            steps = event.lane_steps
    return finished, steps


@pytest.fixture(scope="module")
def whole():
    # In slices as they come: where they are cut makes no difference.
    return finish(grid_of())


def interrupted(cut):
    """The lanes finished up to the cut-th slice, and the snapshot there, through a disk."""
    runner, finished, slices = grid_of(), {}, 0
    for event in runner.run(WANTED):
        if isinstance(event, grid.Finished):
            finished[event.lane] = event
            continue
        slices += 1
        if slices == cut:
            return finished, runner.snapshot()
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


def test_a_snapshot_of_another_program_is_not_used(whole):
    _, snapshot = interrupted(3)
    arrays = {n: a for n, a in snapshot.arrays.items() if "curve" not in n}
    for other in (
        snapshot._replace(arrays=arrays),
        snapshot._replace(nodes=("other",) * len(snapshot.nodes)),
        snapshot._replace(arrays={n: a.astype(np.float16) for n, a in snapshot.arrays.items()}),
    ):
        runner = grid_of()
        first = next(iter(runner.run(WANTED, saved=[other])))
        assert first.lane_steps == 0 and runner.snapshot().step == 0


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_saves_and_the_same_command_continues(tmp_path, capsys, monkeypatch, name):
    assert study.main(tmp_path / "plain") == 0
    steps_of = []
    progress = grid.Progress

    def noticed(*fields):
        if len(steps_of) == 1:  # In the middle of a stage.
            signal.raise_signal(getattr(signal, name))
        steps_of.append(fields)
        return progress(*fields)

    before = signal.getsignal(getattr(signal, name))
    with monkeypatch.context() as patch:
        patch.setattr(grid, "Progress", noticed)
        assert study.main(tmp_path / "cut") == 128 + getattr(signal, name)
    assert signal.getsignal(getattr(signal, name)) is before
    assert capsys.readouterr().err == f"stopped by {name}: the same command continues\n"
    assert (tmp_path / "cut" / "checkpoints" / "000001").is_dir()
    assert study.main(tmp_path / "cut") == 0
    assert study.rows(tmp_path / "cut") == study.rows(tmp_path / "plain")
    assert not (tmp_path / "cut" / "checkpoints").exists()


def test_the_same_command_again_changes_no_byte(tmp_path, capsys):
    assert study.main(tmp_path) == 0
    first = capsys.readouterr().out
    before = study.tree(tmp_path)
    times = {p: p.stat().st_mtime_ns for p in tmp_path.iterdir() if p.name != ".lock"}
    assert study.main(tmp_path) == 0
    assert study.tree(tmp_path) == before
    assert {p: p.stat().st_mtime_ns for p in times} == times
    table = first[first.index("accuracy in %") :]
    assert capsys.readouterr().out.endswith(table)


def test_more_seeds_are_more_rows(tmp_path):
    assert study.main(tmp_path) == 0
    before = (tmp_path / "results.jsonl").read_bytes()
    assert study.main(tmp_path, seeds=3) == 0
    assert (tmp_path / "results.jsonl").read_bytes().startswith(before)
    assert study.main(tmp_path / "at_once", seeds=3) == 0
    ours, theirs = study.rows(tmp_path), study.rows(tmp_path / "at_once")
    assert study.by_lane(ours) == study.by_lane(theirs)


@pytest.mark.slow
def test_a_lane_that_diverges_is_recorded_and_never_averaged(tmp_path, capsys):
    # A free lane with an absurd rate overflows; the ball of radius 0 beside it cannot.
    wild = {"method": "perturb_then_prune", "eps": "0,inf", "perturb_lr": "1e30"}
    assert study.main(tmp_path, **wild) == 0
    rows = {(r["eps"], r["seed"]): r for r in study.rows(tmp_path)}
    for seed in (0, 1):
        assert rows[0.0, seed]["diverged"] is None and rows[0.0, seed]["test_accuracy"] > 0
        # 4 steps of perturbing: seen in the first steps, not only at the end.
        assert 0 <= rows["inf", seed]["diverged"] <= 4
        assert rows["inf", seed]["test_accuracy"] is rows["inf", seed]["val_accuracy"] is None
    summary = (tmp_path / "summary.csv").read_text().splitlines()
    assert summary[2].startswith("perturb_then_prune,inf,0.5,0,2,,,,")
    assert "0 (+2 diverged)" in capsys.readouterr().out
    calm = wild | {"eps": "0", "perturb_lr": "0.01"}
    assert study.main(tmp_path / "calm", **calm) == 0
    assert [rows[0.0, seed] for seed in (0, 1)] == study.rows(tmp_path / "calm")


def test_a_clock_that_is_set_back_misleads_nobody(tmp_path, monkeypatch):
    assert study.main(tmp_path / "plain") == 0
    for number in range(3):
        monkeypatch.setattr(time, "time", lambda n=number: 1e9 - 1e6 * n)
        checkpoints.save(tmp_path / "c", number, arrays(number))
        os.utime(tmp_path / "c" / f"{number + 1:06d}", (1e9 - 1e6 * number,) * 2)
    assert [meta for meta, _ in checkpoints.load(tmp_path / "c")] == [2, 1]
    assert study.main(tmp_path / "back") == 0
    assert study.rows(tmp_path / "back") == study.rows(tmp_path / "plain")


def test_results_are_sealed_without_their_seconds():
    sealed = results.seal(row(0))
    assert sealed["check"] == results.seal(row(0, seconds=9.0))["check"]
    assert sealed["check"] != results.seal(row(0, test_accuracy=0.51))["check"]
