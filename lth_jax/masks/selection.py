"""Exact selection of the highest scores, the masks made of it, and the straight-through gradient.

-0 equals +0, denormals count, and NaN ranks above +infinity, so that a count is always exact.
Ties go to the lower flat index. How the threshold is found is in threshold.py.
"""

import functools
import operator
import typing
from fractions import Fraction
from typing import Any, Literal, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from lth_jax import errors
from lth_jax.masks import shares, threshold, ties, together
from lth_jax.perturb import shards

Scope = Literal["tensor", "global", "erk"]
Pair = tuple[jax.Array, jax.Array]


class Floored(NamedTuple):
    """What to keep in the scope "global" with a floor: so many of all, and so many of each."""

    total: int | jax.Array
    least: chex.ArrayTree  # of integers like the scores, at most `total` together


def kept_count(n: int, sparsity: Any) -> int:
    """Number of weights kept of n: n - floor(n * sparsity), in rational arithmetic.

    Args:
        n: Number of prunable weights.
        sparsity: Fraction removed, in [0, 1]: a float or NumPy scalar (meant as the decimal that
            it prints), a str such as "0.9" or "1/3", a Fraction or a Decimal.

    Returns:
        int in [0, n]; at least 1 if sparsity < 1 and n >= 1.

    Raises:
        ValueError: If sparsity is not a number in [0, 1], or n is negative.

    >>> kept_count(10, 0.9), kept_count(3, "1/3"), kept_count(7, 1)
    (1, 2, 0)
    """
    try:
        fraction = Fraction(str(sparsity))
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"sparsity must be a number in [0, 1], got {sparsity!r}.") from None
    if not 0 <= fraction <= 1:
        raise ValueError(f"sparsity must lie in [0, 1], got {sparsity!r}.")
    n = operator.index(n)
    if n < 0:
        raise ValueError(f"n must be at least 0, got {n}.")
    return n - n * fraction.numerator // fraction.denominator


def tree_kept(scores: chex.ArrayTree, sparsity: Any, scope: Scope = "tensor") -> chex.ArrayTree:
    """Numbers to keep for a tree of scores, for `tree_topk_mask`.

    Args:
        scores: Tree of arrays or shapes, None where nothing is pruned.
        sparsity: Fraction removed, see `kept_count`; or a list of k of them, to jax.vmap over.
        scope: "tensor" prunes every tensor to the same sparsity, "global" ranks all together, "erk"
            shares their number out by `shares.erk` and ranks within each tensor.

    Returns:
        Tree of ints like scores ("tensor", "erk"), or one int ("global"); of a list, [k] int32
        arrays.

    Raises:
        ValueError: If scope is unknown, sparsity is not in [0, 1], or it leaves less than one
            weight for each tensor in the scope "erk".
    """
    check_scope(scope)
    leaves, treedef = jax.tree.flatten(scores)
    whole = sum(leaf.size for leaf in leaves)

    def counts(sparsity: Any) -> Any:
        if scope == "global":
            return kept_count(whole, sparsity)
        if scope == "erk":
            found = shares.erk([leaf.shape for leaf in leaves], kept_count(whole, sparsity))
        else:
            found = [kept_count(leaf.size, sparsity) for leaf in leaves]
        return jax.tree.unflatten(treedef, found)

    if isinstance(sparsity, list | tuple):
        each = [counts(one) for one in sparsity]
        return jax.tree.map(lambda _, *some: np.array(some, np.int32), counts(0), *each)
    return counts(sparsity)


def with_floor(scores: chex.ArrayTree, kept: int, floor: Any) -> Floored:
    """Numbers to keep in the scope "global" where no tensor may lose nearly all.

    Args:
        scores: Tree of arrays or shapes, None where nothing is pruned.
        kept: Of all together, from `tree_kept`.
        floor: In (0, 1]: every tensor keeps at least this share of what it would keep if all were
            pruned alike, and one weight.

    Returns:
        What `tree_topk_mask` takes for `kept`.

    Raises:
        ValueError: If the floors come to more than `kept`.
    """
    leaves, treedef = jax.tree.flatten(scores)
    least = shares.floors([leaf.size for leaf in leaves], kept, floor)
    return Floored(kept, jax.tree.unflatten(treedef, least))


def check_scope(scope: Scope) -> None:
    """Raises a ValueError if a scope is unknown."""
    if scope not in typing.get_args(Scope):
        known = ", ".join(map(repr, typing.get_args(Scope)))
        raise ValueError(f"scope must be one of {known}, got {scope!r}.")


