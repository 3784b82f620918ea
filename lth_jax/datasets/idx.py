"""The idx files of MNIST and Fashion-MNIST (LeCun, Cortes, Burges 1998), gzipped or not.

A file is four bytes 0, 0, type (8 = unsigned byte), number of dimensions; the dimensions as
big-endian 32-bit integers; then the values. Reading is bounded: a file of any size costs no more
memory than the array that was asked for.
"""

import gzip
import pathlib
import struct
import zlib

import numpy as np
import numpy.typing as npt

from lth_jax import errors, files
from lth_jax.datasets import base

_UNSIGNED_BYTE = 8


def read(source: base.Source, folder: pathlib.Path, remedy: str) -> base.Raw:
    """Reads the four files of MNIST or Fashion-MNIST, each gzipped or not.

    Args:
        source: Counts and shape of the images.
        folder: With train-images-idx3-ubyte or train-images-idx3-ubyte.gz, and the other three.
        remedy: What the user can do about a bad file; ends the error message.

    Raises:
        errors.InputError: As for `read_file`, or if a label is out of range.
    """
    h, w, _ = source.shape

    def images(stem: str, count: int) -> npt.NDArray[np.uint8]:
        return read_file(_found(folder, stem), (count, h, w), remedy)[..., None]

    def labels(stem: str, count: int) -> npt.NDArray[np.uint8]:
        path = _found(folder, stem)
        values = read_file(path, (count,), remedy)
        if values.max() >= base.CLASSES:
            raise errors.InputError(
                f"{path}: expected labels from 0 to {base.CLASSES - 1}, got {values.max()}; "
                f"{remedy}"
            )
        return values

    return base.Raw(
        images("train-images-idx3", source.train),
        labels("train-labels-idx1", source.train),
        images("t10k-images-idx3", source.test),
        labels("t10k-labels-idx1", source.test),
    )


def _found(folder: pathlib.Path, stem: str) -> pathlib.Path:
    plain = folder / f"{stem}-ubyte"
    return plain if plain.exists() else folder / f"{stem}-ubyte.gz"


def read_file(path: pathlib.Path, shape: tuple[int, ...], remedy: str) -> npt.NDArray[np.uint8]:
    """Reads one idx file whose shape is known in advance.

    Args:
        path: The file; a name ending in .gz is decompressed, at most to the expected size.
        shape: What the file must hold, e.g. (60000, 28, 28).
        remedy: What the user can do about a bad file; ends the error message.

    Returns:
        [*shape] uint8; the array owns its memory.

    Raises:
        errors.InputError: If the file is missing, truncated, too long, not idx, or misshapen.
    """
    header_size = 4 + 4 * len(shape)
    size = header_size + int(np.prod(shape))
    blob = _read_at_most(path, size + 1, remedy)
    expected = f"idx file of {_by(shape)} unsigned bytes"
    if len(blob) < 4:
        raise errors.InputError(f"{path}: expected an {expected}, got {len(blob)} bytes; {remedy}")
    magic = (0, 0, _UNSIGNED_BYTE, len(shape))
    if tuple(blob[:4]) != magic:
        raise errors.InputError(
            f"{path}: expected an {expected} (first bytes {bytes(magic).hex()}), "
            f"got first bytes {blob[:4].hex()}; {remedy}"
        )
    if len(blob) >= header_size:
        found = struct.unpack(f">{len(shape)}I", blob[4:header_size])
        if found != tuple(shape):
            raise errors.InputError(f"{path}: expected an {expected}, got {_by(found)}; {remedy}")
    if len(blob) != size:
        what = "truncated" if len(blob) < size else "too long"
        raise errors.InputError(
            f"{path}: {what}: expected an {expected} ({size} bytes in all), got "
            f"{len(blob) if len(blob) < size else 'more'}; {remedy}"
        )
    return np.frombuffer(blob, np.uint8, offset=header_size).reshape(shape).copy()


def _by(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))


def _read_at_most(path: pathlib.Path, limit: int, remedy: str) -> bytes:
    """The first `limit` bytes of a file after decompression, so that a gzip bomb stays small."""
    try:
        with files.open_regular(path) as stream:
            if path.suffix != ".gz":
                return files.read_at_most(stream, limit)
            with gzip.GzipFile(fileobj=stream) as unpacked:
                return files.read_at_most(unpacked, limit)
    except FileNotFoundError:
        raise errors.InputError(f"{path}: no such file; {remedy}") from None
    except EOFError:
        raise errors.InputError(f"{path}: truncated gzip file; {remedy}") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise errors.InputError(f"{path}: damaged gzip file ({error}); {remedy}") from None
    except OSError as error:
        raise errors.InputError(f"{path}: {error.strerror or error}; {remedy}") from None
