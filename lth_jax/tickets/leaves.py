"""A tree of weights as a flat list of named arrays, and its SHA-256."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, TypeVar

import chex
import numpy as np
import numpy.typing as npt

Path = tuple[str, ...]
Leaf = TypeVar("Leaf")


def flatten(tree: chex.ArrayTree) -> dict[Path, npt.NDArray[Any] | None]:
    """{path: NumPy array, or None} of nested dicts, sorted by name.

    Raises:
        ValueError: If it is anything else: lists, a bare array, names that are no text or empty.
    """
    if not isinstance(tree, Mapping):
        raise ValueError(f"expected nested dicts of arrays, got {_kind(tree)} at the root.")
    return _flatten(tree, ())


def _flatten(tree: chex.ArrayTree, path: Path) -> dict[Path, npt.NDArray[Any] | None]:
    if not isinstance(tree, Mapping):
        return {path: None if tree is None else _array(tree, path)}
    for name in tree:
        if not isinstance(name, str) or not name:
            raise ValueError(f"expected names that are text and not empty, got {name!r} in {path}.")
    found: dict[Path, npt.NDArray[Any] | None] = {}
    for name in sorted(tree):
        found |= _flatten(tree[name], (*path, name))
    return found


def _array(leaf: Any, path: Path) -> npt.NDArray[Any]:
    """A leaf as NumPy array; a list is none, though NumPy would stack it."""
    array = None if isinstance(leaf, list | tuple) else np.asarray(leaf)
    if array is None or array.dtype.kind in "OSUTmM":
        raise ValueError(f"expected an array of numbers, got {_kind(leaf)} at {path}.")
    return array


def _kind(value: Any) -> str:
    return "nothing" if value is None else f"a value of type {type(value).__name__}"


def arrays(tree: chex.ArrayTree) -> dict[Path, npt.NDArray[Any]]:
    """{path: NumPy array} of nested dicts without None, sorted by name.

    Raises:
        ValueError: As `flatten`, or if a leaf is None.
    """
    found = {}
    for path, leaf in flatten(tree).items():
        if leaf is None:
            raise ValueError(f"expected an array, got None at {path}.")
        found[path] = leaf
    return found


def nest(flat: Mapping[Path, Leaf]) -> dict[str, Any]:
    """Nested dicts of what stands at each path."""
    tree: dict[str, Any] = {}
    for path, leaf in flat.items():
        *above, name = path
        place = tree
        for step in above:
            place = place.setdefault(step, {})
        place[name] = leaf
    return tree


def digest(weights: chex.ArrayTree) -> str:
    """SHA-256 over names, shapes and little-endian float32 bits of a tree, in name order."""
    seen = hashlib.sha256()
    for path, leaf in arrays(weights).items():
        seen.update(json.dumps([path, leaf.shape]).encode())
        seen.update(leaf.astype("<f4").tobytes())
    return seen.hexdigest()
