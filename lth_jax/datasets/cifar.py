"""CIFAR-10 in its binary layout (Krizhevsky 2009), from a folder or the .tar.gz; never from pickle.

A record is one label byte, then 1,024 red, 1,024 green and 1,024 blue bytes, row by row; a file is
a whole number of records.
"""

import gzip
import math
import pathlib
import tarfile
import zlib
from typing import IO, cast

import numpy as np
import numpy.typing as npt

from lth_jax import errors, files
from lth_jax.datasets import base

ARCHIVE = "cifar-10-binary.tar.gz"
FOLDER = "cifar-10-batches-bin"
TRAIN_FILES = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
TEST_FILE = "test_batch.bin"
# More members than this, or a longer one, is no CIFAR-10: the archive has 8 files and a folder.
_MAX_MEMBERS = 64
_MAX_OTHER_BYTES = 1 << 20


def read(source: base.Source, folder: pathlib.Path, remedy: str) -> base.Raw:
    """Reads the six files from `folder`, `folder`/cifar-10-batches-bin or the archive in `folder`.

    Args:
        source: Counts and shape of the images; each training file has a fifth of them.
        folder: Where to look, in this order: the files, the subfolder, the archive. The archive is
            read in memory: nothing is written to disk.
        remedy: What the user can do about a bad file; ends the error message.

    Raises:
        errors.InputError: If a file is missing or damaged, or the archive holds links or names that
            lead out of it.
    """
    record = 1 + math.prod(source.shape)
    sizes = {name: source.train // len(TRAIN_FILES) * record for name in TRAIN_FILES}
    sizes[TEST_FILE] = source.test * record
    for place in (folder, folder / FOLDER):
        if any((place / name).exists() for name in sizes):
            blobs = {name: _read_file(place / name, sizes[name], remedy) for name in sizes}
            break
    else:
        place = folder / ARCHIVE
        if not place.exists():
            raise errors.InputError(
                f"{folder}: no {FOLDER}/{TRAIN_FILES[0]} and no {ARCHIVE}; {remedy}"
            )
        blobs = _read_archive(place, sizes, remedy)
    for name, blob in blobs.items():
        _check(place / name, blob, sizes[name], record, remedy)
    train = b"".join(blobs[name] for name in TRAIN_FILES)
    return base.Raw(*_decode(train, source.shape), *_decode(blobs[TEST_FILE], source.shape))


def _decode(
    blob: bytes, shape: tuple[int, int, int]
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """[n, h, w, c] images and [n] labels of n records."""
    h, w, c = shape
    records = np.frombuffer(blob, np.uint8).reshape(-1, 1 + h * w * c)
    images = records[:, 1:].reshape(-1, c, h, w).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), records[:, 0].copy()


def _check(path: pathlib.Path, blob: bytes, size: int, record: int, remedy: str) -> None:
    expected = f"expected {size // record} records of {record} bytes ({size} bytes)"
    if len(blob) != size:
        got = f"got {len(blob)}" if len(blob) < size else "got more"
        raise errors.InputError(f"{path}: {expected}, {got}; {remedy}")
    largest = max(blob[::record])
    if largest >= base.CLASSES:
        raise errors.InputError(
            f"{path}: {expected}, each beginning with a label from 0 to {base.CLASSES - 1}, "
            f"got label {largest}; {remedy}"
        )


def _read_file(path: pathlib.Path, size: int, remedy: str) -> bytes:
    try:
        with files.open_regular(path) as stream:
            return files.read_at_most(stream, size + 1)
    except FileNotFoundError:
        raise errors.InputError(f"{path}: no such file; {remedy}") from None
    except OSError as error:
        raise errors.InputError(f"{path}: {error.strerror or error}; {remedy}") from None


def _read_archive(path: pathlib.Path, sizes: dict[str, int], remedy: str) -> dict[str, bytes]:
    """The wanted members' bytes, each at most its size + 1; other small files are skipped."""
    wanted = {f"{FOLDER}/{name}": name for name in sizes}
    blobs = {}
    try:
        # A stream ("r|") never seeks back: what is refused below is refused before it is read. The
        # bound on the whole also holds tar's own long headers, which tarfile reads in one piece.
        limit = sum(sizes.values()) + _MAX_OTHER_BYTES
        with (
            files.open_regular(path) as packed,
            gzip.GzipFile(fileobj=packed) as stream,
            # Such a stream is read and nothing else, so it needs no more of a file's methods.
            tarfile.open(fileobj=cast(IO[bytes], _Bounded(stream, limit)), mode="r|") as archive,
        ):
            for count, member in enumerate(archive, 1):
                name = _safe_name(path, member, remedy)
                limit = sizes[wanted[name]] if name in wanted else _MAX_OTHER_BYTES
                if count > _MAX_MEMBERS or member.size > limit:
                    raise errors.InputError(
                        f"{path}: member {member.name!r} is not of CIFAR-10 (at most {limit} bytes "
                        f"and {_MAX_MEMBERS} members expected); {remedy}"
                    )
                content = archive.extractfile(member) if name in wanted else None
                if content:
                    blobs[wanted[name]] = files.read_at_most(content, sizes[wanted[name]] + 1)
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise errors.InputError(f"{path}: damaged archive ({error}); {remedy}") from None
    missing = [name for name in sizes if name not in blobs]
    if missing:
        raise errors.InputError(f"{path}: the archive has no {FOLDER}/{missing[0]}; {remedy}")
    return blobs


class _Bounded:
    """A readable stream that ends after `limit` bytes."""

    def __init__(self, stream: files.Readable, limit: int):
        self._stream, self._left = stream, limit

    def read(self, size: int) -> bytes:
        """Up to `size` bytes, fewer at the end of the stream or of the bound."""
        blob = self._stream.read(min(size, self._left))
        self._left -= len(blob)
        return blob


def _safe_name(path: pathlib.Path, member: tarfile.TarInfo, remedy: str) -> str:
    parts = pathlib.PurePosixPath(member.name).parts
    if not (member.isfile() or member.isdir()):
        what = "a link or a device"
    elif member.name.startswith(("/", "\\")) or ".." in parts or ":" in member.name:
        what = "a name that leads out of the archive"
    else:
        return "/".join(parts)
    raise errors.InputError(f"{path}: refused: member {member.name!r} is {what}; {remedy}")
