"""Signed supermask: a mask in {-1, 0, 1} from one real score (Koster et al. 2022, 2201.12852).

A kept weight may change its sign: it moves by y in {0, -2w}, the two points of the relative ball
|y| <= 2|w| that leave it its size. So it is a ticket of weights that are perturbed in that ball.
"""

import chex
import jax
import jax.numpy as jnp

from lth_jax.masks import selection, surrogate
from lth_jax.pruners import base, kernels
from lth_jax.pruners.edge_popup import PopupState, ScoreBound, edge_popup


def signed(
    scope: selection.Scope = "tensor",
    prunable: base.Prunable | None = None,
    score_bound: ScoreBound | None = None,
    kernel_axes: kernels.KernelAxes = kernels.kernel_axes,
) -> base.Pruner:
    """The top |score| are kept; where the score is negative the weight changes its sign.

    The network is v = w · t with t in {-1, 0, 1}; the gradient of a score is ∂L/∂v · w, as if t
    were the score, and that of a weight ∂L/∂v · t.

    Deviations: the paper has two fixed thresholds and lets the number of kept weights fall out;
    here both are ±θ, with θ such that the number is exact. Scores start from U(-b, b) as
    edge-popup's do, so that half of the kept weights are turned at first. Weights may move in a
    ball about w_0: a turn is no move of theirs. A score of ±0 or NaN turns nothing. ELUs are a
    matter of the model.

    Args:
        scope: See `edge_popup`.
        prunable: See `edge_popup`.
        score_bound: See `edge_popup`.
        kernel_axes: See `edge_popup`.

    Returns:
        A Pruner.

    Raises:
        ValueError: See `edge_popup`.
    """
    popup = edge_popup(scope, prunable, score_bound, kernel_axes)

    def subnetwork(
        key: jax.Array,
        weights: chex.ArrayTree,
        scores: chex.ArrayTree,
        kept: chex.ArrayTree,
        state: PopupState | None = None,
    ) -> chex.ArrayTree:
        del key
        return _apply(weights, scores, popup.mask(scores, kept, state))

    return popup._replace(name="signed", subnetwork=subnetwork, apply=_apply)


def _apply(weights: chex.ArrayTree, scores: chex.ArrayTree, mask: chex.ArrayTree) -> chex.ArrayTree:
    base.check_trees(weights, scores, mask)

    def one(w: jax.Array, s: jax.Array | None, m: jax.Array) -> jax.Array:
        if s is None:
            return w
        sign = ternary(s, m).astype(w.dtype)
        # Not a product: an infinite weight that is pruned is 0.
        value = jnp.where(m, jnp.where(sign < 0, -w, w), jnp.zeros_like(w))
        return surrogate.surrogate(value, (w, s), (sign, w))

    return jax.tree.map(one, weights, scores, mask)


def ternary(score: jax.Array, mask: jax.Array) -> jax.Array:
    """-1 where a kept score is negative, 1 where it is kept otherwise, 0 elsewhere; int8."""
    return jnp.where(mask, jnp.where(score < 0, -1, 1), 0).astype(jnp.int8)
