"""GraSP: keep what the flow of gradients needs (Wang et al. 2020, 2002.07376)."""

import math

import chex
import jax
import jax.numpy as jnp

from lth_jax.masks import selection
from lth_jax.pruners import base, kernels
from lth_jax.pruners.one_shot import network, saliency


def grasp_saliency(
    model: network.Model,
    batch: network.Batch,
    weights: chex.ArrayTree,
    scores: chex.ArrayTree,
    temperature: float = 200.0,
) -> chex.ArrayTree:
    """Finds w · (H g), g the gradient of the loss and H its Hessian, by the chosen weights.

    Removing a weight takes about this much from ½|g|², so the largest are kept. The paper's
    score is this one's negative, of which it removes the largest.

    Args:
        model: As `lth_jax.Model`.
        batch: Of the training split, normalized as the network takes it.
        weights: Tree of arrays.
        scores: Tree like weights, None where nothing is pruned; not read.
        temperature: What logits are divided by, 200 in the paper.

    Returns:
        Tree like scores, of both signs.
    """
    chosen = base.choose(weights, scores)

    def loss(part: chex.ArrayTree) -> jax.Array:
        return network.loss(model, base.merge(weights, part), batch, temperature)

    slope = jax.grad(loss)
    _, product = jax.jvp(slope, (chosen,), (slope(chosen),))
    found: chex.ArrayTree = jax.tree.map(jnp.multiply, chosen, product)
    return found


def grasp(
    model: network.Model,
    batch: network.Batch,
    scope: selection.Scope = "global",
    prunable: base.Prunable | None = None,
    kernel_axes: kernels.KernelAxes = kernels.kernel_axes,
    temperature: float = 200.0,
) -> base.Pruner:
    """Keeps the largest w · (H g) of a batch at initialization, signs included.

    Deviations: the paper sums over several batches with ten images of each class; here the batch
    is what is given.

    Args:
        model: See `grasp_saliency`.
        batch: See `grasp_saliency`.
        scope: "global" as in the paper, or "tensor".
        prunable: See `edge_popup`.
        kernel_axes: See `edge_popup`.
        temperature: See `grasp_saliency`; above 0.

    Returns:
        A Pruner; it cannot be named on the command line, as it needs data.

    Raises:
        ValueError: If temperature is not above 0 and finite; see also `edge_popup`.
    """
    if not 0 < temperature < math.inf:
        raise ValueError(f"temperature must be above 0 and finite, got {temperature}.")

    def found(key: jax.Array, weights: chex.ArrayTree, scores: chex.ArrayTree) -> chex.ArrayTree:
        del key
        return grasp_saliency(model, batch, weights, scores, temperature)

    return saliency.by_saliency("grasp", found, scope, prunable, kernel_axes)
