"""Files and JSON: written whole or not at all, read within bounds, the same text for equal values.

Nothing here knows what a file is about; so every part of the library may stand on it.
"""

import errno
import json
import math
import os
import pathlib
import stat
from collections.abc import Collection, Mapping
from typing import Any, BinaryIO, Protocol

from lth_jax import errors

_PIECE = 1 << 20  # bytes
MOST_JSON = 1 << 28  # Bytes of a file of settings or of a table.


def cache_folder() -> pathlib.Path:
    """The user's cache folder of this project: lth_jax in XDG_CACHE_HOME, else in ~/.cache.

    It holds downloads, compiled programs and matplotlib's files.

    Raises:
        InputError: If there is neither.
    """
    try:
        root = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    except RuntimeError:  # No HOME, and no entry in the system's list of users.
        raise errors.InputError(
            "no home folder is known: set XDG_CACHE_HOME to a folder for downloads and caches."
        ) from None
    return pathlib.Path(root) / "lth_jax"


def write(path: str | os.PathLike[str], content: str | bytes) -> None:
    """Writes a file whole or not at all: beside its place first, then renamed.

    Args:
        path: Where it will be. A file that has this content already is left alone.
        content: Text is written as UTF-8.

    Raises:
        OSError: If it cannot be written.
    """
    path = pathlib.Path(path)
    content = content.encode() if isinstance(content, str) else content
    if path.is_file() and path.read_bytes() == content:
        return
    beside = path.with_name(f".{path.name}.unfinished")
    try:
        with open(beside, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


class Readable(Protocol):
    """A binary stream, as far as it is read here."""

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes; none at the end."""


def read_at_most(stream: Readable, limit: int) -> bytes:
    """Reads `limit` bytes of a binary stream, fewer only where it ends."""
    parts, left = [], limit
    while left and (part := stream.read(min(left, _PIECE))):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def read_regular(path: str | os.PathLike[str], limit: int, start: bytes = b"") -> bytes:
    """Reads a regular file: a pipe or a device in its place would block, or never end.

    Args:
        path: Of the file.
        limit: Most bytes that it may have.
        start: What it must begin with to be read on; of others only so much is returned.

    Raises:
        OSError: If it cannot be read, is no regular file, or is larger; `strerror` says which.
    """
    with open_regular(path) as stream:
        content = read_at_most(stream, len(start))
        if content == start:
            content += read_at_most(stream, limit + 1 - len(start))
    if len(content) > limit:
        raise OSError(errno.EFBIG, f"{pathlib.Path(path).name} is larger than {limit} bytes")
    return content


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """Opens a regular file for reading: a pipe or a device would block, or never end.

    Raises:
        OSError: If it cannot be read or is no regular file; `strerror` says which.
    """
    name = pathlib.Path(path).name
    _check_regular(os.stat(path), name)  # Before it is opened, which a device may notice.
    stream = open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")  # noqa: SIM115
    try:
        _check_regular(os.fstat(stream.fileno()), name)
    except OSError:
        stream.close()
        raise
    return stream


def _check_regular(found: os.stat_result, name: str) -> None:
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, f"{name} is not a regular file")


def jsonable(value: Any) -> Any:
    """A value as JSON can hold it: infinity is "inf", other non-finite numbers null."""
    if isinstance(value, float) and not math.isfinite(value):
        return "inf" if value > 0 else None
    if isinstance(value, Mapping):
        return {name: jsonable(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(entry) for entry in value]
    return value


def canonical_json(value: Any) -> str:
    """A value as JSON, its keys sorted, always the same text for equal values."""
    return json.dumps(jsonable(value), sort_keys=True, allow_nan=False)


def write_json(path: pathlib.Path, content: Any) -> None:
    """Replaces a JSON file in one step, so that a kill leaves the old or the new one.

    Args:
        path: Of the file; its folder is made if need be.
        content: What JSON can hold.

    Raises:
        OSError: If it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


def read_json(path: pathlib.Path, fields: Collection[str] = (), kind: type = dict) -> Any:
    """The content of a JSON file, or None where there is none.

    Args:
        path: Of the file.
        fields: What its object, or each object of its list, must have.
        kind: What it must be, dict or list.

    Raises:
        InputError: If it is no JSON or is without these fields.
    """
    try:
        content = json.loads(read_regular(path, MOST_JSON))
        if not isinstance(content, kind):
            raise ValueError
        objects = content if isinstance(content, list) else [content]
        if not all(isinstance(entry, dict) and {*fields} <= {*entry} for entry in objects):
            raise ValueError
    except FileNotFoundError:
        return None
    except OSError as error:
        raise errors.InputError(f"{path}: {error.strerror or error}.") from None
    except (ValueError, RecursionError):
        raise errors.InputError(f"{path} is damaged; delete it to start over.") from None
    return content
