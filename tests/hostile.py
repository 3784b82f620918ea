"""What hostile input may do: end in success or in one line, and write where it was told to.

An audit hook sees every file that Python opens for writing, makes, renames or deletes, and every
name that is unpickled and every program that is started, while it is watching.
"""

import contextlib
import importlib
import io
import os
import sys

import jax

from experiments import cli

_watch = {"on": False, "allowed": (), "outside": [], "pickled": [], "started": []}


def _hook(event, arguments):
    """Notes what happens outside of what is allowed."""
    if not _watch["on"]:
        return
    if event == "pickle.find_class":
        _watch["pickled"].append(arguments)
    started = event in ("os.system", "os.exec", "os.posix_spawn", "pty.spawn")
    if started or (event == "subprocess.Popen" and os.path.basename(arguments[0]) != "git"):
        _watch["started"].append(arguments)
    places = []
    if event == "open" and isinstance(arguments[0], str | bytes):
        mode, flags = arguments[1] or "", arguments[2] or 0
        if set(mode) & set("wax+") or flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            places.append(arguments[0])
    elif event in ("os.remove", "os.rmdir") and arguments[1] >= 0:  # Named within an open folder.
        places.append(os.path.join(os.readlink(f"/proc/self/fd/{arguments[1]}"), arguments[0]))
    elif event in ("os.mkdir", "os.remove", "os.rmdir", "os.truncate"):
        places.append(arguments[0])
    elif event in ("os.symlink", "os.link"):
        places.append(arguments[1])
    elif event == "os.rename":
        places += arguments[:2]
    for place in places:
        if isinstance(place, str | bytes):
            full = os.path.realpath(os.fsdecode(place))
            if not any(full == p or full.startswith(p + os.sep) for p in _watch["allowed"]):
                _watch["outside"].append((event, full))


sys.addaudithook(_hook)


def sandbox(tmp_path, monkeypatch):
    """See the fixture of this name in conftest.py."""
    # When it is first imported, it looks for the system's fonts by a program of the system.
    importlib.import_module("matplotlib.font_manager")
    for name in ("home", "work", "cache", "data"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    # As a study sets it; an earlier test's may still stand.
    monkeypatch.setenv("MPLCONFIGDIR", str(tmp_path / "cache" / "lth_jax" / "matplotlib"))
    monkeypatch.setattr(os, "get_terminal_size", lambda *_: os.terminal_size((100, 30)))
    monkeypatch.chdir(tmp_path / "work")
    # What a program may write: the run's folder, the caches, and devices.
    allowed = (tmp_path / "out", tmp_path / "work" / "runs", tmp_path / "cache", "/dev/null")
    compiled = jax.config.jax_compilation_cache_dir
    _watch.update(outside=[], pickled=[], started=[])
    _watch["allowed"] = tuple(os.path.realpath(p) for p in (*allowed, compiled))
    yield tmp_path
    _watch["on"] = False


@contextlib.contextmanager
def watched():
    _watch["on"] = True
    try:
        yield
    finally:
        _watch["on"] = False


def ending(do):
    """How a call ended, "success" or "refused", and what is wrong with that, if anything."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), watched():
        try:
            status = do()
        except BaseException as error:
            return "traceback", f"{type(error).__name__}: {error}"[:300]
    if status == 0:
        return "success", None
    lines = err.getvalue().count("\n")
    if status != 2 or lines != 1 or not err.getvalue().startswith("error: "):
        return f"status {status}, {lines} lines", err.getvalue()[:300]
    return "refused", None


def outcome(study, argv):
    """The same of a study's main()."""
    config = getattr(study, "CONFIG", None) or study.Config()
    return ending(lambda: cli.main(study.run, config, study.__doc__, argv))


def check(counts, bad, sandbox, say):
    seen = {name: len(_watch[name]) for name in ("outside", "pickled", "started")}
    say(
        f"{sum(counts.values())} inputs: {dict(counts)}; {counts['traceback']} tracebacks, "
        f"{seen['outside']} writes outside, {seen['pickled']} unpickled, "
        f"{seen['started']} programs started"
    )
    assert not bad, bad[:5]
    assert {name for name in counts if counts[name]} <= {"success", "refused"}
    assert not any(seen.values()), _watch
    assert list((sandbox / "home").iterdir()) == []
    assert {p.name for p in (sandbox / "work").iterdir()} <= {"runs"}


def mutate(choose, content):
    """A few bytes, or many, otherwise; may well be harmless."""
    content = bytearray(content)
    kind = choose.randrange(7)
    if kind == 0:
        return bytes(content[: choose.randrange(len(content))])
    if kind == 1:
        return bytes(content) + bytes(choose.randrange(1, 3000))
    if kind == 2:
        return b""
    if kind == 3:
        return bytes(len(content))
    if kind == 4:  # In the head, where it matters.
        content[choose.randrange(min(20, len(content)))] ^= 1 << choose.randrange(8)
    elif kind == 5:
        content[choose.randrange(len(content))] ^= 1 << choose.randrange(8)
    else:
        at = choose.randrange(len(content))
        content[at : at + 8] = choose.randbytes(choose.randrange(16))
    return bytes(content)
