"""Faults: full disks, read-only folders, damaged files."""

import errno
import os
import pathlib
import resource
import shutil
import signal
import stat
import tempfile

import jax
import pytest
import small_study

from lth_jax import sweep
from lth_jax.sweep import events


@pytest.fixture
def interrupt(monkeypatch):
    """Makes the study stop itself by SIGTERM after so many slices."""

    def after(count):
        progress, seen = sweep.Progress, []

        def noticed(*fields):
            seen.append(fields)
            if len(seen) == count:
                signal.raise_signal(signal.SIGTERM)
            return progress(*fields)

        monkeypatch.setattr(events, "Progress", noticed)

    yield after


def one_line(capsys, *words):
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and error.endswith("\n"), error
    for word in words:
        assert word in error
    return error


@pytest.fixture
def nothing_compiled_is_kept():
    """Under a limit of file sizes the tests' own compile cache could not be written, either."""
    name = "jax_persistent_cache_min_compile_time_secs"
    before = getattr(jax.config, name)
    jax.config.update(name, 1e9)
    yield
    jax.config.update(name, before)


@pytest.mark.usefixtures("nothing_compiled_is_kept")
def test_a_disk_that_fills_up_costs_no_row(tmp_path, capsys, plain):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))  # Room for three rows of six.
    try:
        assert small_study.main(tmp_path) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    one_line(capsys, "results.jsonl: File too large", "the same command")
    assert 1 <= len(small_study.rows(tmp_path)) < 6
    before = (tmp_path / "results.jsonl").read_bytes()
    assert small_study.main(tmp_path) == 0
    assert (tmp_path / "results.jsonl").read_bytes().startswith(before)
    assert small_study.rows(tmp_path) == small_study.rows(plain)


def test_a_disk_that_is_full_from_the_start_is_no_bad_input(tmp_path, capsys, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        assert small_study.main(tmp_path) == 1
    one_line(capsys, f"--out={tmp_path}: No space left on device")
    assert small_study.tree(tmp_path) == {}


@pytest.mark.slow
def test_a_report_that_fails_leaves_no_checkpoints(tmp_path, capsys, plain):
    (tmp_path / "summary.csv").mkdir()
    assert small_study.main(tmp_path, checkpoint_minutes="0") == 1
    one_line(capsys, "summary.csv", "Is a directory")
    assert small_study.rows(tmp_path) == small_study.rows(plain)
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.usefixtures("nothing_compiled_is_kept")
def test_checkpoints_that_do_not_fit_do_not_end_the_run(tmp_path, capsys, plain):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4500, limits[1]))  # Rows fit, a network does not.
    try:
        small_study.main(tmp_path, checkpoint_minutes="0")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "no checkpoint written" in capsys.readouterr().err
    assert small_study.rows(tmp_path) == small_study.rows(plain)


def test_a_folder_that_cannot_be_written_is_refused(capsys, plain):
    place = pathlib.Path(tempfile.mkdtemp())
    out = place / "run"
    shutil.copytree(plain, out)
    text = (out / "results.jsonl").read_bytes()
    (out / "results.jsonl").write_bytes(text[: text.index(b"\n") + 1])
    (out / ".lock").unlink()
    before = small_study.tree(place)
    for path in (place, out):
        path.chmod(stat.S_IRUSR | stat.S_IXUSR | stat.S_IROTH | stat.S_IXOTH)
    root = os.geteuid() == 0
    if root:  # To root nothing is read-only: be somebody else for a moment.
        os.seteuid(65534)
    try:
        assert small_study.main(out) == 2
        one_line(capsys, f"--out={out}: Permission denied")
        assert small_study.main(place / "new") == 2
        one_line(capsys, "Permission denied")
    finally:
        if root:
            os.seteuid(0)
        for path in (place, out):
            path.chmod(0o755)
    assert small_study.tree(place) == before
    shutil.rmtree(place)


@pytest.mark.parametrize("out", ["/proc/nowhere/x", "/dev/null", "/dev/null/x", "a\0b", "x" * 300])
def test_impossible_folders_are_refused(tmp_path, monkeypatch, capsys, out):
    monkeypatch.chdir(tmp_path)
    assert small_study.main(out) == 2
    one_line(capsys, "--out=")
    assert list(tmp_path.iterdir()) == []


def damage(data, how):
    middle = len(data) // 2
    if how == "flipped":
        return data[:middle] + bytes([data[middle] ^ 4]) + data[middle + 1 :]
    return {"truncated": data[: middle + 3], "empty": b"", "zeros": bytes(len(data))}[how]


@pytest.mark.parametrize("how", ["flipped", "truncated", "empty", "zeros"])
@pytest.mark.parametrize("name", ["results.jsonl", "config.json"])
def test_damaged_files_are_named_or_made_good(tmp_path, capsys, plain, name, how):
    out = tmp_path / "run"
    shutil.copytree(plain, out)
    (out / name).write_bytes(damage((plain / name).read_bytes(), how))
    before = small_study.tree(out)
    status = small_study.main(out)
    if name == "results.jsonl" and how in ("truncated", "empty", "zeros"):
        # Lines that were not written to their end are run again.
        assert status == 0
        assert small_study.rows(out) == small_study.rows(plain)
    else:
        assert status == 2
        one_line(capsys, name if how != "flipped" or name != "config.json" else str(out))
        assert small_study.tree(out) == before


@pytest.mark.slow
@pytest.mark.parametrize("damaged", [1, 2])
def test_damaged_checkpoints_cost_time_and_no_row(tmp_path, capsys, plain, interrupt, damaged):
    interrupt(3)
    assert small_study.main(tmp_path, checkpoint_minutes="0") == 143
    kept = sorted((tmp_path / "checkpoints").iterdir())
    assert len(kept) == 2
    capsys.readouterr()
    for place in kept[-damaged:]:
        file = max((p for p in place.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
        file.write_bytes(damage(file.read_bytes(), "flipped"))
    assert small_study.main(tmp_path) == 0
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == damaged and all("damaged checkpoint passed over" in x for x in lines)
    assert small_study.rows(tmp_path) == small_study.rows(plain)


@pytest.mark.slow
def test_checkpoints_of_other_settings_are_not_used(tmp_path, capsys, plain, interrupt):
    interrupt(3)
    assert small_study.main(tmp_path, perturb_lr="0.5") == 143
    # Who begins anew by `rm FOLDER/*` leaves the folder in it.
    for file in [*tmp_path.glob("*.json*"), *tmp_path.glob(".lock")]:
        file.unlink()
    capsys.readouterr()
    assert small_study.main(tmp_path) == 0
    one_line(capsys, "checkpoint of other settings passed over")
    assert small_study.rows(tmp_path) == small_study.rows(plain)