def kth_largest(
    x: jax.Array,
    k: int | jax.Array,
    hint: jax.Array | None = None,
    axis_name: shards.AxisName | None = None,
) -> jax.Array:
    """The k-th largest entry of x; NaN ranks above +infinity.

    Args:
        x: [...] float, n entries in all.
        k: 1 to n; may be traced (then a k outside gives a meaningless number).
        hint: See `topk_mask`.
        axis_name: See `topk_mask`.

    Returns:
        [] in x's dtype, without a gradient; a zero comes without its sign.

    Raises:
        ValueError: If k is concrete and outside [1, n], x is not float, or axis_name is missing or
            wrong.
    """
    x = jnp.asarray(x)
    split = shards.of(x, shards.axes(axis_name, x))
    k = _checked(k, 1, x.size * shards.count(split), "k")
    found: jax.Array = _kth_largest(x, k, hint, split)
    return found


def topk_mask(
    scores: jax.Array,
    kept: int | jax.Array,
    hint: jax.Array | None = None,
    axis_name: shards.AxisName | None = None,
) -> jax.Array:
    """Marks the `kept` highest-scoring entries; ties go to the lower flat index.

    Args:
        scores: [...] float, n entries in all.
        kept: Number of entries to keep, 0 to n. May be traced: then less than 0 counts as 0, and
            more than n as n. NaN ranks above infinity.
        hint: None, or what `topk_mask_and_threshold` returned for similar scores. It changes the
            speed only: the mask is exact for any content.
        axis_name: Needed inside jax.shard_map: the axes over which scores are split, so that n and
            `kept`, the same on every shard, count the entries of all shards, and ties go to the
            earlier shard (the last axis running fastest) and in it to the lower index; or () if
            every device has whole scores, as it is where jax sees that scores do not vary over
            the axes. Without a shard_map it says nothing.

    Returns:
        [...] bool, True at exactly `kept` entries.

    Raises:
        ValueError: If `kept` is concrete and outside [0, n] or is no integer, scores are not float,
            or axis_name is missing where it is needed or is no axis of the shard_map.
    """
    return topk_mask_and_threshold(scores, kept, hint, axis_name)[0]


def topk_mask_and_threshold(
    scores: jax.Array,
    kept: int | jax.Array,
    hint: jax.Array | None = None,
    axis_name: shards.AxisName | None = None,
) -> Pair:
    """`topk_mask`, and where a later search over similar scores should start.

    Returns:
        mask: [...] bool, True at exactly `kept` entries.
        hint: [2] in the scores' dtype: a threshold, and how far it may move. Only good as a hint.
    """
    scores = jnp.asarray(scores)
    split = shards.of(scores, shards.axes(axis_name, scores))
    kept = _checked(kept, 0, scores.size * shards.count(split), "kept")
    if together.serves([scores]) and not split:
        hints = None if hint is None else [hint]
        ((mask,),), (hint,) = together.masks_and_hints([[scores]], [kept], hints)
        return mask, hint
    found: Pair = _mask_and_hint(scores, kept, hint, split)
    return found


def tree_topk_mask(
    scores: chex.ArrayTree,
    kept: chex.ArrayTree,
    hints: chex.ArrayTree | None = None,
    axis_name: shards.AxisName | None = None,
) -> chex.ArrayTree:
    """Masks of a tree of scores: per tensor, or global over all leaves in jax.tree order.

    Args:
        scores: Tree of float arrays, None where nothing is pruned.
        kept: Tree of integers like scores (per tensor), one integer (global), or `Floored`.
        hints: None, or those of an earlier step from `tree_topk_mask_and_thresholds`.
        axis_name: See `topk_mask`; of all leaves. Global ties go by shard before they go by leaf.

    Returns:
        Tree of bool arrays like scores, None where scores are None.

    Raises:
        ValueError: As for `topk_mask`, or if `kept` is neither one integer nor a tree like scores.
    """
    return tree_topk_mask_and_thresholds(scores, kept, hints, axis_name)[0]


