"""Tensors that are split over devices: inside jax.shard_map each one sees its own shard only.

What a norm, a standard deviation or a selection then needs of the others is summed up here. Under
plain jit the compiler does so by itself, and nothing of this is needed.
"""

from collections.abc import Iterable, Sequence
from typing import Any, cast

import chex
import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

# The mesh axes that tensors are split over; () says that each device has whole tensors.
AxisName = str | tuple[str, ...]
Axes = tuple[str, ...]

# A mesh axis of this name is known to hold whole tensors: lanes of a sweep.
LANES = "lanes"
# A vmap over lanes that step together names its axis so: what is rare can then ask all of them.
TOGETHER = "together"


def axes(axis_name: AxisName | None, tree: chex.ArrayTree) -> Axes:
    """The axes that the tensors of a tree are split over, where that can be told.

    Outside of any shard_map tensors are whole, whatever axis_name says: a state may be made there.

    Args:
        axis_name: What the caller was told: axes, () for whole tensors, or None.
        tree: Tree of arrays.

    Returns:
        Names of axes of this shard_map (or vmap); () for whole tensors.

    Raises:
        ValueError: If axis_name is None inside a shard_map and the tensors vary over its devices,
            or may do so unseen (`check_vma=False`): nobody can tell shards of a tensor from whole
            tensors of each device. An axis called LANES holds whole ones. Or if axis_name is no
            axis of the shard_map.
    """
    manual: Axes = tuple(jax.sharding.get_abstract_mesh().manual_axes)
    if axis_name is None:
        manual = tuple(name for name in manual if name != LANES)
        varying = frozenset[str]().union(*map(_varying, jax.tree.leaves(tree)))
        found = [name for name in manual if name in varying or not _is_seen(name)]
        if found:
            raise ValueError(
                f"Inside a shard_map over {_listed(found)} expected axis_name: the axes that "
                "each tensor is split over, or () if every device has whole ones."
            )
        return ()
    names = (axis_name,) if isinstance(axis_name, str) else tuple(axis_name)
    bound = tuple(name for name in names if _is_bound(name))
    if bound != names and (bound or manual):
        raise ValueError(
            f"axis_name must be axes of the shard_map, which has {_listed(manual)}, "
            f"got {axis_name!r}."
        )
    return bound


def step_together() -> bool:
    """Whether this is traced for lanes that step together, under a vmap whose axis says so."""
    return _is_bound(TOGETHER)


def of_any_lane(flag: jax.Array) -> jax.Array:
    """Whether a flag is set in any of the lanes that step together: [] bool, the same for all.

    As a condition it stays one: `lax.cond` runs one branch, and `lax.while_loop` ends for all.
    """
    return cast(jax.Array, lax.pmax(flag.astype(jnp.int32), TOGETHER) > 0)


def check_whole(name: str, axis_name: AxisName | None, tree: chex.ArrayTree) -> None:
    """Raises a ValueError if tensors are split, see `axes`, where whole ones are needed."""
    if axes(axis_name, tree):
        raise ValueError(f"{name} are of whole tensors: draw them outside of the shard_map.")


def of(x: jax.Array, split: Axes) -> Axes:
    """Those of the axes that an array is split over: it may be seen not to vary over some."""
    varying = _varying(x)
    return tuple(name for name in split if name in varying or not _is_seen(name))


def total(x: jax.Array, split: Axes) -> jax.Array:
    """The sum over all shards, the same on each; the array itself if it is whole."""
    return cast(jax.Array, lax.psum(x, split)) if split else x


def largest(x: jax.Array, split: Axes) -> jax.Array:
    """The largest of all shards, the same on each; the array itself if it is whole."""
    return cast(jax.Array, lax.pmax(x, split)) if split else x


def count(split: Axes) -> int:
    """The number of shards."""
    return int(lax.axis_size(split)) if split else 1


def place(split: Axes) -> jax.Array | int:
    """The shard's own place, from 0, the last axis running fastest."""
    return lax.axis_index(split) if split else 0


def gathered(x: jax.Array, split: Axes) -> jax.Array:
    """All shards' arrays, in order along a new first axis, the same on each."""
    # A sum, because only of sums jax knows that they are the same everywhere.
    rows = jnp.zeros((count(split), *x.shape), x.dtype).at[place(split)].set(x)
    return total(rows, split)


def alike(value: ArrayLike, like: Iterable[jax.Array]) -> jax.Array:
    """An array that counts as varying wherever one of the others does: loops carry such only."""
    x: jax.Array = jnp.asarray(value)
    missing = frozenset[str]().union(*map(_varying, like)) - _varying(x)
    if not missing:
        return x
    return cast(jax.Array, lax.pcast(x, tuple(sorted(missing)), to="varying"))


def _varying(x: Any) -> frozenset[str]:
    """The manual axes that an array is seen to vary over; none under `check_vma=False`."""
    seen = getattr(jax.typeof(x), "manual_axis_type", None)
    return frozenset() if seen is None else frozenset(seen.varying)


def _is_seen(name: str) -> bool:
    """Whether jax keeps track of what varies over an axis, as a device's own place on it does."""
    return name in _varying(lax.axis_index(name))


def _is_bound(name: str) -> bool:
    try:
        lax.axis_size(name)
    except NameError:
        return False
    return True


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names)) or "none"
