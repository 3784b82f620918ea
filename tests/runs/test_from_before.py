"""Folders and tickets that the first version (commit 8ccaaaf) left are continued, not lost.

Made with jax 0.10.2 by `python -m experiments.digits` and the flags below; the second folder was
stopped by a signal after its sixth slice.
"""

import json
import math
import pathlib
import shutil

import jax
import pytest

import lth_jax
from experiments import digits
from experiments.cli import flags
from lth_jax import runs, sweep, tickets

FOLDERS = pathlib.Path(__file__).parent / "from_8ccaaaf"
SHARED = [
    "--train_size=128",
    "--batch_size=32",
    "--width=0.05",
    "--sparsity=0.5",
    "--perturb_epochs=1",
    "--prune_epochs=2",
    "--max_lanes=2",
    "--eps=0.03",
]
FINISHED = [*SHARED, "--method=prune,dense,joint", "--seeds=1", "--keep_tickets"]
INTERRUPTED = [*SHARED, "--method=perturb_then_prune,prune", "--seeds=2"]


def continued(monkeypatch, tmp_path, name, argv, events):
    """Runs the command of a folder on a copy of it, under the versions that it names."""
    shutil.copytree(FOLDERS / name, tmp_path / name)
    stored = json.loads((FOLDERS / name / "config.json").read_text())
    environment = runs.environment()
    monkeypatch.setattr(
        runs,
        "environment",
        lambda: environment | {n: stored[n] for n in environment if n in stored},
    )
    (config,) = flags.read([*argv, f"--out={tmp_path / name}"], [digits.CONFIG], {})
    study = config.make_study("digits", events.append)
    with study.hold():
        return study.fill(config.lanes(), events.append)


def test_a_finished_folder_is_read_and_no_row_is_touched(monkeypatch, tmp_path):
    events = []
    result = continued(monkeypatch, tmp_path, "finished", FINISHED, events)
    assert events == [lth_jax.Started(3, 0, "map", 2)]
    before = (FOLDERS / "finished" / "results.jsonl").read_bytes()
    assert (tmp_path / "finished" / "results.jsonl").read_bytes() == before
    # Where a method itself leaves the weights without a bound, null was written.
    assert [row["eps"] for row in result.rows] == [None, None, 0.03]
    lanes = [runs.lane_of(row) for row in result.rows]
    assert [(x.method, x.eps) for x in lanes][:2] == [("prune", None), ("dense", math.inf)]
    assert [cell.eps for cell in result.summary()] == [None, math.inf, 0.03]
    assert len(result.tickets()) == 3


def test_an_interrupted_folder_goes_on_from_its_checkpoint(monkeypatch, tmp_path):
    events = []
    result = continued(monkeypatch, tmp_path, "interrupted", INTERRUPTED, events)
    assert not [event for event in events if isinstance(event, str)]  # Nothing is passed over.
    last = [event for event in events if isinstance(event, sweep.Progress)][-1]
    assert 0 < last.all_lane_steps < 2 * 4 + 4 * 8
    assert len(result.rows) == 4 and all(row["diverged"] is None for row in result.rows)


@pytest.mark.parametrize("file", sorted((FOLDERS / "finished" / "tickets").iterdir()), ids=str)
def test_its_tickets_load_or_say_why_not(file):
    stored = json.loads((FOLDERS / "finished" / "config.json").read_text())["jax"]
    try:
        kept = tickets.load(file)
    except lth_jax.InputError as error:  # Normal draws differ between versions of jax.
        assert jax.__version__ != stored and "draws other initial weights" in str(error)
    else:
        assert kept.header["init"]["model"] == "lenet"
