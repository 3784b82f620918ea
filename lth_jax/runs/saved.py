"""Snapshots of a run in its folder: what a killed run goes on from."""

import pathlib
from collections.abc import Callable, Iterator

from lth_jax import errors
from lth_jax.runs import checkpoints
from lth_jax.sweep import snapshots


def load(
    places: list[pathlib.Path], run: str, tell: Callable[[str], None]
) -> Iterator[snapshots.Snapshot]:
    """The newest good snapshot of each folder of checkpoints.

    Args:
        places: Folders of checkpoints.
        run: What they must belong to, see folder.settings_digest.
        tell: Gets one line for each that is passed over.

    Yields:
        Snapshots.
    """
    for place in places:
        for meta, arrays in checkpoints.load(place, tell):
            try:
                # Rows may be deleted by hand to begin anew with other settings: these stay.
                if meta["run"] != run:
                    tell(f"{place}: checkpoint of other settings passed over")
                    continue
                yield snapshots.from_stored(meta, arrays)
            except (KeyError, TypeError):
                tell(f"{place}: checkpoint of another version passed over")
                continue
            break


def save(
    place: pathlib.Path,
    run: str,
    snapshot: snapshots.Snapshot | None,
    tell: Callable[[str], None],
) -> None:
    """Writes a checkpoint; one that cannot be written is told, for it is no reason to stop.

    Args:
        place: Folder of checkpoints.
        run: What it belongs to.
        snapshot: None if there is nothing to save.
        tell: Gets one line if it could not be written.
    """
    if snapshot is None:
        return
    meta, arrays = snapshots.to_stored(snapshot)
    try:
        checkpoints.save(place, meta | {"run": run}, arrays)
    except errors.RunError as error:
        tell(str(error))
