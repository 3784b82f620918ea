"""What a page is made of: the rows of runs, from their folders or from archives."""

import json
import os
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

from lth_jax import errors, files, runs
from lth_jax.runs import archive, folder, results


class Source(NamedTuple):
    """The rows of one run."""

    name: str  # the path as it was given
    config: dict[str, Any]  # of config.json
    rows: list[dict[str, Any]]
    commands: list[str]  # that are known to have made the rows; a folder knows none
    folder: pathlib.Path | None  # that may hold tickets

    @property
    def title(self) -> str:
        """What was trained on what."""
        return f"{self.config.get('model')} on {self.config.get('dataset')}"


def read(path: str | os.PathLike[str]) -> Source:
    """Reads a run's folder or an archive of its rows; touches nothing.

    Args:
        path: Of either.

    Raises:
        InputError: One line: there is nothing, it is no run of a grid, it has no rows, or one of
            them is not as it was written.
    """
    place = pathlib.Path(path)
    try:
        source = _of_folder(place) if place.is_dir() else _of_archive(place)
    except OSError as error:
        raise errors.InputError(f"{place}: {error.strerror or error}.") from None
    if not source.rows:
        raise errors.InputError(f"{place}: has no rows.")
    return source


def _of_folder(place: pathlib.Path) -> Source:
    file = place / runs.CONFIG
    if not file.exists():
        raise errors.InputError(f"{place}: expected a run's folder, it has no {runs.CONFIG}.")
    try:
        config = json.loads(files.read_regular(file, files.MOST_JSON))
        made_by = folder.digest_of(config)
    except (ValueError, AttributeError, RecursionError):
        raise errors.InputError(f"{file}: expected the JSON of a run's settings.") from None
    if "dataset" not in config or "model" not in config:
        study = config.get("study")
        raise errors.InputError(f"{place}: holds the study {study!r}, which trains no lanes.")
    rows: dict[Any, dict[str, Any]] = {}
    # Rows that were finished before their turn stand aside until the grid is done.
    for part in (place / runs.RESULTS, *sorted(place.glob(results.ASIDE))):
        for row in results.read(part, made_by)[0]:
            rows.setdefault(runs.lane_of(row), row)
    return Source(str(place), config, list(rows.values()), [], place)


def _of_archive(place: pathlib.Path) -> Source:
    kept = archive.load(place)
    made_by = folder.digest_of(kept.config)
    if any(row.get(results.RUN, made_by) != made_by for row in kept.rows):
        raise errors.InputError(f"{place}: a row was made with other settings than it names.")
    return Source(str(place), kept.config, kept.rows, kept.commands, None)


def together(sources: Sequence[Source]) -> list[Source]:
    """Makes one of those that have the same settings, as the parts of a run kept in archives.

    Args:
        sources: From `read`.

    Returns:
        One for each choice of settings, in the order of the first of each.

    Raises:
        InputError: If a lane is in two of them: then no number of seeds would be right.
    """
    found: dict[str, list[Source]] = {}
    for source in sources:
        found.setdefault(folder.digest_of(source.config), []).append(source)
    return [_one(same) for same in found.values()]


def _one(same: Sequence[Source]) -> Source:
    holders: dict[Any, str] = {}
    for source in same:
        for lane in map(runs.lane_of, source.rows):
            if lane in holders:
                raise errors.InputError(
                    f"{source.name}: holds lanes that {holders[lane]} has, too; give one of them."
                )
        holders |= dict.fromkeys(map(runs.lane_of, source.rows), source.name)
    first = same[0]
    folders = [source.folder for source in same if source.folder is not None]
    return Source(
        ", ".join(source.name for source in same),
        first.config,
        [row for source in same for row in source.rows],
        [command for source in same for command in source.commands],
        folders[0] if folders else None,
    )
