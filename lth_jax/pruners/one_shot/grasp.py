"""GraSP: keep what the flow of gradients needs (Wang et al. 2020, 2002.07376)."""

import chex
import jax

from lth_jax.masks import selection
from lth_jax.pruners import base, kernels
from lth_jax.pruners.one_shot import network, saliency


def grasp_saliency(
    model: network.Model,
    batch: network.Batch,
    weights: chex.ArrayTree,
    scores: chex.ArrayTree,
) -> chex.ArrayTree:
    """-w · (H g), g the gradient of the loss and H its Hessian, by the chosen weights.

    Removing a weight changes ½|g|² by about this much, so the least are removed.

    Args:
        model: As `lth_jax.Model`.
        batch: Of the training split, normalized as the network takes it.
        weights: Tree of arrays.
        scores: Tree like weights, None where nothing is pruned; not read.

    Returns:
        Tree like scores, of both signs.
    """
    chosen = base.choose(weights, scores)

    def slope(part: chex.ArrayTree) -> chex.ArrayTree:
        return jax.grad(lambda p: network.loss(model, base.merge(weights, p), batch))(part)

    _, product = jax.jvp(slope, (chosen,), (slope(chosen),))
    found: chex.ArrayTree = jax.tree.map(lambda w, h: -w * h, chosen, product)
    return found


def grasp(
    model: network.Model,
    batch: network.Batch,
    scope: selection.Scope = "global",
    prunable: base.Prunable | None = None,
    kernel_axes: kernels.KernelAxes = kernels.kernel_axes,
) -> base.Pruner:
    """Keeps the largest -w · (H g) of a batch at initialization, signs included.

    Deviations: the paper divides logits by a temperature of 200 and sums over several batches with
    ten images of each class; here the batch is what is given, at temperature 1.

    Args:
        model: See `grasp_saliency`.
        batch: See `grasp_saliency`.
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
        return grasp_saliency(model, batch, weights, scores)

    return saliency.by_saliency("grasp", found, scope, prunable, kernel_axes)
