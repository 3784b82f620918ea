"""Weights in PyTorch's order, under the names of a state_dict."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import chex
import jax
import numpy as np
import numpy.typing as npt

from lth_jax import models
from lth_jax.tickets import axes, kernel_uses, leaves

_NAMES = {"kernel": "weight", "scale": "weight", "embedding": "weight"}
_STATISTICS = {"mean": "running_mean", "var": "running_var"}


def state_dict(
    model: models.Model, weights: chex.ArrayTree, state: chex.ArrayTree, shape: Sequence[int]
) -> dict[str, npt.NDArray[Any]]:
    """What a torch module with the same layers loads.

    Args:
        model: The network.
        weights: Nested dicts of arrays, as flax.linen has them.
        state: Running statistics, as flax.linen or flax.nnx have them, or nothing.
        shape: Of one input: (h, w, c) for images, which torch takes as (c, h, w).

    Returns:
        {"Dense_0.weight": array, …}. See `export` for the orders.

    Raises:
        ValueError: If a kernel is used as no layer of torch does, or in an order that cannot be
            told, if two names are the same, or if there is other state.
    """
    statistics = _statistics(state)
    uses = kernel_uses.find(model, weights, state, shape)
    plain = {tuple(getattr(step, "key", None) for step in path): use for path, use in uses.items()}
    found: dict[str, npt.NDArray[Any]] = {}
    for path, leaf in leaves.arrays(weights).items():
        name = ".".join((*path[:-1], _NAMES.get(path[-1], path[-1])))
        steps = tuple(map(jax.tree_util.DictKey, path))
        if path not in plain and leaf.ndim > 1 and model.kernel_axes(steps, leaf) is not None:
            raise ValueError(
                f"{'/'.join(path)} is a kernel of no dense layer or convolution, which is all that "
                "layout 'torch' knows; use 'flax'."
            )
        _add(found, name, _ordered(leaf, plain.get(path), path))
    for path, leaf in statistics.items():
        _add(found, ".".join((*path[:-1], _STATISTICS[path[-1]])), leaf)
    return found


def _add(found: dict[str, npt.NDArray[Any]], name: str, leaf: npt.NDArray[Any]) -> None:
    if name in found:
        raise ValueError(f"expected names that differ in torch's way, got {name!r} twice.")
    found[name] = np.asarray(leaf, order="C")


def _statistics(state: chex.ArrayTree) -> Mapping[leaves.Path, npt.NDArray[Any]]:
    """Means and variances by the paths of their layers: flax.linen has a name above them all."""
    if not jax.tree.leaves(state):
        return {}
    if isinstance(state, Mapping) and set(state) == {"batch_stats"}:
        state = state["batch_stats"]
    found = leaves.arrays(state)
    if not all(path[-1] in _STATISTICS for path in found):
        raise ValueError("expected a state of running means and variances, as of flax's BatchNorm.")
    return found


def _ordered(
    leaf: npt.NDArray[Any], use: kernel_uses.Use | None, path: leaves.Path
) -> npt.NDArray[Any]:
    """(out, in) for dense layers, (out, in, window...) for convolutions; a bias is flat."""
    if isinstance(use, kernel_uses.Convolution):
        return leaf.transpose(use.order)
    if use is None:
        return leaf.reshape(-1) if path[-1] == "bias" else leaf
    if use.parts is None:
        raise ValueError(
            f"cannot tell in which order the inputs of {'/'.join(path)} stand; use layout 'flax'."
        )
    outputs = [i for i in range(leaf.ndim) if i not in use.inputs]
    rows = leaf.transpose(*use.inputs, *outputs)
    rows = rows.reshape(*(part.size for part in use.parts), -1)
    order = axes.channels_first(use.parts)
    columns = rows.transpose(*order, len(order))
    return columns.reshape(math.prod(part.size for part in use.parts), -1).T
