"""Exact selection of the highest scores, the masks made of it, and the straight-through gradient.

Scores are compared as integers whose order is the order of the floats: no rounding, no flushed
denormals; -0 equals +0, and NaN ranks above +infinity, so that a count is always exact.
"""

import operator
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

_KEY_DTYPE = {16: jnp.int16, 32: jnp.int32, 64: jnp.int64}


def kept_count(n: int, sparsity: Any) -> int:
    """Number of weights kept of n: n - floor(n * sparsity), in rational arithmetic.

    Args:
        n: Number of prunable weights.
        sparsity: Fraction removed, in [0, 1]: a float or NumPy scalar (meant as the decimal that
            it prints), a str such as "0.9" or "1/3", a Fraction or a Decimal.

    Returns:
        int in [0, n]; at least 1 if sparsity < 1 and n >= 1.

    Raises:
        ValueError: If sparsity is not a number in [0, 1].

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
    return n - n * fraction.numerator // fraction.denominator


def tree_kept(scores: Any, sparsity: Any, scope: str = "tensor") -> Any:
    """Numbers to keep for a tree of scores, for `tree_topk_mask`.

    Args:
        scores: Tree of arrays or shapes, None where nothing is pruned.
        sparsity: Fraction removed, see `kept_count`.
        scope: "tensor" prunes every tensor to the same sparsity, "global" ranks all together.

    Returns:
        Tree of ints like scores ("tensor"), or one int ("global").

    Raises:
        ValueError: If scope is unknown or sparsity is not in [0, 1].
    """
    if scope == "tensor":
        return jax.tree.map(lambda leaf: kept_count(leaf.size, sparsity), scores)
    if scope == "global":
        return kept_count(sum(leaf.size for leaf in jax.tree.leaves(scores)), sparsity)
    raise ValueError(f"scope must be 'tensor' or 'global', got {scope!r}.")


def kth_largest(x: jax.Array, k: int | jax.Array, hint: Any = None) -> jax.Array:
    """The k-th largest entry of x; NaN ranks above +infinity.

    Args:
        x: [...] float, n entries in all.
        k: 1 to n; may be traced (then a k outside gives a meaningless number).
        hint: Anything near the answer, see `topk_mask`.

    Returns:
        [] in x's dtype; zero comes without its sign.

    Raises:
        ValueError: If k is concrete and outside [1, n].
    """
    k = _checked(k, 1, x.size, "k")
    keys = _keys(x)
    threshold, count = _search(keys.reshape(-1), k, _hint_key(hint, keys.dtype))
    # The search stops at any key that splits off exactly k entries: the least of them is the k-th.
    lowest = jnp.min(jnp.where(keys >= threshold, keys, jnp.iinfo(keys.dtype).max))
    return _value(jnp.where(count == k, lowest, threshold), x.dtype)


def topk_mask(scores: jax.Array, kept: int | jax.Array, hint: Any = None) -> jax.Array:
    """Marks the `kept` highest-scoring entries; ties go to the lower flat index.

    Args:
        scores: [...] float, n entries in all.
        kept: Number of entries to keep, 0 to n. May be traced. NaN ranks above infinity.
        hint: A guess of the threshold that only changes the speed: a float score, or a key from
            `topk_mask_and_threshold`. None starts cold.

    Returns:
        [...] bool, True at exactly `kept` entries.

    Raises:
        ValueError: If `kept` is concrete and outside [0, n], or scores are not floats.
    """
    return topk_mask_and_threshold(scores, kept, hint)[0]


def topk_mask_and_threshold(
    scores: jax.Array, kept: int | jax.Array, hint: Any = None
) -> tuple[jax.Array, jax.Array]:
    """`topk_mask`, and its threshold as the hint of a later call with similar scores.

    Returns:
        mask: [...] bool, True at exactly `kept` entries.
        threshold: [] integer key (int32 for float32 scores); only good as a hint.
    """
    kept = _checked(kept, 0, scores.size, "kept")
    keys = _keys(scores)
    flat = keys.reshape(-1)
    threshold, count = _search(flat, kept, _hint_key(hint, keys.dtype))

    def no_ties():
        return keys >= threshold

    def first_ties():
        tied = flat == threshold
        surplus = count - kept
        place_from_the_end = lax.cumsum(tied.astype(jnp.int32), reverse=True)
        return ((flat > threshold) | (tied & (place_from_the_end > surplus))).reshape(keys.shape)

    return lax.cond(count == kept, no_ties, first_ties), threshold


def tree_topk_mask(scores: Any, kept: Any, hints: Any = None) -> Any:
    """Masks of a tree of scores: per tensor, or global over all leaves in jax.tree order.

    Args:
        scores: Tree of float arrays, None where nothing is pruned.
        kept: Tree of integers like scores (per tensor), or one integer (global).
        hints: None, or thresholds of an earlier step from `tree_topk_mask_and_thresholds`.

    Returns:
        Tree of bool arrays like scores, None where scores are None.
    """
    return tree_topk_mask_and_thresholds(scores, kept, hints)[0]


def tree_topk_mask_and_thresholds(scores: Any, kept: Any, hints: Any = None) -> tuple[Any, Any]:
    """`tree_topk_mask`, and the thresholds as the next step's hints.

    Returns:
        masks: Tree of bool arrays like scores, None where scores are None.
        thresholds: Tree of integer scalars like scores (per tensor), or one scalar (global).
    """
    leaves, treedef = jax.tree.flatten(scores)
    if not _is_global(kept):
        hints = [None] * len(leaves) if hints is None else treedef.flatten_up_to(hints)
        found = [
            topk_mask_and_threshold(*args)
            for args in zip(leaves, treedef.flatten_up_to(kept), hints, strict=True)
        ]
        return (
            treedef.unflatten([mask for mask, _ in found]),
            treedef.unflatten([threshold for _, threshold in found]),
        )
    ranked = jnp.concatenate([jnp.ravel(leaf) for leaf in leaves])
    mask, threshold = topk_mask_and_threshold(ranked, kept, hints)
    masks, start = [], 0
    for leaf in leaves:
        masks.append(mask[start : start + leaf.size].reshape(leaf.shape))
        start += leaf.size
    return treedef.unflatten(masks), threshold


def tree_hints(scores: Any, kept: Any) -> Any:
    """The thresholds to start a loop carry with: right shapes and dtypes, nothing known yet."""
    if _is_global(kept):
        dtype = jnp.result_type(*jax.tree.leaves(scores))
        return jnp.zeros((), _key_dtype(dtype))
    return jax.tree.map(lambda leaf: jnp.zeros((), _key_dtype(leaf.dtype)), scores)


def apply_mask(weights: Any, mask: Any) -> Any:
    """Weights where the mask is True and 0 elsewhere; leaves with mask None stay as they are."""
    # weights first: only then may the other tree hold None in place of a leaf.
    return jax.tree.map(
        lambda w, m: w if m is None else jnp.where(m, w, jnp.zeros_like(w)), weights, mask
    )


def straight_through(weights: Any, scores: Any, mask: Any) -> Any:
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
    """
    return jax.tree.map(
        lambda w, s, m: w if m is None else _straight_through(w, s, m), weights, scores, mask
    )


