"""Hostile targets: mutated and forged .npz files to the studies; success or one line."""

import collections
import io
import os
import pickle
import random
import struct
import warnings
import zipfile

import hostile
import numpy as np
import pytest

from experiments import construction, subset_sum
from lth_jax import errors
from lth_jax.theory import targets as targets_of


class _Evil:
    def __reduce__(self):
        return os.system, ("touch evil",)


def network(choose):
    """Two layers from the digits' 64 pixels to 10 classes."""
    rng = np.random.default_rng(choose.randrange(1000))
    return {"a": rng.normal(0, 0.2, (4, 64)), "b": rng.normal(0, 0.2, (10, 4))}


def npz(arrays, compressed=False):
    out = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(out, **arrays)
    return out.getvalue()


def zipped(members, method=zipfile.ZIP_STORED):
    out = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(out, "w", method) as archive:
        warnings.simplefilter("ignore")  # One name twice.
        for name, content in members:
            archive.writestr(name, content)
    return out.getvalue()


def npy(array=None, head=None, body=b"", version=1):
    if head is None:
        out = io.BytesIO()
        np.save(out, array, allow_pickle=True)
        return out.getvalue()
    head = head.encode() + b"\n"
    size = struct.pack("<H" if version == 1 else "<I", len(head))
    return b"\x93NUMPY" + bytes([version, 0]) + size + head + body


HEADS = [
    "{'descr': '<f8', 'fortran_order': False, 'shape': (4, 64)}",  # and no entries
    "{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000, 64)}",
    "{'descr': '<f8', 'fortran_order': False, 'shape': (-4, 64)}",
    "{'descr': '<f8', 'fortran_order': False, 'shape': (10**20, 1)}",
    "{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999999999999, 64)}",
    "{'descr': '<f8', 'fortran_order': False, 'shape': 4}",
    "{'descr': '<f8', 'fortran_order': 'x', 'shape': (4, 64)}",
    "{'descr': 'O', 'fortran_order': False, 'shape': (4, 64)}",
    "{'descr': '<f3', 'fortran_order': False, 'shape': (4, 64)}",
    "{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': (4, 64)}",
    "{'descr': ('<f8', (999999999, 99)), 'fortran_order': False, 'shape': (4, 64)}",
    "{'descr': None, 'fortran_order': False, 'shape': (4, 64)}",
    "__import__('os').system('touch evil')",
    "[1, 2",
    "(" * 9000,
    "{1: 2}",
    "",
]


def odd_arrays(choose):
    whole = network(choose)
    a = whole["a"]
    yield from ({"a": a * factor} for factor in (np.nan, np.inf, 1e308, 1e-320, 1e30, 0))
    yield from (
        {"a": a.astype(kind)} for kind in ("f2", ">f4", "f16", "c8", "i8", "S3", "?", "M8[s]")
    )
    yield from ({"a": part} for part in (a[0], a[:0], a[None], a.T, np.asfortranarray(a), a[0, 0]))
    yield {}
    yield {"a": a, "b": whole["b"].T}
    yield {"é" * 99: a, "../b": whole["b"]}
    yield {str(i): a[:1] for i in range(300)}


def targets(choose):
    """Files that somebody made on purpose."""
    good = npy(network(choose)["a"])
    for array in odd_arrays(choose):
        yield npz(array, choose.random() < 0.5)
    for head in HEADS:
        yield zipped([("a.npy", npy(head=head, version=choose.choice([1, 2, 3, 9])))])
    for name in ("../../evil.npy", "/tmp/evil_lth_jax.npy", "a", "a.npy/", "\x1b[31m.npy", ""):
        yield zipped([(name or "x", good)])
    yield zipped([("a.npy", good), ("a.npy", good[:-8])])
    yield zipped([("a.npy", good)], zipfile.ZIP_LZMA)
    yield zipped([("a.npy", bytes(50_000_000))], zipfile.ZIP_DEFLATED)
    # A size that is said to be larger than any memory, a method that nobody has, a password.
    plain = zipped([("a.npy", good)], zipfile.ZIP_DEFLATED)
    at = plain.index(b"PK\1\2")
    for offset, field in (
        (24, b"\xf0\xff\xff\xff"),
        (10, b"\x63\0"),
        (8, b"\1\0"),
        (42, b"\xff\0"),
    ):
        yield plain[: at + offset] + field + plain[at + offset + len(field) :]
    yield zipped([("a.npy", npy(np.array([_Evil()], object)))])
    yield npy(np.array([_Evil()], object))
    yield pickle.dumps(_Evil())
    yield good


def try_targets(count, seed, sandbox, say):
    choose, counts, bad = random.Random(seed), collections.Counter(), []
    blobs = list(targets(choose))
    made = len(blobs)
    for _ in range(count):
        blob = npz(network(choose), choose.random() < 0.5)
        for _ in range(choose.choice([1, 1, 3])):
            blob = hostile.mutate(choose, blob) or b"\0"
        blobs.append(blob)
    short = {subset_sum: ["--solve", "--n=6", "--eta=0.3", "--highs=0"]}
    short[construction] = ["--dataset=digits", "--eps=0.1", "--eta=0.3", "--width=3"]
    for number, blob in enumerate(blobs):
        file, out = sandbox / "data" / f"{number}.npz", sandbox / "out" / str(number)
        file.write_bytes(blob)
        study = construction if number % 5 == 0 else subset_sum
        ended, wrong = hostile.outcome(study, [*short[study], f"--target={file}", f"--out={out}"])
        counts[ended] += 1
        if wrong:
            bad.append((ended, wrong, number, blob[:80]))
        elif ended == "refused" and out.exists():
            bad.append(("touched", None, number, blob[:80]))
    hostile.check(counts, bad, sandbox, say)
    assert counts["success"] >= 10 and counts["refused"] >= made / 2


@pytest.mark.slow
def test_mutated_targets_end_in_success_or_one_line(sandbox, say):
    try_targets(10, 6, sandbox, say)


@pytest.mark.slow
def test_hundreds_of_mutated_targets_end_in_success_or_one_line(sandbox, say):
    try_targets(200, 7, sandbox, say)


def test_an_archive_that_unpacks_to_too_much_is_refused_unread(tmp_path, monkeypatch):
    monkeypatch.setattr(targets_of, "_MOST_BYTES", 4 * 64 * 8)  # Without the header's 128.
    (tmp_path / "a.npz").write_bytes(npz({"a": np.zeros((4, 64))}, compressed=True))
    monkeypatch.setattr(np.lib.npyio.NpzFile, "__getitem__", None)
    with pytest.raises(errors.InputError, match="it would take more than"):
        targets_of.load(tmp_path / "a.npz")
