"""Hostile data sets: mutated idx files, CIFAR batches and archives; success or one line."""

import collections
import gzip
import io
import random
import struct
import tarfile

import hostile
import numpy as np
import pytest
import small_study

from experiments import digits
from lth_jax.datasets import cifar, registry

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


def small_sources(monkeypatch):
    for name in ("mnist", "cifar10"):
        small = registry.SOURCES[name]._replace(**SIZES)
        monkeypatch.setitem(registry.SOURCES, name, small)


def try_files(count, seed, sandbox, say):
    choose, counts, bad = random.Random(seed), collections.Counter(), []
    cases = []
    for _ in range(count):
        name = choose.choice(["mnist", "cifar10"])
        files = mnist_files() if name == "mnist" else cifar_files()
        if name == "cifar10" and choose.random() < 0.5:
            files = {cifar.ARCHIVE: archive(files)}
        target = choose.choice(sorted(files))
        cases.append((name, files | {target: hostile.mutate(choose, files[target])}))
    evil = list(evil_archives())
    cases += [("cifar10", {cifar.ARCHIVE: blob}) for _, blob in evil]
    for number, (name, files) in enumerate(cases):
        folder, out = sandbox / "data" / str(number), sandbox / "out" / str(number)
        folder.mkdir()
        for file, content in files.items():
            (folder / file).write_bytes(content)
        given = (
            small_study.FLAGS
            | small_study.SHORT
            | {"dataset": name, "data_dir": folder, "out": out}
        )
        given |= {"train_size": "0", "offline": "true"}
        ended, wrong = hostile.outcome(digits, [f"--{n}={v}" for n, v in given.items()])
        counts[ended] += 1
        if wrong:
            bad.append((ended, wrong, name))
        elif ended == "refused" and out.exists():
            bad.append(("touched", None, name))
    hostile.check(counts, bad, sandbox, say)
    assert counts["refused"] >= len(evil)


@pytest.mark.slow
def test_mutated_data_files_end_in_success_or_one_line(sandbox, say, monkeypatch):
    small_sources(monkeypatch)
    try_files(6, 4, sandbox, say)


@pytest.mark.slow
def test_hundreds_of_mutated_data_files_end_in_success_or_one_line(sandbox, say, monkeypatch):
    small_sources(monkeypatch)
    try_files(150, 5, sandbox, say)
