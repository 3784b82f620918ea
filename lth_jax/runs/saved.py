"""Snapshots of a run in its folder: what a killed run goes on from.

Each job has a folder of checkpoints of its own there, see jobs.py.
"""

import pathlib
from collections.abc import Callable

from lth_jax import errors
from lth_jax.runs import checkpoints
from lth_jax.sweep import snapshots

PLACES = "checkpoints*"  # folders of checkpoints in a run's


def load(folder: pathlib.Path, run: str, tell: Callable[[str], None]) -> list[snapshots.Snapshot]:
    """The newest good snapshot of each folder of checkpoints.

    Args:
        folder: The run's.
        run: What they must belong to, see folder.settings_digest.
        tell: Gets one line for each that is passed over.

    Returns:
        Snapshots, those that are farthest first.
    """
    found = []
    for place in sorted(folder.glob(PLACES)):
        for meta, arrays in checkpoints.load(place, tell):
            try:
                # Rows may be deleted by hand to begin anew with other settings: these stay.
                if meta["run"] != run:
                    tell(f"{place}: checkpoint of other settings passed over")
                    continue
                found.append(snapshots.from_stored(meta, arrays))
            except (KeyError, TypeError):
                tell(f"{place}: checkpoint of another version passed over")
                continue
            break
    return sorted(found, key=lambda one: (len(one.levels), one.step), reverse=True)


def clear(folder: pathlib.Path) -> None:
    """Deletes all of them: the grid is done."""
    for place in folder.glob(PLACES):
        checkpoints.clear(place)


def save(
    place: pathlib.Path,
    run: str,
    snapshot: snapshots.Snapshot,
    tell: Callable[[str], None],
) -> None:
    """Writes a checkpoint; one that cannot be written is told, for it is no reason to stop.

    Args:
        place: Folder of checkpoints.
        run: What it belongs to.
        snapshot: What to save.
        tell: Gets one line if it could not be written.
    """
    meta, arrays = snapshots.to_stored(snapshot)
    try:
        checkpoints.save(place, meta | {"run": run}, arrays)
    except errors.RunError as error:
        tell(str(error))
