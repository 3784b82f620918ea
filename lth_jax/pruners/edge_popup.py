"""Edge-popup: train a score per weight, keep the top ones (Ramanujan et al. 2020, 1911.13299)."""

import functools
import math
from typing import NamedTuple, Protocol

import chex
import jax
import jax.numpy as jnp

from lth_jax.masks import selection
from lth_jax.pruners import base


class PopupState(NamedTuple):
    """The selection of the present scores, so that a step and its evaluation select only once."""

    mask: chex.ArrayTree
    thresholds: chex.ArrayTree  # where the next step's search starts


class ScoreBound(Protocol):
    """Where the initial scores of a leaf lie."""

    def __call__(self, path: base.Path, leaf: jax.Array, /) -> float:
        """Returns b, for scores from U(-b, b)."""


def inverse_root_fan_in(path: base.Path, leaf: jax.Array) -> float:
    """Bound of the initial scores: 1/√fan_in, the fan being every axis but the last."""
    del path
    return 1 / math.sqrt(math.prod(leaf.shape[:-1]))


def uniform_scores(
    key: jax.Array, weights: chex.ArrayTree, prunable: base.Prunable, score_bound: ScoreBound
) -> chex.ArrayTree:
    """Draws scores from U(-b, b).

    Args:
        key: Typed key.
        weights: Tree of float arrays.
        prunable: (path, leaf) -> whether the leaf gets scores.
        score_bound: (path, leaf) -> b.

    Returns:
        Tree like weights, None where a leaf is not pruned.
    """
    leaves, treedef = jax.tree_util.tree_flatten_with_path(weights)

    def one(index: int, path: base.Path, leaf: jax.Array) -> jax.Array | None:
        if not prunable(path, leaf):
            return None
        bound = score_bound(path, leaf)
        key_leaf = jax.random.fold_in(key, index)
        return jax.random.uniform(key_leaf, leaf.shape, leaf.dtype, -bound, bound)

    scores = [one(i, *pair) for i, pair in enumerate(leaves)]
    return jax.tree.unflatten(treedef, scores)


def edge_popup(
    scope: selection.Scope = "tensor",
    prunable: base.Prunable = base.prunable,
    score_bound: ScoreBound = inverse_root_fan_in,
) -> base.Pruner:
    """Scores are trained through the mask of the top |score|, as if the mask were the score.

    The gradient of a score is ∂L/∂w_eff · w · sign(score), also where the weight is masked out.

    Args:
        scope: "tensor" keeps the same fraction of every tensor, "global" ranks all scores together.
        prunable: (path, leaf) -> whether the leaf gets scores.
        score_bound: (path, leaf) -> b, for initial scores from U(-b, b).

    Returns:
        A Pruner.

    Raises:
        ValueError: If scope is unknown.
    """
    selection.check_scope(scope)

    def init(key: jax.Array, weights: chex.ArrayTree) -> chex.ArrayTree:
        return uniform_scores(key, weights, prunable, score_bound)

    select = functools.partial(_select, scope)

    def mask(
        scores: chex.ArrayTree, kept: chex.ArrayTree, state: PopupState | None = None
    ) -> chex.ArrayTree:
        return state.mask if state else select(scores, kept)[0]

    def subnetwork(
        key: jax.Array,
        weights: chex.ArrayTree,
        scores: chex.ArrayTree,
        kept: chex.ArrayTree,
        state: PopupState | None = None,
    ) -> chex.ArrayTree:
        del key
        ranked = jax.tree.map(jnp.abs, scores)
        return selection.straight_through(weights, ranked, mask(scores, kept, state))

    def init_state(
        key: jax.Array, weights: chex.ArrayTree, scores: chex.ArrayTree, kept: chex.ArrayTree
    ) -> PopupState:
        del key, weights
        return PopupState(*select(scores, kept))

    def after_step(
        key: jax.Array,
        step: int | jax.Array,
        weights: chex.ArrayTree,
        scores: chex.ArrayTree,
        kept: chex.ArrayTree,
        state: PopupState,
    ) -> tuple[chex.ArrayTree, chex.ArrayTree, PopupState]:
        del key, step
        return weights, scores, PopupState(*select(scores, kept, state.thresholds))

    return base.Pruner(
        "edge_popup",
        scope,
        init,
        subnetwork,
        mask,
        init_state=init_state,
        after_step=after_step,
    )


def _select(
    scope: selection.Scope,
    scores: chex.ArrayTree,
    kept: chex.ArrayTree,
    hints: chex.ArrayTree | None = None,
) -> tuple[chex.ArrayTree, chex.ArrayTree]:
    """The mask of the top |score|, and the hints for the next search."""
    if selection.is_global(kept) != (scope == "global") and not selection.is_global(scores):
        expected = "one integer" if scope == "global" else "a tree of integers like the scores"
        raise ValueError(f"expected {expected} for kept with scope {scope!r}, got {kept!r}.")
    return selection.tree_topk_mask_and_thresholds(jax.tree.map(jnp.abs, scores), kept, hints)
