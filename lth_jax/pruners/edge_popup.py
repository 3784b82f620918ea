"""Edge-popup: train a score per weight, keep the top ones (Ramanujan et al. 2020, 1911.13299)."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lth_jax.masks import selection
from lth_jax.pruners import base

PyTree = Any


class PopupState(NamedTuple):
    """The selection of the present scores, so that a step and its evaluation select only once."""

    mask: PyTree
    thresholds: PyTree  # where the next step's search starts


def inverse_root_fan_in(path: tuple, leaf: jax.Array) -> float:
    """Bound of the initial scores: 1/√fan_in, the fan being every axis but the last."""
    del path
    return 1 / math.sqrt(math.prod(leaf.shape[:-1]))


def edge_popup(
    scope: str = "tensor",
    prunable: Callable[[tuple, jax.Array], bool] = base.prunable,
    score_bound: Callable[[tuple, jax.Array], float] = inverse_root_fan_in,
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
    if scope not in ("tensor", "global"):
        raise ValueError(f"scope must be 'tensor' or 'global', got {scope!r}.")

    def init(key, weights):
        leaves, treedef = jax.tree_util.tree_flatten_with_path(weights)

        def one(index, path, leaf):
            if not prunable(path, leaf):
                return None
            bound = score_bound(path, leaf)
            key_leaf = jax.random.fold_in(key, index)
            return jax.random.uniform(key_leaf, leaf.shape, leaf.dtype, -bound, bound)

        return treedef.unflatten([one(i, *pair) for i, pair in enumerate(leaves)])

    def select(scores, kept, hints=None):
        if selection.is_global(kept) != (scope == "global") and not selection.is_global(scores):
            expected = "one integer" if scope == "global" else "a tree of integers like the scores"
            raise ValueError(f"expected {expected} for kept with scope {scope!r}, got {kept!r}.")
        return selection.tree_topk_mask_and_thresholds(jax.tree.map(jnp.abs, scores), kept, hints)

    def mask(scores, kept, state=None):
        return state.mask if state else select(scores, kept)[0]

    def subnetwork(key, weights, scores, kept, state=None):
        del key
        ranked = jax.tree.map(jnp.abs, scores)
        return selection.straight_through(weights, ranked, mask(scores, kept, state))

    def init_state(key, weights, scores, kept):
        del key, weights
        return PopupState(*select(scores, kept))

    def after_step(key, step, weights, scores, kept, state):
        del key, step
        return weights, scores, PopupState(*select(scores, kept, state.thresholds))

    return base.Pruner(scope, init, subnetwork, mask, init_state=init_state, after_step=after_step)
