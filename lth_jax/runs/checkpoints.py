"""Checkpoints on disk: arrays by orbax, whole or not at all, checked bit by bit when read.

A checkpoint is a folder that gets its name only when it is complete; the last two are kept. Every
file's SHA-256 is in it, because a flipped bit in a compressed array may well decompress.
"""

import contextlib
import hashlib
import json
import os
import pathlib
import shutil
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from lth_jax import errors, files

KEPT = 2
_ROOM = 1 << 16  # bytes that a checkpoint takes beside its arrays
_META, _SUMS, _ARRAYS, _UNFINISHED = "meta.json", "sums.json", "arrays", "unfinished"


def save(folder: str | os.PathLike[str], meta: Any, arrays: Mapping[str, np.ndarray]) -> None:
    """Adds a checkpoint and drops all but the last two.

    Args:
        folder: Holds the checkpoints of one process; made if need be. The numbers in it count up,
            so that a clock that is set back misleads nobody.
        meta: What JSON can hold.
        arrays: NumPy arrays of any shape and dtype, by any names.

    Raises:
        RunError: If it cannot be written. What was there before is as it was.
    """
    from orbax import checkpoint as orbax  # Takes half a second: only who saves pays it.

    folder = pathlib.Path(folder).absolute()
    unfinished = folder / _UNFINISHED
    names = list(arrays)
    # orbax refuses arrays without entries, and names are safest when they are plain.
    tree = {f"a{i}": arrays[name] for i, name in enumerate(names) if arrays[name].size}
    empty = {name: [list(a.shape), a.dtype.name] for name, a in arrays.items() if not a.size}
    try:
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        _reserve(unfinished, _ROOM + sum(array.nbytes for array in arrays.values()))
        with orbax.PyTreeCheckpointer() as writer:
            writer.save(unfinished / _ARRAYS, tree)
        text = json.dumps({"names": names, "empty": empty, "meta": meta})
        (unfinished / _META).write_text(text)
        sums = {str(file.relative_to(unfinished)): _sum(file) for file in _files(unfinished)}
        (unfinished / _SUMS).write_text(json.dumps(sums))
        for file in _files(unfinished):
            _sync(file)
        there = _numbers(folder)
        os.rename(unfinished, folder / f"{max(there, default=0) + 1:06d}")
        _sync(folder)
    except Exception as error:  # orbax passes on what its storage library raises for a full disk.
        shutil.rmtree(unfinished, ignore_errors=True)
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:200]
        raise errors.RunError(f"{folder}: no checkpoint written: {reason}") from None
    for number in there[: -KEPT + 1 or None]:
        shutil.rmtree(folder / f"{number:06d}", ignore_errors=True)


def load(
    folder: str | os.PathLike[str], tell: Callable[[str], None] = lambda line: None
) -> Iterator[tuple[Any, dict[str, np.ndarray]]]:
    """Reads a folder's checkpoints, the newest first; a damaged one is told and passed over.

    Args:
        folder: As for save; need not exist.
        tell: Gets one line for each damaged checkpoint.

    Yields:
        (meta, arrays) as they were saved, bit for bit.
    """
    folder = pathlib.Path(folder).absolute()
    for number in reversed(_numbers(folder)):
        place = folder / f"{number:06d}"
        try:
            found = _read(place)
        except Exception as error:  # Whatever the storage library makes of the damage.
            reason = " ".join(str(error).split())[:100]
            tell(f"{place}: damaged checkpoint passed over ({reason})")
            continue
        yield found


def clear(folder: str | os.PathLike[str]) -> None:
    """Deletes a folder of checkpoints, if there is one."""
    shutil.rmtree(folder, ignore_errors=True)


def _read(place: pathlib.Path) -> tuple[Any, dict[str, np.ndarray]]:
    from orbax import checkpoint as orbax

    sums = json.loads(files.read_regular(place / _SUMS, files.MOST_JSON))
    found = {str(file.relative_to(place)): _sum(file) for file in _files(place)}
    found.pop(_SUMS)
    if found != sums:
        odd = sorted(name for name in {*found, *sums} if found.get(name) != sums.get(name))
        raise ValueError(f"{odd[0]} is not what was written")
    stored = json.loads(files.read_regular(place / _META, files.MOST_JSON))
    names, empty = stored["names"], stored["empty"]
    whole = {f"a{i}": name for i, name in enumerate(names) if name not in empty}
    # Said explicitly: as NumPy arrays, whatever devices they came from.
    how = {name: orbax.RestoreArgs(restore_type=np.ndarray) for name in whole}
    with orbax.PyTreeCheckpointer() as reader:
        tree = reader.restore(place / _ARRAYS, restore_args=how)
    arrays = {name: np.zeros(shape, dtype) for name, (shape, dtype) in empty.items()}
    arrays |= {name: tree[plain] for plain, name in whole.items()}
    return stored["meta"], {name: arrays[name] for name in names}


def _reserve(folder: pathlib.Path, size: int) -> None:
    """Raises OSError if so many bytes do not fit: orbax's threads take a full disk badly."""
    place = folder / "room"
    file = os.open(place, os.O_WRONLY | os.O_CREAT)
    try:
        os.posix_fallocate(file, 0, size)
    finally:
        os.close(file)
        place.unlink()


def _numbers(folder: pathlib.Path) -> list[int]:
    with contextlib.suppress(OSError):
        return sorted(int(p.name) for p in folder.iterdir() if p.name.isdecimal())
    return []


def _files(folder: pathlib.Path) -> list[pathlib.Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file())


def _sum(file: pathlib.Path) -> str:
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _sync(path: pathlib.Path) -> None:
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
