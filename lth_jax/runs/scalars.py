"""Learning curves for TensorBoard, in a run's folder: tensorboard/LANE has a lane's epochs.

A lane's curves are written once, whole, when its row is there: so a run that goes on adds lanes and
writes no step twice.
"""

import importlib.util
import os
import pathlib
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

from lth_jax import errors

FOLDER = "tensorboard"
# What a curve of a row is called there.
_NAMES = {
    "val_curve": "validation/accuracy",
    "test_curve": "test/accuracy",
    "train_loss_curve": "train/loss",
}


def check() -> None:
    """Refuses where tensorboardX is missing.

    Raises:
        ValueError: In one line, with the remedy.
    """
    if importlib.util.find_spec("tensorboardX") is None:
        raise ValueError(
            "tensorboard needs tensorboardX, which is not installed: pip install tensorboardX."
        )


def write(folder: pathlib.Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes the curves of rows that have none there yet.

    Args:
        folder: The run's.
        rows: Of finished lanes. Epochs are counted from 1; one without a value is left out.

    Raises:
        RunError: If they cannot be written; the rows are safe.
    """
    try:
        for row in rows:
            place = folder / FOLDER / _lane(row)
            if not place.exists():
                _write_whole(place, row)
    except OSError as error:
        where = error.filename or folder / FOLDER
        raise errors.RunError(f"{where}: {error.strerror or error}.") from None


def _write_whole(place: pathlib.Path, row: Mapping[str, Any]) -> None:
    """Whole or not at all: what a killed process leaves has another name."""
    beside = place.with_name(f".{place.name}.{os.getpid()}")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    try:
        _write_events(beside, row)
        beside.rename(place)
    except OSError:
        if not place.exists():  # Else another process was faster.
            raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _write_events(place: pathlib.Path, row: Mapping[str, Any]) -> None:
    import tensorboardX  # Only where it is asked for.

    with tensorboardX.SummaryWriter(str(place)) as writer:
        for field, name in _NAMES.items():
            for epoch, value in enumerate(row.get(field) or [], 1):
                if value is not None:
                    writer.add_scalar(name, value, epoch)


def _lane(row: Mapping[str, Any]) -> str:
    axes = [f"{n}-{row[n]}" for n in ("eps", "sparsity", "seed") if row[n] is not None]
    return "_".join([row["method"], *axes])