def tree_topk_mask_and_thresholds(
    scores: chex.ArrayTree,
    kept: chex.ArrayTree,
    hints: chex.ArrayTree | None = None,
    axis_name: shards.AxisName | None = None,
) -> tuple[chex.ArrayTree, chex.ArrayTree]:
    """`tree_topk_mask`, and the next step's hints.

    Returns:
        masks: Tree of bool arrays like scores, None where scores are None.
        hints: Tree like scores of [2] floats (per tensor), or one [2] float (global), or both.
    """
    if isinstance(kept, Floored):
        return _floored(scores, kept, hints, axis_name)
    leaves, treedef = jax.tree.flatten(scores)
    if not is_global(kept):
        errors.check_tree("kept", kept, jax.tree.unflatten(treedef, [0] * len(leaves)))
    if together.serves(leaves) and not shards.axes(axis_name, leaves):
        return _tree_together(leaves, treedef, kept, hints)
    if not is_global(kept):
        starts = [None] * len(leaves) if hints is None else jax.tree.leaves(hints)
        found = [
            topk_mask_and_threshold(*args, axis_name)
            for args in zip(leaves, jax.tree.leaves(kept), starts, strict=True)
        ]
        masks, thresholds = ([pair[place] for pair in found] for place in (0, 1))
        return jax.tree.unflatten(treedef, masks), jax.tree.unflatten(treedef, thresholds)
    ranked = jnp.concatenate([jnp.ravel(leaf) for leaf in leaves or [jnp.zeros(0)]])
    mask, hint = topk_mask_and_threshold(ranked, kept, hints, axis_name)
    parts, start = [], 0
    for leaf in leaves:
        parts.append(mask[start : start + leaf.size].reshape(leaf.shape))
        start += leaf.size
    return jax.tree.unflatten(treedef, parts), hint


def _floored(
    scores: chex.ArrayTree,
    kept: Floored,
    hints: chex.ArrayTree | None,
    axis_name: shards.AxisName | None,
) -> tuple[chex.ArrayTree, chex.ArrayTree]:
    """The top `least` of each tensor, filled up by the top of what is left."""
    own, overall = (None, None) if hints is None else hints
    first, own = tree_topk_mask_and_thresholds(scores, kept.least, own, axis_name)

    # NaN ranks above all else: what a floor keeps is kept, and the whole count stays exact.
    def lifted(score: jax.Array, mask: jax.Array) -> jax.Array:
        return jnp.where(mask, jnp.asarray(jnp.nan, score.dtype), score)

    ranked = jax.tree.map(lifted, scores, first)
    masks, overall = tree_topk_mask_and_thresholds(ranked, kept.total, overall, axis_name)
    return masks, (own, overall)


def _tree_together(
    leaves: list[jax.Array],
    treedef: jax.tree_util.PyTreeDef,
    kept: chex.ArrayTree,
    hints: chex.ArrayTree | None,
) -> tuple[chex.ArrayTree, chex.ArrayTree]:
    ranked = [leaves] if is_global(kept) else [[leaf] for leaf in leaves]
    counts = [
        _checked(count, 0, sum(leaf.size for leaf in group), "kept")
        for group, count in zip(ranked, jax.tree.leaves(kept), strict=True)
    ]
    starts = None if hints is None else jax.tree.leaves(hints)
    masks, found = together.masks_and_hints(ranked, counts, starts)
    of_leaves = jax.tree.unflatten(treedef, [mask for group in masks for mask in group])
    return of_leaves, found[0] if is_global(kept) else jax.tree.unflatten(treedef, found)


def apply_mask(weights: chex.ArrayTree, mask: chex.ArrayTree) -> chex.ArrayTree:
    """Weights where the mask is True and 0 elsewhere; leaves with mask None stay as they are.

    Raises:
        ValueError: If the trees differ in structure or shapes.
    """
    errors.check_tree("mask", mask, weights, gaps=True)
    # weights first: only then may the other tree hold None in place of a leaf.
    return jax.tree.map(
        lambda w, m: w if m is None else jnp.where(m, w, jnp.zeros_like(w)), weights, mask
    )


def straight_through(
    weights: chex.ArrayTree, scores: chex.ArrayTree, mask: chex.ArrayTree
) -> chex.ArrayTree:
    """Masked weights whose gradient reaches scores as if the mask were the scores themselves.

    Forward: weights where mask, else 0, exactly. Backward, for a gradient g of the result:
    g * mask for weights and g * weights for scores (Bengio et al. 2013; edge-popup, Ramanujan
    et al. 2020, ranks |s| and passes jnp.abs(s) here, so that its chain rule adds sign(s)).
    The mask is data: computed once outside of the gradient, it serves any number of microbatches.

    Args:
        weights: Tree of float arrays.
        scores: Tree like weights, None where not pruned; only its gradient is used.
        mask: Tree of bool arrays like weights, None where not pruned.

    Returns:
        Tree like weights.

    Raises:
        ValueError: If the trees differ in structure or shapes.
    """
    errors.check_tree("scores", scores, weights, gaps=True)
    errors.check_tree("mask", mask, weights, gaps=True)
    return jax.tree.map(
        lambda w, s, m: w if m is None else _straight_through(w, s, m), weights, scores, mask
    )


