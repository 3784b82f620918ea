"""Hard concrete gates with an L0 penalty (Louizos et al. 2018, 1712.01312).

A gate is a sigmoid of score and noise, stretched to (-0.1, 1.1) and clipped to [0, 1]: it is often
exactly 0 or 1, and has a gradient of its own, without a straight-through estimator.
"""

import math

import chex
import jax
import jax.numpy as jnp

from lth_jax import errors
from lth_jax.masks import selection
from lth_jax.pruners import base, kernels, noise
from lth_jax.pruners.edge_popup import ScoreBound, edge_popup

_TEMPERATURE, _LOW, _HIGH = 2 / 3, -0.1, 1.1  # The paper's.


def hard_concrete(
    scope: selection.Scope = "tensor",
    prunable: base.Prunable | None = None,
    score_bound: ScoreBound | None = None,
    kernel_axes: kernels.KernelAxes = kernels.kernel_axes,
    penalty_rate: float = 1e-5,
) -> base.Pruner:
    """Weights are multiplied by random gates in training; the final mask is that of the top scores.

    The penalty is `penalty_rate` times the expected number of gates above 0, as far as that is more
    than the number to keep.

    Deviations: the paper's penalty has no number to stop at. The final network has the exact number
    of weights, whole, instead of the paper's clipped mean gates. Scores start from U(-b, b).
    A step moves a score by up to a quarter of the product of both rates because of the penalty
    alone: where that is much, as at .01 and a rate of 10, little else is learned.

    Args:
        scope: See `edge_popup`.
        prunable: See `edge_popup`.
        score_bound: See `edge_popup`.
        kernel_axes: See `edge_popup`.
        penalty_rate: Loss per gate above 0, at least 0.

    Returns:
        A Pruner.

    Raises:
        ValueError: If penalty_rate is negative or not finite; see `edge_popup`.
    """
    if not 0 <= penalty_rate < math.inf:
        raise ValueError(f"penalty_rate must be finite and at least 0, got {penalty_rate!r}.")
    popup = edge_popup(scope, prunable, score_bound, kernel_axes)

    def mask(
        scores: chex.ArrayTree, kept: chex.ArrayTree, state: chex.ArrayTree | None = None
    ) -> chex.ArrayTree:
        del state
        base.check_kept(scope, scores, kept)
        return selection.tree_topk_mask(scores, kept)

    def subnetwork(
        key: jax.Array,
        weights: chex.ArrayTree,
        scores: chex.ArrayTree,
        kept: chex.ArrayTree,
        state: chex.ArrayTree | None = None,
    ) -> chex.ArrayTree:
        del state
        base.check_kept(scope, scores, kept)
        errors.check_tree("scores", scores, weights, gaps=True)
        gates = jax.tree.map(gate, scores, noise.logistic(key, scores))
        return jax.tree.map(lambda w, z: w if z is None else w * z, weights, gates)

    def penalty(scores: chex.ArrayTree, kept: chex.ArrayTree) -> jax.Array:
        base.check_kept(scope, scores, kept)
        open_gates = jax.tree.map(lambda s: jnp.sum(chance(s)), scores)
        if selection.is_global(kept):
            open_gates = sum(jax.tree.leaves(open_gates))
            kept = kept.total if isinstance(kept, selection.Floored) else kept
        excess = jax.tree.map(lambda n, k: jnp.maximum(n - k, 0), open_gates, kept)
        return penalty_rate * jnp.sum(jnp.stack(jax.tree.leaves(excess)))

    return base.Pruner(
        "hard_concrete",
        scope,
        popup.init,
        subnetwork,
        mask,
        penalty=penalty,
        kernel_axes=kernel_axes,
    )


def gate(score: jax.Array, draw: jax.Array) -> jax.Array:
    """A gate in [0, 1] for a logistic draw; differentiable by the score where it is between."""
    stretched = jax.nn.sigmoid((score + draw) / _TEMPERATURE) * (_HIGH - _LOW) + _LOW
    return jnp.clip(stretched, 0, 1)


def chance(score: jax.Array) -> jax.Array:
    """The probability that a gate is above 0."""
    return jax.nn.sigmoid(score - _TEMPERATURE * math.log(-_LOW / _HIGH))
