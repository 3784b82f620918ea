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


def flatten(tree: chex.ArrayTree, path: Path = ()) -> dict[Path, npt.NDArray[Any] | None]:
    """{path: NumPy array, or None} of nested dicts, sorted by name."""
    if not isinstance(tree, Mapping):
        return {path: None if tree is None else np.asarray(tree)}
    found: dict[Path, npt.NDArray[Any] | None] = {}
    for name in sorted(tree):
        found |= flatten(tree[name], (*path, name))
    return found


def arrays(tree: chex.ArrayTree) -> dict[Path, npt.NDArray[Any]]:
    """{path: NumPy array} of nested dicts without None, sorted by name.

    Raises:
        ValueError: If a leaf is None.
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
