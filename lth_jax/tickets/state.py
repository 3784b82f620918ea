"""A model's other state in a ticket: BatchNorm's running statistics, counts, tables."""

import math
from typing import Any

import chex
import numpy as np
import numpy.typing as npt

from lth_jax.tickets import codec, leaves

# What a header may name; stored little-endian.
DTYPES = ("float32", "float64", "float16", "int32", "int64", "uint32", "uint8", "int8", "bool")


def check(state: chex.ArrayTree) -> None:
    """Refuses what a ticket cannot hold.

    Args:
        state: Tree of arrays or shapes.

    Raises:
        ValueError: If it is no nested dicts of arrays of DTYPES by names of text.
    """
    _check(state, ())


def _check(tree: Any, path: leaves.Path) -> None:
    if not isinstance(tree, dict):
        dtype = str(getattr(tree, "dtype", "none"))
        if not path or dtype not in DTYPES:
            raise ValueError(f"a ticket holds state of {', '.join(DTYPES)}, got {dtype} at {path}.")
        return
    for name, part in tree.items():
        if not isinstance(name, str) or not name:
            raise ValueError(
                f"a ticket holds state in nested dicts by names of text, not {name!r}."
            )
        _check(part, (*path, name))


def pack(state: chex.ArrayTree) -> tuple[list[dict[str, Any]], bytes]:
    """The header's entries of a state, and its part of the payload.

    Raises:
        ValueError: See `check`.
    """
    check(state)
    entries, stored = [], []
    for path, leaf in leaves.arrays(state).items():
        entries.append({"path": path, "shape": leaf.shape, "dtype": str(leaf.dtype)})
        stored.append(leaf.astype(leaf.dtype.newbyteorder("<")).tobytes())
    return entries, b"".join(stored)


def unpack(entries: Any, payload: codec.Payload) -> dict[str, Any]:
    """The inverse of `pack`, for entries that may be forged.

    Raises:
        ValueError: If they are nothing that `pack` makes, or the payload is too short for them.
    """
    found: dict[leaves.Path, npt.NDArray[Any]] = {}
    for entry in entries:
        path, shape, dtype = tuple(entry["path"]), tuple(entry["shape"]), entry["dtype"]
        if dtype not in DTYPES or not path or not all(type(step) is str for step in path):
            raise ValueError("expected arrays of known types by names of text")
        if any(type(n) is not int or n < 0 for n in shape):
            raise ValueError("expected shapes of integers")
        own = np.dtype(dtype)
        array = payload.array(math.prod(shape), own.newbyteorder("<"))
        found[path] = array.astype(own).reshape(shape)
    return leaves.nest(found)
