"""Which leaves of a network are kernels, and over which of their axes they sum: their fan-in."""

import fnmatch
import math
import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Protocol

import chex
import jax

Path = tuple[Any, ...]  # of a leaf in its tree, as jax.tree_util writes it

Choice = Callable[[Path, Any], bool]  # whether a leaf is pruned

_NO_KERNELS = {"bias", "biases", "scale", "scales", "embed", "embedding", "embeddings"}
_NNX_VALUES = {"value", "raw_value"}  # what flax.nnx puts below the name of a parameter


class KernelAxes(Protocol):
    """Tells kernels from other leaves: the axes that a kernel is summed over when it is applied."""

    def __call__(self, path: Path, leaf: Any, /) -> tuple[int, ...] | None:
        """Returns axes of the leaf; None if it is no kernel."""


def kernel_axes(path: Path, leaf: Any) -> tuple[int, ...] | None:
    """What can be told by names, for flax.linen, flax.nnx and equinox.

    A kernel has two axes or more and is no bias, scale or embedding by its own name. It sums over
    all axes but the last, as flax writes (in, out) and (height, width, in, out), apart from
    - the kernels (in, heads, dim) of flax's attention, called query, key and value;
    - attributes called weight, as in equinox, which are (out, in, ...).
    A `weight` below an embedding (of two axes) or a norm is no kernel either.

    Args:
        path: Of the leaf.
        leaf: An array or its shape.

    Returns:
        Axes, or None if the leaf is no kernel.
    """
    return _by_name(path, leaf, isinstance(path[-1] if path else None, jax.tree_util.GetAttrKey))


def choice(axes: KernelAxes) -> Choice:
    """Chooses kernels: (path, leaf) -> whether it is one."""
    return lambda path, leaf: axes(path, leaf) is not None


def excluding(choice: Choice, patterns: Iterable[str]) -> Choice:
    """The same choice without the leaves whose names a pattern fits.

    Args:
        choice: (path, leaf) -> whether it is pruned.
        patterns: As in fnmatch, * for any text, of names joined by /, as `leaves` shows them.
    """
    some = tuple(patterns)
    return lambda path, leaf: (
        choice(path, leaf)
        and not any(fnmatch.fnmatchcase(name_of(path), pattern) for pattern in some)
    )


def name_of(path: Path) -> str:
    """The names along a path, joined by /."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def out_first(path: Path, leaf: Any) -> tuple[int, ...] | None:
    """`kernel_axes` for a network all of whose kernels are (out, in, ...), as torch has them."""
    axes = _by_name(path, leaf, True)
    return None if axes is None else tuple(range(1, len(leaf.shape)))


def _by_name(path: Path, leaf: Any, attribute: bool) -> tuple[int, ...] | None:
    names = _names(path)
    own, parent = (["", ""] + names)[:-3:-1]
    rank = len(leaf.shape)
    if rank < 2 or _words(own) & _NO_KERNELS:
        return None
    if own.startswith("weight"):
        above = _words(parent)
        if (rank == 2 and above & _NO_KERNELS) or any(word.endswith("norm") for word in above):
            return None
        if attribute:
            return tuple(range(1, rank))
    if own == "kernel" and parent in ("query", "key", "value") and rank == 3:
        return (0,)
    return tuple(range(rank - 1))


def _names(path: Path) -> list[str]:
    """The names along a path, also where a tree has paths for names; places in lists are none."""
    keys = [getattr(entry, "key", getattr(entry, "name", None)) for entry in path]
    names = [part for key in keys if isinstance(key, str) for part in re.split(r"[./]", key)]
    while len(names) > 1 and names[-1] in _NNX_VALUES:
        names.pop()
    return names


def _words(name: str) -> set[str]:
    return {word.lower() for word in re.findall("[A-Z]*[a-z]+|[A-Z]+", name)}


def fan_in(axes: Iterable[int] | None, shape: tuple[int, ...]) -> int:
    """How many inputs an output of a kernel has.

    Args:
        axes: That are summed over; None for a leaf that is pruned without being a kernel: then
            all but the last.
        shape: Of the leaf.

    Returns:
        Their sizes' product, at least 1.
    """
    sizes = shape[:-1] if axes is None else [shape[axis] for axis in axes]
    return max(math.prod(sizes), 1)


class Leaf(NamedTuple):
    """A leaf of a network's weights, and whether it is pruned."""

    path: str  # names, joined by /
    shape: tuple[int, ...]
    size: int  # entries
    fan_in: int | None  # None where it is not pruned


def leaves(weights: chex.ArrayTree, scores: chex.ArrayTree, axes: KernelAxes) -> list[Leaf]:
    """What of a network is pruned.

    Args:
        weights: Tree of arrays or shapes.
        scores: The same tree with None where a leaf is not pruned.
        axes: Of the pruner.

    Returns:
        All leaves, in the tree's order.
    """
    pruned = jax.tree.map(lambda w, s: s is not None, weights, scores)
    found = []
    for (path, leaf), is_pruned in zip(
        jax.tree_util.tree_leaves_with_path(weights), jax.tree.leaves(pruned), strict=True
    ):
        fan = fan_in(axes(path, leaf), leaf.shape) if is_pruned else None
        found.append(Leaf(name_of(path), tuple(leaf.shape), math.prod(leaf.shape), fan))
    return found


def doubts(found: Iterable[Leaf], weights: chex.ArrayTree, axes: KernelAxes) -> list[str]:
    """Where a model knows another fan-in of what is pruned, or knows it for no kernel.

    Args:
        found: From `leaves`.
        weights: Tree of arrays or shapes.
        axes: Of the model.

    Returns:
        A phrase for each such leaf.
    """
    phrases = []
    named = jax.tree_util.tree_leaves_with_path(weights)
    for leaf, (path, weight) in zip(found, named, strict=True):
        known = axes(path, weight)
        theirs = None if known is None else fan_in(known, leaf.shape)
        if leaf.fan_in is not None and leaf.fan_in != theirs:
            other = "no kernel" if theirs is None else f"one of fan-in {theirs}"
            phrases.append(
                f"{leaf.path} {leaf.shape} for a kernel of fan-in {leaf.fan_in}, "
                f"which the model knows for {other}"
            )
    return phrases
