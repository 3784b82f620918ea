"""Frozen: a random part of the mask is fixed before training (Otsuka et al. 2024, 2402.14029).

Of each tensor a random share of entries is frozen: some are pruned for good, some kept for good.
Only the others are learned, by edge-popup. What is frozen is written into the scores, as numbers
far beyond any other score, so that every stage and checkpoint of a lane knows it.
"""

import functools
from fractions import Fraction
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from lth_jax import errors
from lth_jax.masks import selection, surrogate
from lth_jax.pruners import base, kernels
from lth_jax.pruners.edge_popup import ScoreBound, edge_popup

_MARK = 2.0**40  # Scores of frozen entries lie in [MARK, 2 MARK), in an order drawn at random.
_LIMIT = 2.0**20  # Scores above it are frozen ones; their sums of squares fit float32.


class FrozenState(NamedTuple):
    """What frozen entries are reset to after each step, and the present mask."""

    scores: chex.ArrayTree  # of the first step
    mask: chex.ArrayTree


def frozen(
    scope: selection.Scope = "tensor",
    prunable: base.Prunable | None = None,
    score_bound: ScoreBound | None = None,
    kernel_axes: kernels.KernelAxes = kernels.kernel_axes,
    share: str | Fraction = "1/2",
) -> base.Pruner:
    """Edge-popup on what is left when a random share of the mask is fixed.

    Of n entries floor(n·share) are frozen. With k to keep, floor(k·share) of these are kept for
    good, chosen at random, the rest of them is pruned for good, and the top |score| of the others
    fill up to exactly k. A score that is not frozen has edge-popup's gradient, a frozen one none.

    Deviations: the paper chooses the shares that are pruned and kept for good apart; here the
    frozen part is as sparse as the whole, so that one share serves every sparsity. In the scope
    "global" the counts are of all tensors together. The config's `curves` of |score| count marks.

    Args:
        scope: See `edge_popup`.
        prunable: See `edge_popup`.
        score_bound: See `edge_popup`; of the scores that are not frozen.
        kernel_axes: See `edge_popup`.
        share: Of the entries that are frozen, in [0, 1): a fraction with a denominator up to 1000.

    Returns:
        A Pruner.

    Raises:
        ValueError: If share is no such fraction; see `edge_popup`.
    """
    part = Fraction(share)
    if not (0 <= part < 1 and part.denominator <= 1000):
        raise ValueError(f"share must be a fraction in [0, 1), at most /1000, got {share!r}.")
    popup = edge_popup(scope, prunable, score_bound, kernel_axes)
    select = functools.partial(_select, scope, part)

    def init(key: jax.Array, weights: chex.ArrayTree) -> chex.ArrayTree:
        key_live, key_frozen = jax.random.split(key)
        return _freeze(key_frozen, popup.init(key_live, weights), part)

    def mask(
        scores: chex.ArrayTree, kept: chex.ArrayTree, state: FrozenState | None = None
    ) -> chex.ArrayTree:
        return state.mask if state else select(scores, kept)

    def subnetwork(
        key: jax.Array,
        weights: chex.ArrayTree,
        scores: chex.ArrayTree,
        kept: chex.ArrayTree,
        state: FrozenState | None = None,
    ) -> chex.ArrayTree:
        del key
        marks = mask(scores, kept, state)
        base.check_trees(weights, scores, marks)
        return jax.tree.map(_masked, weights, scores, marks)

    def init_state(
        key: jax.Array, weights: chex.ArrayTree, scores: chex.ArrayTree, kept: chex.ArrayTree
    ) -> FrozenState:
        del key, weights
        return FrozenState(scores, select(scores, kept))

    def after_step(
        key: jax.Array,
        step: int | jax.Array,
        weights: chex.ArrayTree,
        scores: chex.ArrayTree,
        kept: chex.ArrayTree,
        state: FrozenState,
    ) -> tuple[chex.ArrayTree, chex.ArrayTree, FrozenState]:
        del key, step
        scores = jax.tree.map(_as_marked, state.scores, scores)
        return weights, scores, FrozenState(state.scores, select(scores, kept))

    return popup._replace(
        name="frozen",
        init=init,
        subnetwork=subnetwork,
        mask=mask,
        init_state=init_state,
        after_step=after_step,
    )


