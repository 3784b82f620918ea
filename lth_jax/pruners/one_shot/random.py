"""Random pruning: which weights stay is drawn."""

import chex
import jax

from lth_jax.masks import selection
from lth_jax.pruners import base, kernels
from lth_jax.pruners.one_shot import saliency


def random_saliency(
    key: jax.Array, weights: chex.ArrayTree, scores: chex.ArrayTree
) -> chex.ArrayTree:
    """U(0, 1) for every entry.

    Args:
        key: Typed key.
        weights: Tree of arrays; not read.
        scores: Tree like weights, None where nothing is pruned; not read.

    Returns:
        Tree like scores.
    """
    del weights
    leaves, treedef = jax.tree.flatten(scores)
    keys = jax.random.split(key, max(len(leaves), 1))
    drawn = [jax.random.uniform(k, s.shape, s.dtype) for k, s in zip(keys, leaves, strict=False)]
    return jax.tree.unflatten(treedef, drawn)


def random(
    scope: selection.Scope = "tensor",
    prunable: base.Prunable | None = None,
    kernel_axes: kernels.KernelAxes = kernels.kernel_axes,
) -> base.Pruner:
    """Keeps weights at random: the baseline of baselines.

    Args:
        scope: See `edge_popup`.
        prunable: See `edge_popup`.
        kernel_axes: See `edge_popup`.

    Returns:
        A Pruner.

    Raises:
        ValueError: See `edge_popup`.
    """
    return saliency.by_saliency("random", random_saliency, scope, prunable, kernel_axes)
