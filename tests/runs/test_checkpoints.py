"""Checkpoints: bit for bit, whole or not at all, the last two, whatever the clock says."""

import os
import resource
import shutil
import time

import ml_dtypes
import numpy as np
import pytest
import small_study

from lth_jax import errors
from lth_jax.runs import checkpoints


def arrays(seed=0):
    rng = np.random.default_rng(seed)
    return {
        "state.a['b/c']": rng.normal(size=(3, 4)).astype(np.float32),
        "state.n": np.array([np.nan, -0.0, np.inf], np.float32),
        "state.h": rng.normal(size=(2, 2)).astype(ml_dtypes.bfloat16),
        "state.i": np.arange(3, dtype=np.int32),
        "state.m": np.array([True, False]),
        "state.none": np.zeros((3, 0), np.int32),
    }


def test_checkpoints_come_back_bit_for_bit_and_two_are_kept(tmp_path):
    for number in range(4):
        checkpoints.save(tmp_path, {"step": number}, arrays(number))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["000003", "000004"]
    found = list(checkpoints.load(tmp_path))
    assert [meta for meta, _ in found] == [{"step": 3}, {"step": 2}]
    for (_, ours), number in zip(found, (3, 2), strict=True):
        theirs = arrays(number)
        assert list(ours) == list(theirs)
        for name in theirs:
            assert ours[name].dtype == theirs[name].dtype
            assert ours[name].shape == theirs[name].shape
            assert ours[name].tobytes() == theirs[name].tobytes()


def damages(data):
    flipped = bytearray(data)
    flipped[len(data) // 2] ^= 1
    return {"flipped": bytes(flipped), "truncated": data[:-1], "empty": b"", "gone": None}


def test_any_damage_to_a_checkpoint_falls_back_to_the_one_before(tmp_path):
    for number in range(2):
        checkpoints.save(tmp_path, number, arrays(number))
    newest = tmp_path / "000002"
    tried = 0
    for file in sorted(p for p in newest.rglob("*") if p.is_file() and p.stat().st_size):
        whole = file.read_bytes()
        for kind, damaged in damages(whole).items():
            file.unlink() if damaged is None else file.write_bytes(damaged)
            told = []
            (meta, _), *_ = checkpoints.load(tmp_path, told.append)
            assert meta == 0, (file, kind)
            assert len(told) == 1 and "damaged checkpoint" in told[0] and "\n" not in told[0]
            file.write_bytes(whole)
            tried += 1
    assert tried >= 20
    assert next(checkpoints.load(tmp_path))[0] == 1
    for place in tmp_path.iterdir():
        shutil.rmtree(place / "arrays")
    assert list(checkpoints.load(tmp_path)) == []


def test_a_checkpoint_that_does_not_fit_the_disk_leaves_the_others(tmp_path):
    checkpoints.save(tmp_path, 0, arrays())
    before = small_study.tree(tmp_path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    noise = np.random.default_rng(0).normal(size=(300, 300))
    try:
        with pytest.raises(errors.RunError, match="no checkpoint written"):
            checkpoints.save(tmp_path, 1, {"noise": noise})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert small_study.tree(tmp_path) == before


def test_a_clock_that_is_set_back_misleads_nobody(tmp_path, monkeypatch):
    for number in range(3):
        monkeypatch.setattr(time, "time", lambda n=number: 1e9 - 1e6 * n)
        checkpoints.save(tmp_path, number, arrays(number))
        os.utime(tmp_path / f"{number + 1:06d}", (1e9 - 1e6 * number,) * 2)
    assert [meta for meta, _ in checkpoints.load(tmp_path)] == [2, 1]
