"""Edge-popup: train a score per weight, keep the top ones (Ramanujan et al. 2020, 1911.13299)."""

import functools
import math
from typing import NamedTuple, Protocol

import chex
import jax
import jax.numpy as jnp

from lth_jax.masks import selection
from lth_jax.perturb import shards
from lth_jax.pruners import base, kernels


class PopupState(NamedTuple):
    """The selection of the present scores, so that a step and its evaluation select only once."""

    mask: chex.ArrayTree
    thresholds: chex.ArrayTree  # where the next step's search starts


class ScoreBound(Protocol):
    """Where the initial scores of a leaf lie."""

    def __call__(self, path: kernels.Path, leaf: jax.Array, /) -> float:
        """Returns b, for scores from U(-b, b)."""


def inverse_root_fan_in(axes: kernels.KernelAxes) -> ScoreBound:
    """Bounds of the initial scores by kernels' fan-in: 1/√fan_in."""
    return lambda path, leaf: 1 / math.sqrt(kernels.fan_in(axes(path, leaf), leaf.shape))


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

    def one(index: int, path: kernels.Path, leaf: jax.Array) -> jax.Array | None:
        if not prunable(path, leaf):
            return None
        bound = score_bound(path, leaf)
        key_leaf = jax.random.fold_in(key, index)
        return jax.random.uniform(key_leaf, leaf.shape, leaf.dtype, -bound, bound)

    scores = [one(i, *pair) for i, pair in enumerate(leaves)]
    return jax.tree.unflatten(treedef, scores)


def edge_popup(
    scope: selection.Scope = "tensor",
    prunable: base.Prunable | None = None,
    score_bound: ScoreBound | None = None,
    kernel_axes: kernels.KernelAxes = kernels.kernel_axes,
    axis_name: shards.AxisName | None = None,
) -> base.Pruner:
    """Scores are trained through the mask of the top |score|, as if the mask were the score.

    The gradient of a score is ∂L/∂w_eff · w · sign(score), also where the weight is masked out.

    Args:
        scope: "tensor" keeps the same fraction of every tensor, "global" ranks all scores together,
            "erk" keeps more of small tensors than of large ones, see masks/shares.py.
        prunable: (path, leaf) -> whether the leaf gets scores; None is all kernels.
        score_bound: (path, leaf) -> b, for initial scores from U(-b, b); None is 1/√fan_in.
        kernel_axes: (path, leaf) -> the axes that a kernel is summed over, None for no kernel;
            a Model has its own, which knows more than names tell.
        axis_name: Needed inside jax.shard_map, see `topk_mask`. Draw the scores outside of it: a
            shard does not know the whole fan-in.

    Returns:
        A Pruner.

    Raises:
        ValueError: If scope is unknown; from `init`, if weights are split over devices; from the
            others, if axis_name is missing or wrong.
    """
    selection.check_scope(scope)
    chosen = prunable or kernels.choice(kernel_axes)
    bound = score_bound or inverse_root_fan_in(kernel_axes)

    def init(key: jax.Array, weights: chex.ArrayTree) -> chex.ArrayTree:
        shards.check_whole("scores", axis_name, weights)
        return uniform_scores(key, weights, chosen, bound)

    select = functools.partial(_select, scope, axis_name)

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
        kernel_axes=kernel_axes,
    )


def _select(
    scope: selection.Scope,
    axis_name: shards.AxisName | None,
    scores: chex.ArrayTree,
    kept: chex.ArrayTree,
    hints: chex.ArrayTree | None = None,
) -> tuple[chex.ArrayTree, chex.ArrayTree]:
    """The mask of the top |score|, and the hints for the next search."""
    base.check_kept(scope, scores, kept)
    ranked = jax.tree.map(jnp.abs, scores)
    return selection.tree_topk_mask_and_thresholds(ranked, kept, hints, axis_name)