# The weight, the mask, and an empty array of the score's dtype.
Residuals = tuple[jax.Array, jax.Array, jax.Array]


@jax.custom_vjp
def _straight_through(weight: jax.Array, score: jax.Array, mask: jax.Array) -> jax.Array:
    del score
    return jnp.where(mask, weight, jnp.zeros_like(weight))


def _straight_through_forward(
    weight: jax.Array, score: jax.Array, mask: jax.Array
) -> tuple[jax.Array, Residuals]:
    # A score's dtype travels as an empty array: residuals must be arrays.
    return _straight_through(weight, score, mask), (weight, mask, jnp.zeros((0,), score.dtype))


def _straight_through_backward(
    residuals: Residuals, g: jax.Array
) -> tuple[jax.Array, jax.Array, None]:
    weight, mask, like_score = residuals
    return jnp.where(mask, g, jnp.zeros_like(g)), (g * weight).astype(like_score.dtype), None


_straight_through.defvjp(_straight_through_forward, _straight_through_backward)


def is_global(kept: chex.ArrayTree) -> bool:
    """Whether `kept` is of all leaves together, with floors or not, and no tree of one each."""
    one = jax.tree_util.treedef_is_leaf(jax.tree.structure(kept))
    return bool(one) or isinstance(kept, Floored)


def of_all(kept: chex.ArrayTree) -> Any:
    """How many are kept of all leaves together, whatever the scope."""
    return sum(jax.tree.leaves(kept.total if isinstance(kept, Floored) else kept))


def _checked(kept: int | jax.Array, low: int, high: int, name: str) -> jax.Array:
    """An int32 scalar; a value that is known while tracing is checked."""
    if isinstance(kept, jax.core.Tracer):
        if kept.shape != () or not jnp.issubdtype(kept.dtype, jnp.integer):
            raise ValueError(f"{name} must be one integer, got {kept.dtype}{kept.shape}.")
        if jnp.iinfo(kept.dtype).max > jnp.iinfo(jnp.int32).max:  # A cast would drop bits.
            kept = jnp.clip(kept, min=0, max=high)
        return kept.astype(jnp.int32)
    try:
        if isinstance(kept, bool):
            raise TypeError
        value = operator.index(kept)
    except TypeError:
        raise ValueError(f"{name} must be one integer, got {kept!r}.") from None
    if not low <= value <= high:
        raise ValueError(f"{name} must lie in [{low}, {high}], got {value}.")
    return typing.cast(jax.Array, jnp.int32(value))


@functools.partial(jax.jit, static_argnames="split")
def _kth_largest(
    x: jax.Array, k: jax.Array, hint: jax.Array | None, split: shards.Axes
) -> jax.Array:
    k = shards.largest(k, split)  # The same on every shard, and known to be.
    keys = threshold.keys_of(x).reshape(-1)
    reached, count, _ = threshold.search(keys, k, x.dtype, hint, split)
    # A threshold that splits off exactly k entries need not be one: the least of them is the k-th.
    least = jnp.min(jnp.where(keys >= reached, keys, jnp.iinfo(keys.dtype).max))
    if split:
        least = -shards.largest(-least, split)
    return threshold.value_of(jnp.where(count == k, least, reached), x.dtype)


@functools.partial(jax.jit, static_argnames="split")
def _mask_and_hint(
    scores: jax.Array, kept: jax.Array, hint: jax.Array | None, split: shards.Axes
) -> Pair:
    if scores.size == 0:
        return jnp.zeros(scores.shape, bool), jnp.zeros((2,), scores.dtype)
    kept = shards.largest(kept, split)  # The same on every shard, and known to be.
    keys = threshold.keys_of(scores).reshape(-1)
    reached, count, hint = threshold.search(keys, kept, scores.dtype, hint, split)

    # Of the entries at the threshold, those up to an index: under ties the first that are needed.
    # Under vmap both branches run, and the mask is the same.
    last = lax.cond(
        count == kept,
        lambda: shards.alike(jnp.int32(keys.size), (keys, kept)),
        lambda: shards.alike(ties.last_kept(keys, reached, kept, split), (keys, kept)),
    )
    mask = (keys > reached) | ((keys == reached) & (lax.iota(jnp.int32, keys.size) <= last))
    return mask.reshape(scores.shape), hint
