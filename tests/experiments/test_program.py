"""The program around a study, as a process: signals from its first line on, and odd machines."""

import collections
import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import pytest
import small_study

from experiments.cli import flags, signals
from lth_jax import errors, files
from lth_jax.datasets import idx
from lth_jax.theory import targets


def run(*argv, shell="", study="digits", **environment):
    """A study as a program, after some shell code; nothing may be left of it."""
    command = f'{shell}exec "$@"'
    program = [sys.executable, "-m", f"experiments.{study}", *argv]
    told = {name: value for name, value in (os.environ | environment).items() if value is not None}
    return subprocess.run(
        ["bash", "-c", command, "bash", *program],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=small_study.ROOT,
        env=told,
    )


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("--cpu_devices=100000", "error: --cpu_devices must be at most"),
        ("--seeds=1_0", "error: --seeds=1_0: "),
        ("--eps=0,1_0.5", "error: --eps=0,1_0.5: "),
        ("--eps=1e-400", "error: --eps=1e-400: too small"),
        ("--eps=1e400", "error: --eps=1e400: too large"),
    ],
)
def test_numbers_that_would_be_taken_for_others_are_refused(tmp_path, capsys, flag, said):
    assert small_study.main(tmp_path / "out", **dict([flag[2:].split("=", 1)])) == 2
    assert capsys.readouterr().err.startswith(said)
    assert not (tmp_path / "out").exists()


def test_numbers_as_they_are_usually_written_are_read():
    assert flags.parse(tuple[float, ...], "0,-0.0,1e-320,inf,0e-999") == (
        0,
        0,
        1e-320,
        float("inf"),
        0,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("argv", "environment", "status", "said"),
    [
        (["--dataset=mnist", "--data_dir=~nosuchuser/x"], {}, 2, "~nosuchuser"),
        ([], {"JAX_PLATFORMS": "nonsense"}, 2, "JAX_PLATFORMS"),
        (["--width=1e-300"], {}, 2, "width"),
    ],
)
def test_an_odd_setting_is_one_line(tmp_path, argv, environment, status, said):
    ended = run(*argv, f"--out={tmp_path / 'out'}", **environment)
    assert ended.returncode == status and ended.stdout == ""
    (line,) = ended.stderr.splitlines()
    assert line.startswith("error: ") and said in line
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_closed_standard_output_is_one_line(tmp_path):
    ended = run(f"--out={tmp_path / 'out'}", shell="exec 1>&-; ")
    assert ended.returncode == 1
    assert ended.stderr == "error: standard output is closed.\n"
    assert not (tmp_path / "out").exists()


def test_without_a_home_there_is_no_cache_folder(monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)

    def lost():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(pathlib.Path, "home", lost)
    with pytest.raises(errors.InputError, match="XDG_CACHE_HOME"):
        files.cache_folder()


@pytest.mark.slow
@pytest.mark.parametrize("home", [None, "/"])
def test_a_user_whom_the_system_does_not_know_has_the_study_or_one_line(home):
    """A process of user 12345 without HOME, or with one that is not his, as in a container."""
    setpriv = shutil.which("setpriv")
    if os.geteuid() != 0 or setpriv is None:
        pytest.skip("only root can become another user, and with setpriv")
    python = [setpriv, "--reuid=12345", "--regid=12345", "--clear-groups", sys.executable]
    left = ("HOME", "XDG_CACHE_HOME", "MPLCONFIGDIR", "USER", "LOGNAME")
    told = {name: value for name, value in os.environ.items() if name not in left}
    told |= {"PYTHONPATH": str(small_study.ROOT)} | ({} if home is None else {"HOME": home})

    def ended(*command):
        return subprocess.run(
            [*python, *command], cwd=place, env=told, timeout=120, capture_output=True, text=True
        )

    with tempfile.TemporaryDirectory() as place:
        os.chown(place, 12345, 12345)
        if ended("-c", "import jax, experiments").returncode:
            pytest.skip("another user may not run this Python, or read this checkout")
        few = small_study.flags("out", **small_study.SHORT, compile_cache="true")
        done = ended("-m", "experiments.digits", *few)
        assert (done.returncode, done.stderr) == (0, "") and "results.jsonl" in done.stdout
        assert set(os.listdir(place)) == {"out"}
        done = ended("-m", "experiments.mnist", "--out=none")
        assert done.returncode == 2 and done.stderr.startswith("error: ")
        assert done.stderr.count("\n") == 1 and done.stdout == ""
        assert set(os.listdir(place)) == {"out"}


@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
@pytest.mark.parametrize("name", ["data", "data.gz"])
def test_only_regular_files_are_read(tmp_path, kind, name):
    place = tmp_path / name
    if kind == "pipe":
        os.mkfifo(place)
    elif kind == "device":
        place.symlink_to("/dev/zero")
    else:
        place.mkdir()
    signal.signal(signal.SIGALRM, _late)
    signal.alarm(10)
    try:
        with pytest.raises(errors.InputError, match=name):
            idx.read_file(place, (2, 2), "get it again")
        with pytest.raises(errors.InputError, match=name):
            targets.load(place)
    finally:
        signal.alarm(0)


def _late(*_):
    raise AssertionError("blocked")


def lose(name):
    """A signal whose exception a library swallows, as within a callback."""
    with contextlib.suppress(signals.Stopped):
        signal.raise_signal(getattr(signal, name))


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_that_was_lost_is_raised_when_steps_begin_and_in_the_end(name):
    begun, before = False, signal.signal(signal.SIGHUP, signal.SIG_DFL)  # Also under nohup.
    try:
        with pytest.raises(signals.Stopped, match=name), signals.raised():
            lose(name)
            with signals.deferred():
                begun = True
        assert not begun
        with pytest.raises(signals.Stopped, match=name), signals.raised():
            lose(name)
        with signals.raised():  # What another run lost is of no concern here.
            pass
    finally:
        signal.signal(signal.SIGHUP, before)


def test_what_ignores_a_hangup_goes_on_ignoring_it():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signals.raised():
            signal.raise_signal(signal.SIGHUP)
            with signals.deferred() as pending:
                signal.raise_signal(signal.SIGHUP)
        assert pending.number is None
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.slow
def test_a_signal_at_any_moment_is_one_line_and_its_status(tmp_path, plain, say):
    heard, names = collections.Counter(), ("SIGINT", "SIGTERM", "SIGHUP")
    for index in range(12):
        out, name = tmp_path / str(index), names[index % 3]
        number = getattr(signal, name)
        process = small_study.start(out)
        time.sleep(0.4 + 0.4 * (0.75 * index) ** 1.3)
        process.send_signal(number)
        shown, told = process.communicate(timeout=120)
        if process.returncode == 0:  # It was done before.
            assert "accuracy.png" in shown and told == ""
            continue
        heard[name] += 1
        assert process.returncode == 128 + number, told
        assert told == f"stopped by {name}: the same command continues\n"
        if out.exists() and index % 4 == 3:
            assert small_study.main(out) == 0 and small_study.rows(out) == small_study.rows(plain)
    say(f"stopped, of 4 each: {dict(heard)}")
    assert sum(heard.values()) >= 6 and set(heard) == set(names)
