"""A grid in the middle of a block, as plain arrays: what a checkpoint holds.

Lanes are rows in the order of their nodes and are found again by node, never by place: so a grid
may go on with another number of devices, and a longer axis or another cut costs only what does not
fit any more.
"""

import contextlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from lth_jax.sweep import plan, rows


class Level(NamedTuple):
    """A finished block whose followers are not all done."""

    nodes: tuple[str, ...]  # names of its needed nodes
    histories: tuple[rows.History, ...]  # their radii left out
    arrays: dict[str, npt.NDArray[Any]]  # [nodes, ...], weights, scores and radii by tree path


class Snapshot(NamedTuple):
    """A block between two slices, and the blocks it follows."""

    levels: tuple[Level, ...]  # outermost first
    nodes: tuple[str, ...]  # names of the block's needed nodes
    step: int
    seconds: float  # spent in this block
    arrays: dict[str, npt.NDArray[Any]]  # [nodes, ...], the state by tree path


def name_of(node: plan.Node) -> str:
    """A node as text: all that its result depends on, within one folder."""
    eps = str(node.eps) if node.eps == math.inf else node.eps
    stages = [[s.kind.name, s.perturb_epochs, s.prune_epochs] for s in node.stages]
    return json.dumps([stages, eps, node.sparsity, node.seed])


def flatten(
    tree: chex.ArrayTree, places: Sequence[int] | npt.NDArray[np.int64]
) -> dict[str, npt.NDArray[Any]]:
    """Rows of a tree of [lanes, ...] arrays, by path.

    Args:
        tree: Arrays, on devices or not.
        places: Of the rows.

    Returns:
        [places, ...] arrays on the host.
    """
    leaves, _ = jax.tree_util.tree_flatten_with_path(jax.device_get(jax.tree.map(_plain, tree)))
    return {jax.tree_util.keystr(path): leaf[np.asarray(places)] for path, leaf in leaves}


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _plain(leaf: Any) -> Any:
    """A typed key, as an optimizer's state may have, as the integers that it is made of."""
    return jax.random.key_data(leaf) if _is_key(leaf) else leaf


def _as_key(integers: npt.NDArray[Any], dtype: Any) -> jax.Array | None:
    """The inverse of `_plain`; None for a kind of key that jax does not have."""
    for kind in ("threefry2x32", "rbg", "unsafe_rbg"):
        with contextlib.suppress(ValueError, TypeError):  # Other kinds have other sizes.
            key: jax.Array = jax.random.wrap_key_data(jnp.asarray(integers), impl=kind)
            if key.dtype == dtype:
                return key
    return None


def unflatten(
    like: chex.ArrayTree,
    places: Sequence[int] | npt.NDArray[np.int64],
    arrays: Mapping[str, npt.NDArray[Any]],
    indices: Sequence[int],
) -> chex.ArrayTree | None:
    """The inverse of `flatten`: a tree of [lanes, ...] arrays, zero but for some rows.

    Args:
        like: Tree with shapes and dtypes.
        places: Of the rows to fill.
        arrays: By path.
        indices: For each place, the row of `arrays`.

    Returns:
        NumPy arrays, and typed keys where `like` has them; or None if paths, shapes or dtypes are
        not those of `like`: the checkpoint was written by another program.
    """
    leaves, treedef = jax.tree_util.tree_flatten_with_path(like)
    names = [jax.tree_util.keystr(path) for path, _ in leaves]
    if set(names) != set(arrays):
        return None
    filled: list[Any] = []
    for name, (_, of) in zip(names, leaves, strict=True):
        there, leaf = arrays[name], jax.eval_shape(_plain, of)
        if there.shape[1:] != leaf.shape[1:] or there.dtype != leaf.dtype:
            return None
        whole = np.zeros(leaf.shape, leaf.dtype)
        whole[np.asarray(places)] = there[np.asarray(indices)]
        filled.append(_as_key(whole, of.dtype) if _is_key(of) else whole)
    if any(leaf is None for leaf in filled):
        return None
    return jax.tree.unflatten(treedef, filled)


def find(nodes: Sequence[str], there: Sequence[str]) -> list[int] | None:
    """Where each of `nodes` is in `there`; None if one is missing.

    Args:
        nodes: Names.
        there: Names.
    """
    index = {name: place for place, name in enumerate(there)}
    return [index[name] for name in nodes] if all(name in index for name in nodes) else None


def to_stored(snapshot: Snapshot) -> tuple[Any, dict[str, npt.NDArray[Any]]]:
    """A snapshot as (what JSON can hold, arrays by name)."""
    levels = []
    for level in snapshot.levels:
        histories = [h._replace(radii=None)._asdict() for h in level.histories]
        levels.append({"nodes": level.nodes, "histories": histories})
    meta = {"levels": levels, "nodes": snapshot.nodes, "step": snapshot.step}
    arrays = {f"state{path}": array for path, array in snapshot.arrays.items()}
    for number, level in enumerate(snapshot.levels):
        arrays |= {f"{number}:{path}": array for path, array in level.arrays.items()}
    return meta | {"seconds": snapshot.seconds}, arrays


def from_stored(meta: Any, arrays: Mapping[str, npt.NDArray[Any]]) -> Snapshot:
    """The inverse of `to_stored`.

    Args:
        meta: As it was stored.
        arrays: As they were stored.

    Raises:
        KeyError, TypeError: If another version of the program stored it.
    """

    def part(prefix: str) -> dict[str, npt.NDArray[Any]]:
        own = {name: a for name, a in arrays.items() if name.startswith(prefix)}
        return {name.removeprefix(prefix): array for name, array in own.items()}

    levels = []
    for number, level in enumerate(meta["levels"]):
        histories = tuple(map(_history, level["histories"]))
        levels.append(Level(tuple(level["nodes"]), histories, part(f"{number}:")))
    step, seconds = meta["step"], meta["seconds"]
    # Before losses were kept there was no such array: of epochs under way none is known.
    if ".curve" in (state := part("state")):
        state.setdefault(".losses", np.full(state[".curve"].shape, np.nan, np.float32))
    return Snapshot(tuple(levels), tuple(meta["nodes"]), step, seconds, state)


def _history(stored: Mapping[str, Any]) -> rows.History:
    curve = tuple(stored["curve"])
    losses = tuple(stored.get("losses", [None] * len(curve)))
    found = rows.History(**dict(stored, curve=curve, losses=losses))
    return found._replace(recorded=tuple(map(tuple, found.recorded)))
