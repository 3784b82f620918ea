"""Only regular files are read, and never more of them than expected."""

import os
import signal

import pytest

from lth_jax import errors, files, runs, tickets
from lth_jax.tickets import codec


@pytest.fixture(autouse=True)
def in_time():
    """What blocks on a pipe fails here."""

    def late(*_):
        raise AssertionError("blocked")

    signal.signal(signal.SIGALRM, late)
    signal.alarm(10)
    yield
    signal.alarm(0)


def odd_files(folder):
    os.mkfifo(folder / "pipe")
    os.symlink("/dev/zero", folder / "device")
    os.symlink("pipe", folder / "link")
    return [folder / name for name in ("pipe", "device", "link")]


def test_pipes_and_devices_are_refused_in_one_line(tmp_path):
    for path in odd_files(tmp_path):
        for read in (tickets.load, files.read_json):
            with pytest.raises(errors.InputError, match="not a regular file") as caught:
                read(path)
            assert "\n" not in str(caught.value) and path.name in str(caught.value)
    for name in ("config.json", "results.jsonl"):
        folder = tmp_path / f"run of {name}"
        folder.mkdir()
        os.mkfifo(folder / name)
        if name != "config.json":
            (folder / "config.json").write_text("{}")
        with pytest.raises(errors.InputError, match=f"{name} is not a regular file"):
            runs.Folder(folder, {})


def test_no_more_is_read_than_expected(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"12345")
    assert files.read_regular(path, 5) == b"12345"
    assert files.read_regular(path, 5, b"12") == b"12345"
    assert files.read_regular(path, 5, b"21") == b"12"  # No further than its first bytes.
    with pytest.raises(OSError, match="larger than 4 bytes"):
        files.read_regular(path, 4)
    with pytest.raises(OSError, match="directory"):
        files.read_regular(tmp_path, 4)


def test_a_header_is_bounded(tmp_path, monkeypatch):
    content = codec.seal({"a": "x" * 100}, b"")
    (tmp_path / "a").write_bytes(content)
    monkeypatch.setattr(codec, "_HEADER", 50)
    with pytest.raises(errors.InputError, match="header is larger than 50"):
        codec.read(tmp_path / "a")
    with pytest.raises(ValueError, match="at most 50"):
        codec.seal({"a": "x" * 100}, b"")
    monkeypatch.setattr(codec, "_MOST", 60)
    with pytest.raises(errors.InputError, match="larger than 60 bytes"):
        codec.read(tmp_path / "a")