@jax.custom_vjp
def _straight_through(weight, score, mask):
    del score
    return jnp.where(mask, weight, jnp.zeros_like(weight))


def _straight_through_forward(weight, score, mask):
    # A score's dtype travels as an empty array: residuals must be arrays.
    return _straight_through(weight, score, mask), (weight, mask, jnp.zeros((0,), score.dtype))


def _straight_through_backward(residuals, g):
    weight, mask, like_score = residuals
    return jnp.where(mask, g, jnp.zeros_like(g)), (g * weight).astype(like_score.dtype), None


_straight_through.defvjp(_straight_through_forward, _straight_through_backward)


def _is_global(kept):
    return jax.tree_util.treedef_is_leaf(jax.tree.structure(kept))


def _checked(kept, low, high, name):
    """An int32 scalar; a value that is known while tracing is checked."""
    if isinstance(kept, jax.core.Tracer):
        return kept.astype(jnp.int32)
    try:
        value = operator.index(kept)
    except TypeError:
        raise ValueError(f"{name} must be one integer, got {kept!r}.") from None
    if not low <= value <= high:
        raise ValueError(f"{name} must lie in [{low}, {high}], got {value}.")
    return jnp.int32(value)


def _key_dtype(dtype):
    if not jnp.issubdtype(dtype, jnp.floating):
        raise ValueError(f"scores must be floating point, got {dtype}.")
    return _KEY_DTYPE[jnp.finfo(dtype).bits]


def _keys(x):
    """Integers in the order of the floats: -0 and +0 give 0, every NaN gives one key above +inf."""
    dtype = _key_dtype(x.dtype)
    low = jnp.asarray(jnp.iinfo(dtype).min, dtype)
    infinity = lax.bitcast_convert_type(jnp.asarray(jnp.inf, x.dtype), dtype)
    bits = lax.bitcast_convert_type(lax.stop_gradient(x), dtype)
    key = jnp.where(bits < 0, low - bits, bits)
    return jnp.where((bits & ~low) > infinity, infinity + 1, key)


def _value(key, dtype):
    """The float of a key."""
    low = jnp.asarray(jnp.iinfo(key.dtype).min, key.dtype)
    return lax.bitcast_convert_type(jnp.where(key < 0, low - key, key), dtype)


def _hint_key(hint, dtype):
    if hint is None:
        return None
    hint = jnp.asarray(hint)
    if jnp.issubdtype(hint.dtype, jnp.floating):
        hint = _keys(hint)
    return hint.astype(dtype)


def _search(keys, kept, hint):
    """A threshold with exactly `kept` keys at or above it, or the `kept`-th largest key if none.

    Returns:
        threshold, and count = how many keys are at or above it (>= kept).
    """
    del hint
    dtype = keys.dtype
    info = jnp.iinfo(dtype)

    def unfinished(state):
        low, high, count = state
        return (count != kept) & (low + 1 < high)

    def halve(state):
        low, high, count = state
        middle = (low & high) + ((low ^ high) >> 1)
        at_or_above = jnp.sum(keys >= middle, dtype=jnp.int32)
        enough = at_or_above >= kept
        return (
            jnp.where(enough, middle, low),
            jnp.where(enough, high, middle),
            jnp.where(enough, at_or_above, count),
        )

    start = (jnp.asarray(info.min, dtype), jnp.asarray(info.max, dtype), jnp.int32(keys.size))
    low, _, count = lax.while_loop(unfinished, halve, start)
    return low, count
