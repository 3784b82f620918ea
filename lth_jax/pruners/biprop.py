"""Biprop: edge-popup's mask over binary weights (Diffenderfer and Kailkhura 2021, 2103.09377).

The network is α·sign(w) where the mask is True, α the mean of |w| over the kept ones of a tensor.
"""

import chex
import jax
import jax.numpy as jnp

from lth_jax.masks import selection, surrogate
from lth_jax.pruners import base, kernels
from lth_jax.pruners.edge_popup import PopupState, ScoreBound, edge_popup


def biprop(
    scope: selection.Scope = "tensor",
    prunable: base.Prunable | None = None,
    score_bound: ScoreBound | None = None,
    kernel_axes: kernels.KernelAxes = kernels.kernel_axes,
) -> base.Pruner:
    """Scores are trained as edge-popup's, through a network of one magnitude per tensor.

    The gradient of a score is ∂L/∂v · w · sign(score) with v the network: α counts as constant. The
    α of a tensor of which nothing is kept is 0.

    Deviations: the number of kept weights is exact, also under ties. Weights may move in a ball:
    then sign and α are straight-through, so that a kept weight's gradient is ∂L/∂v. A weight of
    exactly 0 stays 0. Activations are not made binary.

    Args:
        scope: See `edge_popup`; α is per tensor in both.
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
        mask = popup.mask(scores, kept, state)
        base.check_trees(weights, scores, mask)

        def one(w: jax.Array, s: jax.Array | None, m: jax.Array) -> jax.Array:
            if s is None:
                return w
            return surrogate.surrogate(binary(w, m), (w, s), (m.astype(w.dtype), w * jnp.sign(s)))

        return jax.tree.map(one, weights, scores, mask)

    return popup._replace(name="biprop", subnetwork=subnetwork, apply=_apply)


def _apply(weights: chex.ArrayTree, scores: chex.ArrayTree, mask: chex.ArrayTree) -> chex.ArrayTree:
    base.check_trees(weights, scores, mask)

    def one(w: jax.Array, m: jax.Array | None) -> jax.Array:
        return w if m is None else surrogate.surrogate(binary(w, m), (w,), (m.astype(w.dtype),))

    return jax.tree.map(one, weights, mask)


def binary(weight: jax.Array, mask: jax.Array) -> jax.Array:
    """α·sign(w) where the mask is True and 0 elsewhere.

    Args:
        weight: [...] float.
        mask: [...] bool.

    Returns:
        [...] in the weight's dtype. α is the mean of |w| over the mask, 0 for an empty one.
    """
    count = jnp.maximum(jnp.sum(mask), 1).astype(weight.dtype)
    magnitude = jnp.sum(jnp.where(mask, jnp.abs(weight), jnp.zeros_like(weight))) / count
    return jnp.where(mask, magnitude * jnp.sign(weight), jnp.zeros_like(weight))
