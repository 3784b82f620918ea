"""Hostile input: generated flags and mutated data files; each ends in success or in one line."""

import collections
import contextlib
import gzip
import io
import os
import random
import struct
import sys
import tarfile

import numpy as np
import pytest
import study

from experiments import _cli, digits
from lth_jax import cifar, data

# No epochs: what is tried is what happens before and after training.
SHORT = {"perturb_epochs": "0", "prune_epochs": "0", "seeds": "1", "eps": "0.5", "method": "prune"}
_watch = {"on": False, "allowed": (), "outside": [], "pickled": []}


def _hook(event, arguments):
    """Notes every file that is opened for writing, made, renamed or deleted outside the allowed."""
    if not _watch["on"]:
        return
    if event == "pickle.find_class":
        _watch["pickled"].append(arguments)
    places = []
    if event == "open" and isinstance(arguments[0], str | bytes):
        mode, flags = arguments[1] or "", arguments[2] or 0
        if set(mode) & set("wax+") or flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            places.append(arguments[0])
    elif event in ("os.mkdir", "os.remove", "os.rmdir", "os.truncate", "os.symlink", "os.link"):
        places.append(arguments[0])
    elif event == "os.rename":
        places += arguments[:2]
    for place in places:
        if isinstance(place, str | bytes):
            full = os.path.realpath(os.fsdecode(place))
            if not full.startswith(_watch["allowed"]):
                _watch["outside"].append((event, full))


sys.addaudithook(_hook)


