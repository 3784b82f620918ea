"""Pruners that score once, at initialization: the mask is that of the top saliencies, for good."""

from typing import NamedTuple, Protocol

import chex
import jax

from lth_jax.masks import selection
from lth_jax.pruners import base, kernels
from lth_jax.pruners.edge_popup import edge_popup


class Saliency(Protocol):
    """How much each weight matters."""

    def __call__(
        self, key: jax.Array, weights: chex.ArrayTree, scores: chex.ArrayTree
    ) -> chex.ArrayTree:
        """Returns numbers like `scores`, the higher the more; scores only say what is pruned."""


class SaliencyState(NamedTuple):
    """What no step changes."""

    scores: chex.ArrayTree
    mask: chex.ArrayTree


def by_saliency(
    name: str,
    saliency: Saliency,
    scope: selection.Scope = "tensor",
    prunable: base.Prunable | None = None,
    kernel_axes: kernels.KernelAxes = kernels.kernel_axes,
) -> base.Pruner:
    """A pruner whose scores are saliencies of the initial weights, which stay what they are.

    It is at home in the method random_mask_then_perturb, whose mask is its own; methods that train
    scores are refused, as steps of these change nothing.

    Args:
        name: Of the pruner.
        saliency: See `Saliency`.
        scope: See `edge_popup`; saliencies are as a rule compared over all tensors, "global".
        prunable: See `edge_popup`.
        kernel_axes: See `edge_popup`.

    Returns:
        A Pruner.

    Raises:
        ValueError: See `edge_popup`.
    """
    popup = edge_popup(scope, prunable, None, kernel_axes)

    def init(key: jax.Array, weights: chex.ArrayTree) -> chex.ArrayTree:
        key_shape, key_saliency = jax.random.split(key)
        found = saliency(key_saliency, weights, popup.init(key_shape, weights))
        # A score must not be the weights' own array: both are given away to the next step.
        return jax.tree.map(lambda s: s + 0, jax.lax.stop_gradient(found))

    def mask(
        scores: chex.ArrayTree, kept: chex.ArrayTree, state: SaliencyState | None = None
    ) -> chex.ArrayTree:
        base.check_kept(scope, scores, kept)
        return state.mask if state else selection.tree_topk_mask(scores, kept)

    def subnetwork(
        key: jax.Array,
        weights: chex.ArrayTree,
        scores: chex.ArrayTree,
        kept: chex.ArrayTree,
        state: SaliencyState | None = None,
    ) -> chex.ArrayTree:
        del key
        found = mask(scores, kept, state)
        base.check_trees(weights, scores, found)
        return selection.apply_mask(weights, found)

    def init_state(
        key: jax.Array, weights: chex.ArrayTree, scores: chex.ArrayTree, kept: chex.ArrayTree
    ) -> SaliencyState:
        del key, weights
        return SaliencyState(scores, mask(scores, kept))

    def after_step(
        key: jax.Array,
        step: int | jax.Array,
        weights: chex.ArrayTree,
        scores: chex.ArrayTree,
        kept: chex.ArrayTree,
        state: SaliencyState,
    ) -> tuple[chex.ArrayTree, chex.ArrayTree, SaliencyState]:
        del key, step, scores  # Decay moved them.
        return weights, state.scores, SaliencyState(state.scores, mask(state.scores, kept))

    return popup._replace(
        name=name,
        init=init,
        subnetwork=subnetwork,
        mask=mask,
        init_state=init_state,
        after_step=after_step,
        learns=False,
    )
