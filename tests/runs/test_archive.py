"""Rows in a file that can be committed: what went in comes out, and damage is told."""

import gzip
import json

import pytest

from lth_jax import errors
from lth_jax.runs import archive, results


def run_folder(path, accuracy=0.5):
    path.mkdir()
    (path / "config.json").write_text(json.dumps({"study": "mnist", "git": "abc", "width": 1.0}))
    fields = {"method": "prune", "eps": None, "sparsity": 0.5, "val_accuracy": 0.25}
    fields |= {"test_accuracy": accuracy, "diverged": None, "seconds": 1.5}
    rows = [results.seal(fields | {"seed": seed}) for seed in range(3)]
    results.append(path / "results.jsonl", rows)
    return rows


def test_what_goes_in_comes_out_and_equal_rows_are_equal_bytes(tmp_path):
    rows = run_folder(tmp_path / "run")
    first, again = (tmp_path / f"{name}{archive.SUFFIX}" for name in ("first", "again"))
    for file in (first, again):
        archive.store(tmp_path / "run", file, ["python -m experiments.mnist --seeds=3"])
    assert first.read_bytes() == again.read_bytes()
    commands, config, there = archive.load(first)
    assert there == rows and config["git"] == "abc"
    assert commands == ["python -m experiments.mnist --seeds=3"]
    # More rows later replace the file.
    more = results.seal(rows[0] | {"seed": 9})
    results.append(tmp_path / "run" / "results.jsonl", [more])
    archive.store(tmp_path / "run", first, [])
    assert archive.load(first).rows == [*rows, more]


def test_a_folder_made_again_is_the_folder_that_was(tmp_path):
    run_folder(tmp_path / "run")
    file = tmp_path / f"kept{archive.SUFFIX}"
    archive.store(tmp_path / "run", file, [])
    archive.restore(file, tmp_path / "again")
    for name in ("config.json", "results.jsonl"):
        ours, theirs = ((tmp_path / where / name).read_text() for where in ("again", "run"))
        assert ours == theirs if name.endswith("l") else json.loads(ours) == json.loads(theirs)
    before = (tmp_path / "again" / "results.jsonl").read_bytes()
    with pytest.raises(errors.InputError, match="expected a new folder"):
        archive.restore(file, tmp_path / "again")
    assert (tmp_path / "again" / "results.jsonl").read_bytes() == before


def test_damage_is_one_line_with_the_files_name(tmp_path):
    run_folder(tmp_path / "run")
    file = tmp_path / f"kept{archive.SUFFIX}"
    archive.store(tmp_path / "run", file, [])
    good = file.read_bytes()
    text = gzip.decompress(good)
    for bad, said in (
        (good[:-20], "expected an archive"),
        (b"no gzip", "expected an archive"),
        (gzip.compress(b""), "expected an archive"),
        (gzip.compress(b"[]\n"), "expected an archive"),
        (gzip.compress(b'{"config": {}}\n'), "expected an archive"),
        (
            gzip.compress(text.replace(b'"test_accuracy": 0.5', b'"test_accuracy": 0.6')),
            "as it was",
        ),
        (gzip.compress(text + b"[1]\n"), "expected an archive"),
        (gzip.compress(text + text.splitlines()[-1] + b"\n"), "expected an archive"),
        (gzip.compress(text + json.dumps(results.seal({"seed": 7})).encode()), "an archive"),
    ):
        file.write_bytes(bad)
        with pytest.raises(errors.InputError, match=said) as caught:
            archive.load(file)
        assert str(file) in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(errors.InputError, match="No such file"):
        archive.load(tmp_path / "none")


def test_a_folder_without_rows_is_refused(tmp_path):
    with pytest.raises(errors.InputError, match="expected a run's folder"):
        archive.store(tmp_path, tmp_path / "x.jsonl.gz", [])
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(errors.InputError, match="has no rows"):
        archive.store(tmp_path, tmp_path / "x.jsonl.gz", [])