@pytest.fixture
def sandbox(tmp_path, monkeypatch):
    """A home, a cache and a working folder of the test's own, everything else being outside."""
    for name in ("home", "work", "cache", "data"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    # As a study sets it; an earlier test's may still stand.
    monkeypatch.setenv("MPLCONFIGDIR", str(tmp_path / "cache" / "lth_jax" / "matplotlib"))
    monkeypatch.setattr(os, "get_terminal_size", lambda *_: os.terminal_size((100, 30)))
    monkeypatch.chdir(tmp_path / "work")
    import jax

    # What a program may write: the run's folder, the caches, and devices.
    allowed = (tmp_path / "out", tmp_path / "work" / "runs", tmp_path / "cache", "/dev/null")
    compiled = jax.config.jax_compilation_cache_dir
    _watch.update(outside=[], pickled=[])
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


def outcome(argv):
    """The status of main() and what is wrong with the way it ended, if anything."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), watched():
        try:
            status = _cli.main(digits.run, digits.CONFIG, digits.__doc__, argv)
        except BaseException as error:
            return "traceback", f"{type(error).__name__}: {error}"[:300]
    if status == 0:
        return "success", None
    lines = err.getvalue().count("\n")
    if status != 2 or lines != 1 or not err.getvalue().startswith("error: "):
        return f"status {status}, {lines} lines", err.getvalue()[:300]
    return "refused", None


NUMBERS = ["-1", "0", "1", "nan", "inf", "-inf", "1e308", "1e-320", "", " ", "abc", "0x10", "1_0"]
NUMBERS += [
    "9" * 30,
    "-0",
    "٣",
    "1.5",
    "true",
    "None",
    "1e999",
    "--",
    "=",
    "%s",
    "{}",
    "2147483648",
]
WORDS = [
    "",
    "none",
    "../../etc/passwd",
    "a\nb",
    "\x1b[31m",
    "é" * 50,
    "x" * 5000,
    "\udcff",
    "prune",
]
WORDS += ["tensor", "global", "map", "vmap", "digits", "'", "$(id)", "-rf", "*", "a\0b", "std"]
LISTS = [
    ",",
    ",,",
    "0,0",
    "0,",
    ",0",
    "0 1",
    "0;1",
    "[0,1]",
    "0.5,nan",
    "0.5,-1",
    "0,1e400",
    "0.1,inf",
]
LISTS += ["prune,prune", "prune,dense", "dense", "joint,", "all"]


def fields():
    hidden = ("out", "data_dir", "mirror", "dataset", "offline", "distributed", "lock", "progress")
    return [n for n in _cli._fields([digits.CONFIG, _cli.Machine()]) if n not in hidden]


def combination(choose):
    """Flags of a short study, one to three of them replaced by something generated."""
    given = study.FLAGS | SHORT
    for name in choose.sample(fields(), choose.choice([1, 1, 2, 3])):
        given[name] = choose.choice(choose.choice([NUMBERS, WORDS, LISTS]))
    argv = [f"--{name}={value}" for name, value in given.items()]
    if choose.random() < 0.15:
        odd = ["--", "-", "--eps", "---eps=1", "--=3", "stray", "--no", "--eps:1", "--flagfile=x"]
        argv.insert(choose.randrange(len(argv)), choose.choice(odd))
    return argv


def check(counts, bad, sandbox):
    print(
        f"\n{sum(counts.values())} inputs: {dict(counts)}; {len(_watch['outside'])} outside writes"
    )
    assert not bad, bad[:5]
    assert set(counts) <= {"success", "refused"}
    assert _watch["outside"] == [] and _watch["pickled"] == []
    assert list((sandbox / "home").iterdir()) == []
    assert {p.name for p in (sandbox / "work").iterdir()} <= {"runs"}


def try_flags(count, seed, sandbox):
    choose, counts, bad = random.Random(seed), collections.Counter(), []
    for number in range(count):
        argv = [f"--out={sandbox / 'out' / str(number)}", *combination(choose)]
        ended, wrong = outcome(argv)
        counts[ended] += 1
        if wrong:
            bad.append((ended, wrong, argv))
        elif ended == "refused" and (sandbox / "out" / str(number)).exists():
            bad.append(("touched", None, argv))
    check(counts, bad, sandbox)
    assert counts["refused"] > count / 3


def test_generated_flags_end_in_success_or_one_line(sandbox):
    try_flags(12, 1, sandbox)


@pytest.mark.slow
def test_hundreds_of_generated_flags_end_in_success_or_one_line(sandbox):
    try_flags(300, 2, sandbox)


@pytest.mark.slow
def test_generated_flags_to_real_processes(tmp_path):
    choose, counts = random.Random(3), collections.Counter()
    for number in range(8):
        argv = [a for a in combination(choose) if "\0" not in a]
        if number % 4 == 0:  # Few generated ones are good: these are.
            argv = [f"--{n}={v}" for n, v in (study.FLAGS | SHORT).items()]
        out = tmp_path / str(number)
        program = [sys.executable, "-m", "experiments.digits", f"--out={out}", *argv]
        with study.start(out, program=program) as process:
            status = process.wait()
            error = process.stderr.read()
        counts[status] += 1
        assert status in (0, 2), (argv, error)
        assert "Traceback" not in error and (status == 0 or error.count("\n") == 1), (argv, error)
    print(f"\n{sum(counts.values())} processes by status: {dict(counts)}")


SIZES = {"train": 60, "test": 20, "validation": 20}


def idx_bytes(values):
    head = bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
    return head + values.tobytes()


def mnist_files():
    rng = np.random.default_rng(0)
    found = {}
    for stem, count in (("train", SIZES["train"]), ("t10k", SIZES["test"])):
        images = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = rng.integers(0, 10, count, dtype=np.uint8)
        found[f"{stem}-images-idx3-ubyte"] = idx_bytes(images)
        found[f"{stem}-labels-idx1-ubyte.gz"] = gzip.compress(idx_bytes(labels), 1)
    return found


def cifar_files():
    rng = np.random.default_rng(0)

    def records(count):
        pixels = rng.integers(0, 256, (count, 3073), dtype=np.uint8)
        pixels[:, 0] %= 10
        return pixels.tobytes()

    files = {name: records(SIZES["train"] // 5) for name in cifar.TRAIN_FILES}
    return files | {cifar.TEST_FILE: records(SIZES["test"])}


def archive(files, extra=()):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz", compresslevel=1) as tar:
        for info, content in extra:
            tar.addfile(info, io.BytesIO(content))
        for name, content in files.items():
            info = tarfile.TarInfo(f"{cifar.FOLDER}/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def member(name, kind=tarfile.REGTYPE, link="", content=b""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, len(content)
    return info, content


def evil_archives():
    files = cifar_files()
    inside = f"{cifar.FOLDER}/data_batch_1.bin"
    yield "..", archive(files, [member("../../evil", content=b"x")])
    yield "absolute", archive(files, [member("/tmp/evil_lth_jax", content=b"x")])
    yield "link", archive({}, [member(inside, tarfile.SYMTYPE, "/etc/passwd")])
    yield "hard link", archive({}, [member(inside, tarfile.LNKTYPE, "/etc/passwd")])
    yield "device", archive(files, [member("null", tarfile.CHRTYPE)])
    yield "fifo", archive({}, [member(inside, tarfile.FIFOTYPE)])
    yield "many", archive(files, [member(f"f{i}") for i in range(1000)])
    yield "bomb", archive(files, [member("zeros", content=bytes(50_000_000))])
    yield "long member", archive(files | {"data_batch_1.bin": bytes(5_000_000)})
    yield "gzip bomb", gzip.compress(bytes(50_000_000), 1)
    yield "no archive", b"hello"


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


def small_sources(monkeypatch):
    for name in ("mnist", "cifar10"):
        small = data.SOURCES[name]._replace(**SIZES)
        monkeypatch.setitem(data.SOURCES, name, small)


def try_files(count, seed, sandbox):
    choose, counts, bad = random.Random(seed), collections.Counter(), []
    cases = []
    for _ in range(count):
        name = choose.choice(["mnist", "cifar10"])
        files = mnist_files() if name == "mnist" else cifar_files()
        if name == "cifar10" and choose.random() < 0.5:
            files = {cifar.ARCHIVE: archive(files)}
        target = choose.choice(sorted(files))
        cases.append((name, files | {target: mutate(choose, files[target])}))
    cases += [("cifar10", {cifar.ARCHIVE: blob}) for _, blob in evil_archives()]
    for number, (name, files) in enumerate(cases):
        folder, out = sandbox / "data" / str(number), sandbox / "out" / str(number)
        folder.mkdir()
        for file, content in files.items():
            (folder / file).write_bytes(content)
        given = study.FLAGS | SHORT | {"dataset": name, "data_dir": folder, "out": out}
        given |= {"train_size": "0", "offline": "true"}
        ended, wrong = outcome([f"--{n}={v}" for n, v in given.items()])
        counts[ended] += 1
        if wrong:
            bad.append((ended, wrong, name))
        elif ended == "refused" and out.exists():
            bad.append(("touched", None, name))
    check(counts, bad, sandbox)
    assert counts["refused"] >= len(list(evil_archives()))


def test_mutated_data_files_end_in_success_or_one_line(sandbox, monkeypatch):
    small_sources(monkeypatch)
    try_files(6, 4, sandbox)


@pytest.mark.slow
def test_hundreds_of_mutated_data_files_end_in_success_or_one_line(sandbox, monkeypatch):
    small_sources(monkeypatch)
    try_files(150, 5, sandbox)
