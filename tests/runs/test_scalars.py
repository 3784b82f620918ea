"""What TensorBoard reads back: a lane's epochs, each once, however often a run goes on."""

import sys

import pytest
import small_study
from tensorboardX import SummaryWriter
from tensorboardX.proto import event_pb2

import lth_jax
from lth_jax.runs import scalars

ROW = {"method": "joint", "eps": 0.02, "sparsity": 0.5, "seed": 3}
ROW |= {"val_curve": [0.5, 0.75, None], "train_loss_curve": [2.0, 1.0, None]}
OTHER = ROW | {"eps": "inf", "sparsity": None, "val_curve": [], "test_curve": [0.25]}


def read(folder):
    """(lane, name, step, value) of all event files, by their format: length, crc, proto, crc."""
    found = []
    for file in sorted(folder.rglob("events.out.tfevents.*")):
        data = file.read_bytes()
        while data:
            size = int.from_bytes(data[:8], "little")
            event = event_pb2.Event.FromString(data[12 : 12 + size])
            for value in event.summary.value:
                found.append((file.parent.name, value.tag, event.step, value.simple_value))
            data = data[16 + size :]
    return found


FIRST = [
    ("joint_eps-0.02_sparsity-0.5_seed-3", name, step, value)
    for name, values in (("validation/accuracy", (0.5, 0.75)), ("train/loss", (2.0, 1.0)))
    for step, value in enumerate(values, 1)
]


def test_each_epoch_of_a_lane_is_there_once(tmp_path):
    scalars.write(tmp_path, [ROW])
    assert read(tmp_path) == FIRST
    (lane,) = (tmp_path / "tensorboard").iterdir()
    before = {file: file.stat().st_mtime_ns for file in lane.iterdir()}
    scalars.write(tmp_path, [ROW, OTHER])  # As a run that goes on.
    assert {file: file.stat().st_mtime_ns for file in lane.iterdir()} == before
    added = "joint_eps-inf_seed-3"
    assert [entry for entry in read(tmp_path) if entry[0] != added] == FIRST
    steps = [entry[1:] for entry in read(tmp_path) if entry[0] == added]
    assert steps == [("test/accuracy", 1, 0.25), *(entry[1:] for entry in FIRST[2:])]


def test_what_a_killed_process_left_is_not_taken_for_whole(tmp_path, monkeypatch):
    def killed(self, *given):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(SummaryWriter, "add_scalar", killed)
        scalars.write(tmp_path, [ROW])
    assert read(tmp_path) == []
    scalars.write(tmp_path, [ROW])
    assert read(tmp_path) == FIRST


def test_a_full_disk_is_one_line(tmp_path):
    (tmp_path / "tensorboard").touch()  # Not a folder.
    with pytest.raises(lth_jax.RunError, match="tensorboard.*: Not a directory.$"):
        scalars.write(tmp_path, [ROW])


def test_without_tensorboardx_there_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(ValueError, match=r"which is not installed: pip install tensorboardX"):
        scalars.check()


@pytest.mark.slow
def test_a_study_that_goes_on_adds_its_new_lanes_and_those_of_before(tmp_path):
    given = {"method": "prune", "perturb_epochs": "0"}
    assert small_study.main(tmp_path, seeds=1, **given) == 0
    assert not (tmp_path / "tensorboard").exists()
    for seeds in (2, 2):
        assert small_study.main(tmp_path, seeds=seeds, tensorboard="true", **given) == 0
    rows = small_study.rows(tmp_path)
    lane = "prune_sparsity-0.5_seed-{}"
    expected = [
        (lane.format(row["seed"]), name, epoch, pytest.approx(value, rel=1e-6))
        for row in rows
        for field, name in (
            ("val_curve", "validation/accuracy"),
            ("train_loss_curve", "train/loss"),
        )
        for epoch, value in enumerate(row[field], 1)
    ]
    assert len(rows) == 2 and len(expected) == 8
    assert sorted(read(tmp_path)) == sorted(expected, key=lambda entry: entry[:3])
