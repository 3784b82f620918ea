"""One writer per folder, and a dead one loses the lock."""

import errno
import fcntl
import json
import os
import subprocess
import sys

import pytest
import small_study

from lth_jax import errors
from lth_jax.runs import locks

HOLD = """
import sys, time
from lth_jax.runs import locks
with locks.hold(sys.argv[1]):
    print(flush=True)
    time.sleep(60)
"""


def test_a_lock_is_exclusive_and_a_dead_process_loses_it(tmp_path):
    lock = tmp_path / ".lock"
    command = [sys.executable, "-c", HOLD, str(lock)]
    where = {"cwd": small_study.ROOT, "env": os.environ | {"PYTHONPATH": str(small_study.ROOT)}}
    with subprocess.Popen(command, stdout=subprocess.PIPE, **where) as other:
        other.stdout.readline()
        with pytest.raises(
            errors.RunError, match=rf"in use by process {other.pid} on [^;]+\.$"
        ) as caught:
            locks.hold(lock).__enter__()
        assert caught.value.status == 3
        told = []

        def tell(line):
            told.append(line)
            other.kill()  # As hard as it gets: nothing of its own can tidy up.

        with locks.hold(lock, wait=True, tell=tell):
            assert len(told) == 1 and "waiting" in told[0]
            assert json.loads(lock.read_text())["pid"] == os.getpid()
    with locks.hold(lock):  # It is free again.
        pass


def test_without_flock_a_file_stands_in(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "no locks here")

    monkeypatch.setattr(fcntl, "flock", refuse)
    lock, owner = tmp_path / ".lock", tmp_path / ".lock.owner"
    with locks.hold(lock), pytest.raises(errors.RunError, match=f"process {os.getpid()}"):
        locks.hold(lock).__enter__()
    assert not owner.exists()
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    signature = json.loads(locks._signature())
    owner.write_text(json.dumps(signature | {"pid": dead.pid}))
    with locks.hold(lock):
        assert json.loads(owner.read_text())["pid"] == os.getpid()
    # Another process takes it over between our look and our deed: its lock stays its own.
    is_stale = locks._is_stale

    def slow(file):
        found = is_stale(file)
        if found:
            owner.write_text(json.dumps(signature | {"pid": os.getppid()}))
        return found

    owner.write_text(json.dumps(signature | {"pid": dead.pid}))
    with monkeypatch.context() as patch:
        patch.setattr(locks, "_is_stale", slow)
        with pytest.raises(errors.RunError, match=f"process {os.getppid()}"):
            locks.hold(lock).__enter__()
    assert json.loads(owner.read_text())["pid"] == os.getppid()
    assert [p.name for p in tmp_path.iterdir() if ".owner." in p.name] == []
    owner.write_text(json.dumps(signature | {"host": "elsewhere", "pid": dead.pid}))
    with pytest.raises(errors.RunError, match="on elsewhere"):
        locks.hold(lock).__enter__()
