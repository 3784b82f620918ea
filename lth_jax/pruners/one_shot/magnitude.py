"""Magnitude pruning at initialization: the largest |w| stay (Han et al. 2015, 1506.02626)."""

import chex
import jax
import jax.numpy as jnp

from lth_jax.masks import selection
from lth_jax.pruners import base, kernels
from lth_jax.pruners.one_shot import saliency


def magnitude_saliency(
    key: jax.Array, weights: chex.ArrayTree, scores: chex.ArrayTree
) -> chex.ArrayTree:
    """|w| for every entry.

    Args:
        key: Not used.
        weights: Tree of arrays.
        scores: Tree like weights, None where nothing is pruned; not read.

    Returns:
        Tree like scores.
    """
    del key
    return jax.tree.map(jnp.abs, base.choose(weights, scores))


def magnitude(
    scope: selection.Scope = "tensor",
    prunable: base.Prunable | None = None,
    kernel_axes: kernels.KernelAxes = kernels.kernel_axes,
) -> base.Pruner:
    """Keeps the largest |w|.

    Deviation: of the initial weights, where the paper prunes trained ones.

    Args:
        scope: See `edge_popup`.
        prunable: See `edge_popup`.
        kernel_axes: See `edge_popup`.

    Returns:
        A Pruner.

    Raises:
        ValueError: See `edge_popup`.
    """
    return saliency.by_saliency("magnitude", magnitude_saliency, scope, prunable, kernel_axes)