def is_frozen(scores: jax.Array) -> jax.Array:
    """Where entries are frozen: [...] bool."""
    return jnp.abs(scores) > _LIMIT


def _masked(w: jax.Array, s: jax.Array | None, mask: jax.Array) -> jax.Array:
    """A leaf of the network, without a gradient to frozen scores."""
    if s is None:
        return w
    slope = jnp.where(is_frozen(s), jnp.zeros_like(w), w * jnp.sign(s))
    value = jnp.where(mask, w, jnp.zeros_like(w))
    return surrogate.surrogate(value, (w, s), (mask.astype(w.dtype), slope))


def _as_marked(first: jax.Array, scores: jax.Array) -> jax.Array:
    """Decay moves frozen scores, too; and no other score may come to look like one."""
    return jnp.where(is_frozen(first), first, jnp.clip(scores, -_LIMIT, _LIMIT))


def _freeze(key: jax.Array, scores: chex.ArrayTree, part: Fraction) -> chex.ArrayTree:
    """Scores, of which a share of every leaf is made marks."""
    leaves, treedef = jax.tree.flatten(scores)
    keys = jax.random.split(key, max(len(leaves), 1))
    marked = [_freeze_leaf(k, leaf, part) for k, leaf in zip(keys, leaves, strict=False)]
    return jax.tree.unflatten(treedef, marked)


def _freeze_leaf(key: jax.Array, scores: jax.Array, part: Fraction) -> jax.Array:
    """Puts marks in a random order at exactly floor(n·part) random places."""
    key_where, key_order = jax.random.split(key)
    count = scores.size * part.numerator // part.denominator
    where = selection.topk_mask(jax.random.uniform(key_where, scores.shape), count)
    order = jax.random.uniform(key_order, scores.shape, scores.dtype)
    return jnp.where(where, _MARK * (1 + order), scores)


def _select(
    scope: selection.Scope, part: Fraction, scores: chex.ArrayTree, kept: chex.ArrayTree
) -> chex.ArrayTree:
    """The mask: the highest marks, and the top |score| of the others."""
    base.check_kept(scope, scores, kept)

    def frozen_count(leaf: jax.Array) -> int:
        return leaf.size * part.numerator // part.denominator

    def lowest(s: jax.Array) -> jax.Array:
        return jnp.full_like(s, -jnp.inf)

    def share_of(kept: chex.ArrayTree) -> chex.ArrayTree:
        if isinstance(kept, selection.Floored):
            return selection.Floored(share_of(kept.total), share_of(kept.least))
        if selection.is_global(kept):
            most = sum(frozen_count(leaf) for leaf in jax.tree.leaves(scores))
            return _share_of(kept, part, most)
        errors.check_tree("kept", kept, jax.tree.map(lambda s: 0, scores))
        return jax.tree.map(lambda k, s: _share_of(k, part, frozen_count(s)), kept, scores)

    fixed = share_of(kept)
    rest = jax.tree.map(lambda k, f: k - f, kept, fixed)
    marks = jax.tree.map(lambda s: jnp.where(is_frozen(s), s, lowest(s)), scores)
    others = jax.tree.map(lambda s: jnp.where(is_frozen(s), lowest(s), jnp.abs(s)), scores)
    of_frozen = selection.tree_topk_mask(marks, fixed)
    found: chex.ArrayTree = jax.tree.map(
        jnp.logical_or, of_frozen, selection.tree_topk_mask(others, rest)
    )
    return found


def _share_of(kept: int | jax.Array, part: Fraction, most: int) -> jax.Array:
    """floor(kept · part) without leaving int32, and at most `most`."""
    kept = jnp.asarray(kept, jnp.int32)
    whole, left = kept // part.denominator, kept % part.denominator
    share = whole * part.numerator + left * part.numerator // part.denominator
    return jnp.minimum(share, most)
