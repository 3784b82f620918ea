"""Real processes killed at any moment, stopped by signals, and two of them on one folder."""

import collections
import contextlib
import random
import signal
import subprocess
import time

import pytest
import small_study

from lth_jax.runs import results


def phase(out):
    """What a killed process was at, from what it left."""
    if not (out / "config.json").exists():
        return "starting"
    there = (out / "results.jsonl").exists()
    if there and not (out / "results.jsonl").read_bytes().endswith(b"\n"):
        return "writing a row"
    if (out / "checkpoints" / "unfinished").exists():
        return "saving a checkpoint"
    rows = len(results.read(out / "results.jsonl")[0])
    if rows == 6:
        return "reporting"
    if not (out / "checkpoints").exists():
        return "compiling or in the first slice"
    return "in the first block" if rows == 0 else "between rows and blocks"


def until_it_trains(process):
    """Reads the line that a study prints before its first slice; seconds that it took."""
    begun = time.monotonic()
    assert "lanes" in process.stdout.readline()
    return time.monotonic() - begun


@pytest.mark.slow
def test_killed_at_20_random_moments_nothing_is_lost(tmp_path, say):
    cache = tmp_path / "cache"
    settings = {"checkpoint_minutes": "0", "prune_epochs": "40", "perturb_epochs": "20"}
    for name in ("warm", "plain"):  # The first one fills the cache of compiled programs.
        with small_study.start(tmp_path / name, cache, **settings) as process:
            starting, begun = until_it_trains(process), time.monotonic()
            assert process.wait() == 0, process.stderr.read()
            training = time.monotonic() - begun
    undisturbed = small_study.rows(tmp_path / "plain")
    choose = random.Random(7)
    hit, kills, folders, finished = collections.Counter(), 0, 0, 0
    out = None
    while kills < 20 or out is not None:
        if out is None:
            out, folders = tmp_path / f"run{folders}", folders + 1
        done = small_study.tree(out).get("results.jsonl", b"") if out.exists() else b""
        with small_study.start(out, cache, **settings) as process:
            try:
                # A quarter at any time since the start, the others when there is something to lose;
                # told by what the process says, not by the clock alone, as the machine may be busy.
                if choose.random() < 0.25:
                    limit = choose.uniform(0, starting + training)
                else:
                    until_it_trains(process)
                    limit = choose.uniform(0, training)
                status = process.wait(limit if kills < 20 else None)
                assert status == 0, process.stderr.read()
                assert "Traceback" not in process.stderr.read()
                assert small_study.rows(out) == undisturbed
                out, finished = None, finished + 1
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
                kills += 1
                hit[phase(out) if out.exists() else "starting"] += 1
        if out is not None and out.exists():  # No finished byte was touched.
            now = small_study.tree(out).get("results.jsonl", b"")
            assert now.startswith(done[: done.rfind(b"\n") + 1])
    say(
        f"{kills} kills, {finished} folders finished: {dict(hit)}; "
        f"undisturbed {starting:.1f} s to start and {training:.1f} s to run"
    )
    assert finished == folders and len(hit) >= 3


@pytest.mark.slow
def test_a_signal_to_a_real_process_ends_it_with_a_word(tmp_path):
    names = {"SIGINT": 130, "SIGTERM": 143}
    with contextlib.ExitStack() as stack:
        processes = {}
        for name in names:
            long = {"prune_epochs": "20000", "checkpoint_minutes": "0"}
            process = stack.enter_context(small_study.start(tmp_path / name, **long))
            stack.callback(process.kill)
            processes[name] = process
        for name, process in processes.items():
            checkpoint = tmp_path / name / "checkpoints" / "000001"
            wait_for(checkpoint.exists, process)  # It trains.
            process.send_signal(getattr(signal, name))
        for name, process in processes.items():
            assert process.wait(60) == names[name]
            assert process.stderr.read() == f"stopped by {name}: the same command continues\n"


@pytest.mark.slow
def test_of_two_processes_on_a_folder_one_leaves_or_waits(tmp_path):
    with small_study.start(tmp_path, prune_epochs="200") as first:
        wait_for(lambda: (tmp_path / "config.json").exists(), first)
        with small_study.start(tmp_path, prune_epochs="200", lock="wait") as third:
            with small_study.start(tmp_path, prune_epochs="200") as second:
                assert second.wait() == 3
                error = second.stderr.read()
                assert "in use by process" in error and error.count("\n") == 1
            assert first.wait() == 0
            assert third.wait() == 0
            assert "waiting for it" in third.stderr.read()
            assert "6 lanes, 0 to run" in third.stdout.read()


def wait_for(condition, process):
    while not condition():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
