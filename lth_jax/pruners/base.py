"""What a pruning algorithm is: a tuple of pure functions over trees of weights and scores."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lth_jax.masks import selection

PyTree = Any


def prunable(path: tuple, leaf: jax.Array) -> bool:
    """The default choice of what is pruned: every leaf of two axes or more."""
    del path
    return jnp.ndim(leaf) >= 2


def choose(weights: PyTree, scores: PyTree) -> PyTree:
    """The weights that have scores; None in place of the others.

    Args:
        weights: Tree of arrays.
        scores: The same tree with None where a leaf is not pruned.

    Returns:
        Tree like `scores`, of weights.
    """
    return jax.tree.map(lambda w, s: None if s is None else w, weights, scores)


def merge(weights: PyTree, chosen: PyTree) -> PyTree:
    """The inverse of `choose`: `weights` with the leaves that `chosen` has put back."""
    return jax.tree.map(lambda w, c: w if c is None else c, weights, chosen)


def no_state(key: jax.Array, weights: PyTree, scores: PyTree, kept: PyTree) -> PyTree:
    """The `init_state` of a pruner that carries nothing from step to step."""
    del key, weights, scores, kept
    return ()


def same_after_step(key, step, weights, scores, kept, state) -> tuple[PyTree, PyTree, PyTree]:
    """The `after_step` of a pruner that changes nothing between steps."""
    del key, step, kept
    return weights, scores, state


def no_penalty(scores: PyTree, kept: PyTree) -> float:
    """The `penalty` of a pruner that adds nothing to the loss."""
    del scores, kept
    return 0.0


class Pruner(NamedTuple):
    """A pruning algorithm.

    `scores` is a tree like the weights with None where a leaf is not pruned. `kept` is a tree of
    integers like the scores (scope "tensor") or one integer (scope "global"). `state` may be left
    out everywhere but in `after_step`; with it, work is shared between steps, and it must belong
    to the scores it comes with.
    """

    scope: str  # "tensor" or "global"
    init: Callable  # (key, weights) -> scores
    subnetwork: Callable  # (key, weights, scores, kept, state) -> pruned weights, differentiable
    mask: Callable  # (scores, kept, state) -> the final mask, exactly `kept` ones
    apply: Callable = selection.apply_mask  # (weights, mask) -> pruned weights, of a fixed mask
    init_state: Callable = no_state  # (key, weights, scores, kept) -> state
    after_step: Callable = same_after_step  # (key, step, weights, scores, kept, state) -> the three
    penalty: Callable = no_penalty  # (scores, kept) -> scalar
