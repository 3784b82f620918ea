"""Many processes on one folder: the rows of one process, whoever is lost."""

import collections
import contextlib
import json
import os
import signal
import socket
import time

import pytest
import small_study

from lth_jax import training
from lth_jax.runs import parts, results
from lth_jax.sweep import plan

PLAIN = training.TrainConfig()
WANTED = plan.lanes(
    ["perturb_then_prune", "prune_then_perturb", "prune", "dense"], [0.0, 0.1], [0.5, 0.9], range(5)
)


def row(lane, **changed):
    fields = lane._asdict() | {"val_accuracy": 0.25, "test_accuracy": 0.5, "diverged": None}
    return results.seal(fields | changed)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 100])
def test_every_lane_is_dealt_once_and_shared_stages_stay_together(count):
    dealt = [parts.deal(WANTED, parts.Process(i, count), PLAIN) for i in range(count)]
    assert collections.Counter(x for part in dealt for x in part) == collections.Counter(WANTED)
    owner = {}
    for index, part in enumerate(dealt):
        for lane in part:
            root = plan.nodes_of(lane, PLAIN)[0]
            assert owner.setdefault(root, index) == index
    if count <= 4:  # 35 trees of 3 kinds.
        sizes = [sum(o == i for o in owner.values()) for i in range(count)]
        assert max(sizes) - min(sizes) <= 3


def test_parts_merge_into_the_file_that_one_process_writes(tmp_path):
    for index in range(3):
        process = parts.Process(index, 3)
        mine = parts.deal(WANTED, process, PLAIN)[::-1]
        results.append(tmp_path / process.results, [row(lane) for lane in mine])
    parts.merge(tmp_path, WANTED, PLAIN, 4)
    ordered = list(parts._in_order(WANTED, PLAIN, 4))
    assert sorted(ordered, key=str) == sorted(WANTED, key=str) and ordered != WANTED
    assert [results.lane_of(r) for r in results.read(tmp_path / "results.jsonl")[0]] == ordered
    assert [p.name for p in tmp_path.iterdir()] == ["results.jsonl"]


def test_a_merge_that_was_cut_short_is_finished_by_the_next(tmp_path, monkeypatch):
    for index in range(2):
        process = parts.Process(index, 2)
        mine = parts.deal(WANTED, process, PLAIN)
        results.append(tmp_path / process.results, [row(lane) for lane in mine])
    torn = tmp_path / "results.part-0-of-2.jsonl"
    torn.write_bytes(torn.read_bytes()[:-5])
    with monkeypatch.context() as patch:  # Killed after the rows were written.
        patch.setattr("pathlib.Path.unlink", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            parts.merge(tmp_path, WANTED, training.TrainConfig(), 4)
    assert len(list(tmp_path.glob("results.part-*"))) == 2
    parts.merge(tmp_path, WANTED, training.TrainConfig(), 4)
    rows, _ = results.read(tmp_path / "results.jsonl")
    assert len(rows) == len(WANTED) - 1
    assert not list(tmp_path.glob("results.part-*"))


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def started(out, cache, count, **changed):
    """The processes of a job, ended when the test is."""
    coordinator = f"127.0.0.1:{free_port()}"
    shared = {"distributed": "true", "coordinator": coordinator, "processes": str(count)}
    with contextlib.ExitStack() as stack:
        processes = []
        for index in range(count):
            own = shared | changed | {"process": str(index), "cpu_devices": "1"}
            processes.append(stack.enter_context(small_study.start(out, cache, **own)))
            stack.callback(processes[-1].kill)
        yield processes


SETTINGS = {"seeds": "4", "prune_epochs": "40"}


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The rows of one process, on as many devices as there are cores."""
    place = tmp_path_factory.mktemp("alone")
    with small_study.start(place / "run", place / "cache", **SETTINGS) as process:
        assert process.wait() == 0, process.stderr.read()
    return place


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 4])
def test_many_processes_give_the_rows_of_one(tmp_path, alone, count):
    with started(tmp_path, alone / "cache", count, **SETTINGS) as processes:
        for process in processes:
            assert process.wait() == 0, process.stderr.read()
            assert "Traceback" not in process.stderr.read()
    # Every field bit for bit, and the same order; seconds and the number of devices aside.
    assert small_study.rows(tmp_path) == small_study.rows(alone / "run")
    assert not list(tmp_path.glob("results.part-*")) and not list(tmp_path.glob("checkpoints*"))


@pytest.mark.slow
@pytest.mark.parametrize("count, victim", [(2, 0), (4, 3)])
def test_a_lost_process_costs_no_finished_row(tmp_path, alone, count, victim, say):
    # The victim stops when it has a row; the long last stage leaves the time to kill it there.
    settings = SETTINGS | {"max_lanes": "1", "checkpoint_minutes": "0"}
    with started(tmp_path, alone / "cache", count, **settings) as processes:
        part = tmp_path / parts.Process(victim, count).results
        while not part.exists() or not part.stat().st_size:
            assert processes[victim].poll() is None, processes[victim].stderr.read()
            time.sleep(0.01)
        os.kill(processes[victim].pid, signal.SIGKILL)
        finished = [json.loads(x) for x in part.read_bytes().split(b"\n")[:-1]]
        statuses = [process.wait() for process in processes]
        assert statuses[victim] == -signal.SIGKILL
        others = [s for i, s in enumerate(statuses) if i not in (victim, 0)]
        assert all(status == 0 for status in others)
        if victim != 0:
            assert statuses[0] == 1 and "a process was lost" in processes[0].stderr.read()
    kept = [r for file in tmp_path.glob("results*.jsonl") for r in results.read(file)[0]]
    assert all(r in kept for r in finished) and len(kept) < len(small_study.rows(alone / "run"))
    with small_study.start(tmp_path, alone / "cache", **SETTINGS) as process:
        assert process.wait() == 0, process.stderr.read()
    missing = len(small_study.rows(alone / "run")) - len(kept)
    say(f"{count} processes, number {victim} killed: {len(kept)} rows kept, {missing} run later")
    ours, theirs = small_study.rows(tmp_path), small_study.rows(alone / "run")
    assert small_study.by_lane(ours) == small_study.by_lane(theirs)
    assert not list(tmp_path.glob("results.part-*")) and not list(tmp_path.glob("checkpoints*"))


@pytest.mark.slow
def test_when_one_process_cannot_start_all_end_with_a_line(tmp_path, alone):
    (tmp_path / "config.json").write_text("{}")
    with started(tmp_path, alone / "cache", 2, **SETTINGS) as processes:
        assert [process.wait() for process in processes] == [2, 2]
        for process in processes:
            error = process.stderr.read()
            assert "belongs to other settings" in error and error.count("\n") == 1
