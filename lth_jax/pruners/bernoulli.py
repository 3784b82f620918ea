"""Bernoulli masks that are learned by their probabilities (Zhou et al. 2019, 1905.01067).

Each weight stays with probability sigmoid(score - θ); every training step draws a new mask.
"""

import chex
import jax
import jax.numpy as jnp

from lth_jax import errors
from lth_jax.masks import selection, surrogate
from lth_jax.pruners import base, kernels, noise
from lth_jax.pruners.edge_popup import ScoreBound, edge_popup

_HALVINGS = 60


def bernoulli(
    scope: selection.Scope = "tensor",
    prunable: base.Prunable | None = None,
    score_bound: ScoreBound | None = None,
    kernel_axes: kernels.KernelAxes = kernels.kernel_axes,
) -> base.Pruner:
    """Masks are sampled in training; the final mask is that of the top scores.

    A step keeps the top of score + a logistic draw. An entry passes the least that is kept, θ, with
    probability p = sigmoid(score - θ), and the gradient of a score is ∂L/∂v · w · p(1 - p) with v
    the network: straight through the sample, as in the paper. `expected` is the network of
    probabilities, and `subnetwork` with any key a sampled one. Over all tensors together there is
    one θ, with a floor one of each tensor.

    Deviations: the paper has θ = 0, so that the number of kept weights falls out of the training;
    here every sample and the final mask have the exact number. Scores start from U(-b, b), near
    which all masks are about equally likely. The paper trains scores with rates of 20 to 100: the
    default rate is far too small for this finder.

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
        noisy = jax.tree.map(jnp.add, scores, noise.logistic(key, scores))
        sample = mask(noisy, kept, state)
        base.check_trees(weights, scores, sample)
        least = jax.tree.map(lambda z, m: jnp.min(z, initial=jnp.inf, where=m), noisy, sample)
        if scope == "global" and not isinstance(kept, selection.Floored):
            lowest = jnp.min(jnp.stack(jax.tree.leaves(least)))
            least = jax.tree.map(lambda _: lowest, least)

        def one(w: jax.Array, s: jax.Array | None, m: jax.Array, theta: jax.Array) -> jax.Array:
            if s is None:
                return w
            p = jax.nn.sigmoid(s - theta)
            value = jnp.where(m, w, jnp.zeros_like(w))
            return surrogate.surrogate(value, (w, s), (m.astype(w.dtype), w * p * (1 - p)))

        # What is no input of the surrogate must not carry a gradient of its own.
        fixed = jax.lax.stop_gradient((sample, least))
        return jax.tree.map(one, weights, scores, *fixed)

    return base.Pruner("bernoulli", scope, popup.init, subnetwork, mask, kernel_axes=kernel_axes)


def expected(
    weights: chex.ArrayTree, scores: chex.ArrayTree, kept: chex.ArrayTree
) -> chex.ArrayTree:
    """The network of expected weights: w · sigmoid(score - θ), with θ so that `kept` are expected.

    Args:
        weights: Tree of float arrays.
        scores: Tree like weights, None where nothing is pruned.
        kept: Tree of integers like scores, or one integer for all; none with a floor.

    Returns:
        Tree like weights.

    Raises:
        ValueError: If `kept` is neither.
    """
    leaves = jax.tree.leaves(scores)
    if isinstance(kept, selection.Floored):
        raise ValueError("kept must have no floor for the expected network.")
    if selection.is_global(kept):
        theta = _threshold(jnp.concatenate([jnp.ravel(s) for s in leaves]), kept)
        thetas = jax.tree.map(lambda s: theta, scores)
    else:
        errors.check_tree("kept", kept, jax.tree.map(lambda s: 0, scores))
        thetas = jax.tree.map(_threshold, scores, kept)
    return jax.tree.map(
        lambda w, s, t: w if s is None else w * jax.nn.sigmoid(s - t), weights, scores, thetas
    )


def _threshold(scores: jax.Array, kept: int | jax.Array) -> jax.Array:
    """θ with sum sigmoid(score - θ) = kept, by halving."""
    reach = jnp.asarray(100, scores.dtype)  # The sigmoid of ±100 is 0 or 1 in float32.
    low, high = jnp.min(scores) - reach, jnp.max(scores) + reach

    def halve(_: int, ends: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        low, high = ends
        middle = (low + high) / 2
        too_many = jnp.sum(jax.nn.sigmoid(scores - middle)) > kept
        return jnp.where(too_many, middle, low), jnp.where(too_many, high, middle)

    low, high = jax.lax.fori_loop(0, _HALVINGS, halve, (low, high))
    middle: jax.Array = (low + high) / 2
    return middle
