"""The bytes of a ticket: a sealed file of header and payload, and what the payload packs.

Layout: MAGIC, 8 bytes of header length (little-endian), the header as JSON, the payload, and last
the SHA-256 of all that. No pickle.
"""

import hashlib
import json
import os
from typing import Any

import numpy as np
import numpy.typing as npt

from lth_jax import errors, files

MAGIC = b"lth_jax ticket 1\n"
_DIGEST = 32  # bytes of a SHA-256
_MOST = 5 << 31  # Bytes of a file: float32 and a mask of as many weights as origin.MOST.
_HEADER = 1 << 26  # Bytes of a header: some hundred thousand leaves.


def seal(header: dict[str, Any], payload: bytes) -> bytes:
    """The content of the file.

    Raises:
        ValueError: If `read` would refuse it as too large.
    """
    text = json.dumps(header, allow_nan=False, separators=(",", ":")).encode()
    if len(text) > _HEADER:
        raise ValueError(f"expected a header of at most {_HEADER} bytes, got {len(text)}.")
    content = MAGIC + len(text).to_bytes(8, "little") + text + payload
    return content + hashlib.sha256(content).digest()


def read(path: str | os.PathLike[str]) -> tuple[Any, bytes]:
    """The header of a file, any JSON, and the payload.

    Raises:
        InputError: One line: no such file, no ticket, or damaged.
    """
    try:
        content = files.read_regular(path, _MOST, MAGIC)
    except OSError as error:
        raise errors.InputError(f"{path}: {error.strerror or error}.") from None
    body, start = content[:-_DIGEST], len(MAGIC) + 8
    if not content.startswith(MAGIC):
        raise errors.InputError(f"{path}: not a ticket of this library.")
    if len(body) < start or hashlib.sha256(body).digest() != content[-_DIGEST:]:
        raise errors.InputError(f"{path}: damaged, its checksum does not fit.")
    end = start + int.from_bytes(body[len(MAGIC) : start], "little")
    if end - start > _HEADER:
        raise errors.InputError(f"{path}: its header is larger than {_HEADER} bytes.")
    try:
        return json.loads(body[start:end]), body[end:]
    except (ValueError, RecursionError):
        raise errors.InputError(f"{path}: damaged, its header is no JSON.") from None


def pack_mask(mask: npt.NDArray[np.bool_]) -> bytes:
    """A bit per entry, the last byte filled with 0."""
    return np.packbits(mask).tobytes()


def pack_levels(levels: npt.NDArray[np.integer[Any]], bits: int) -> bytes:
    """Integers [n] of 0 to 2^bits − 1, the lowest bit of each first, without gaps."""
    return np.packbits(levels[:, None] >> np.arange(bits) & 1).tobytes()


class Payload:
    """The payload of a file, taken piece by piece and never beyond its end."""

    def __init__(self, content: bytes) -> None:
        """Starts at its first byte."""
        self._content, self._position = content, 0

    def __len__(self) -> int:
        """Bytes in all."""
        return len(self._content)

    def _take(self, count: int) -> bytes:
        self._position += count
        if self._position > len(self._content):
            raise ValueError("it ends too early")
        return self._content[self._position - count : self._position]

    def mask(self, count: int) -> npt.NDArray[np.bool_]:
        """The next `count` entries of a mask."""
        packed = np.frombuffer(self._take(-(-count // 8)), np.uint8)
        return np.unpackbits(packed, count=count).astype(bool)

    def floats(self, count: int) -> npt.NDArray[np.float32]:
        """The next `count` weights."""
        return np.frombuffer(self._take(4 * count), "<f4")

    def array(self, count: int, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
        """The next `count` numbers of a type."""
        return np.frombuffer(self._take(dtype.itemsize * count), dtype)

    def levels(self, count: int, bits: int) -> npt.NDArray[np.int64]:
        """The next `count` integers that `pack_levels` wrote."""
        packed = np.frombuffer(self._take(-(-count * bits // 8)), np.uint8)
        each = np.unpackbits(packed, count=count * bits)
        return np.asarray(each.reshape(count, bits).astype(np.int64) @ (1 << np.arange(bits)))

    def end(self) -> None:
        """Checks that nothing is left.

        Raises:
            ValueError: If it is.
        """
        if self._position != len(self._content):
            raise ValueError("it is longer than its header says")
