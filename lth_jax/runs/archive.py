"""The rows of finished runs in one small file, with what made them: to be committed and read again.

A gzip file of JSON lines: what is known of the run, then its rows as results.jsonl holds them.
Equal rows give equal bytes.
"""

import gzip
import json
import os
import pathlib
import zlib
from collections.abc import Sequence
from typing import Any, NamedTuple

from lth_jax import errors, files
from lth_jax.runs import folder, results

SUFFIX = ".jsonl.gz"
_MOST = 1 << 28  # bytes after decompression


class Archive(NamedTuple):
    """What `load` returns."""

    commands: list[str]  # that made the rows
    config: dict[str, Any]  # config.json of the run: settings, versions, device, commit, data
    rows: list[dict[str, Any]]


def store(
    run: str | os.PathLike[str], file: str | os.PathLike[str], commands: Sequence[str]
) -> None:
    """Writes a run's rows to an archive; what is there is replaced.

    Args:
        run: The run's folder.
        file: Of the archive; its name should end in SUFFIX.
        commands: That made the rows.

    Raises:
        InputError: If the folder has no rows or no settings, or they are not as they were written.
        RunError: If the archive cannot be written.
    """
    run, file = pathlib.Path(run), pathlib.Path(file)
    try:
        config = json.loads(files.read_regular(run / folder.CONFIG, files.MOST_JSON))
    except (OSError, ValueError) as error:
        raise errors.InputError(f"{run}: expected a run's folder ({error}).") from None
    rows, _ = results.read(run / results.RESULTS)
    if not rows:
        raise errors.InputError(f"{run}: has no rows.")
    lines = [{"commands": list(commands), "config": config}, *rows]
    text = "".join(json.dumps(line, allow_nan=False) + "\n" for line in lines)
    try:
        files.write(file, gzip.compress(text.encode(), mtime=0))
    except OSError as error:
        raise errors.RunError(f"{file}: {error.strerror or error}.") from None


def load(file: str | os.PathLike[str]) -> Archive:
    """Reads an archive.

    Args:
        file: From `store`.

    Raises:
        InputError: If the file is missing or damaged, or a row is not as it was written.
    """
    file = pathlib.Path(file)
    try:
        with files.open_regular(file) as packed, gzip.GzipFile(fileobj=packed) as stream:
            text = files.read_at_most(stream, _MOST)
        about, *rows = map(json.loads, text.splitlines())
        archive = Archive(about["commands"], about["config"], rows)
        sound = all(results.seal(row) == row for row in rows)
        if sound:
            for row in rows:
                results.check(row)
            if len(set(map(results.lane_of, rows))) < len(rows):
                raise ValueError
    except gzip.BadGzipFile:
        raise errors.InputError(f"{file}: expected an archive of rows.") from None
    except OSError as error:
        raise errors.InputError(f"{file}: {error.strerror or error}.") from None
    except (EOFError, zlib.error, ValueError, KeyError, TypeError, AttributeError):
        raise errors.InputError(f"{file}: expected an archive of rows.") from None
    if not sound:
        raise errors.InputError(f"{file}: a row is not as it was written.")
    return archive


def restore(file: str | os.PathLike[str], run: str | os.PathLike[str]) -> None:
    """Makes a run's folder of an archive, so that the run's command goes on there.

    Args:
        file: From `store`.
        run: The folder, which must not hold anything yet.

    Raises:
        InputError: If the archive is bad, or there is something in the folder.
        RunError: If the folder cannot be written.
    """
    run, kept = pathlib.Path(run), load(file)
    try:
        if run.exists() and any(run.iterdir()):
            raise errors.InputError(f"{run}: expected a new folder.")
        run.mkdir(parents=True, exist_ok=True)
        results.append(run / results.RESULTS, kept.rows)
        files.write_json(run / folder.CONFIG, kept.config)
    except OSError as error:
        raise errors.RunError(f"{run}: {error.strerror or error}.") from None
