"""SNIP: keep where the loss feels it most (Lee et al. 2019, 1810.02340)."""

import chex
import jax
import jax.numpy as jnp

from lth_jax.masks import selection
from lth_jax.pruners import base, kernels
from lth_jax.pruners.one_shot import network, saliency


def snip_saliency(
    model: network.Model,
    batch: network.Batch,
    weights: chex.ArrayTree,
    scores: chex.ArrayTree,
) -> chex.ArrayTree:
    """|g · w|, g the gradient of the loss: the slope of the loss in the weight's own mask.

    Args:
        model: As `lth_jax.Model`.
        batch: Of the training split, normalized as the network takes it.
        weights: Tree of arrays.
        scores: Tree like weights, None where nothing is pruned; not read.

    Returns:
        Tree like scores.
    """
    gradient = jax.grad(lambda w: network.loss(model, w, batch))(weights)
    found = jax.tree.map(lambda w, g: jnp.abs(w * g), weights, gradient)
    return base.choose(found, scores)


def snip(
    model: network.Model,
    batch: network.Batch,
    scope: selection.Scope = "global",
    prunable: base.Prunable | None = None,
    kernel_axes: kernels.KernelAxes = kernels.kernel_axes,
) -> base.Pruner:
    """Keeps the largest |g · w| of a batch at initialization.

    Deviations: saliencies are not divided by their sum, which ranks alike. Give a batch of some
    hundred images: the paper takes 100 of MNIST.

    Args:
        model: See `snip_saliency`.
        batch: See `snip_saliency`.
        scope: "global" as in the paper, or "tensor".
        prunable: See `edge_popup`.
        kernel_axes: See `edge_popup`.

    Returns:
        A Pruner; it cannot be named on the command line, as it needs data.

    Raises:
        ValueError: See `edge_popup`.
    """

    def found(key: jax.Array, weights: chex.ArrayTree, scores: chex.ArrayTree) -> chex.ArrayTree:
        del key
        return snip_saliency(model, batch, weights, scores)

    return saliency.by_saliency("snip", found, scope, prunable, kernel_axes)
