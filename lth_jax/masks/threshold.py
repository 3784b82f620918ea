"""The threshold that exactly k scores reach, in a few passes over the data.

Scores are compared as integers whose order is the order of the floats: no rounding, no flushed
denormals; -0 equals +0, and NaN ranks above +infinity, so that a count is always exact.
A pass counts five guesses at once. The first five come from a sorted sample, or from the hint of
an earlier search; later ones interpolate the rank between two counted thresholds, as the secant
method does, and one always halves the integers in between: at most bits + 2 passes for any data.
The search ends as soon as a count equals k, so the k-th score itself is needed only for ties.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike

from lth_jax.perturb import shards

_KEY_DTYPE = {16: jnp.int16, 32: jnp.int32, 64: jnp.int64}
_SAMPLE = 1024


class Guesses(NamedTuple):
    """Where the guesses of a pass lie; all three have as many entries, but for one offset less."""

    reaches: tuple[float, ...]  # of a first pass, in those of the hint
    offsets: tuple[float, ...]  # in standard deviations of an interpolated rank, at most
    shifts: tuple[int, ...]  # of strides from an end that was never counted


FIVE = Guesses((-4.0, -1.0, 0.0, 1.0, 4.0), (-1.0, -0.3, 0.3, 1.0), (1, 3, 6, 10, 14))

# low, high, above, below, guesses: see `first_state`.
Search = tuple[jax.Array, jax.Array, jax.Array, jax.Array, jax.Array]
Ends = tuple[jax.Array, jax.Array]


def key_dtype(dtype: DTypeLike) -> Any:
    """The integers that hold the keys of a floating point dtype.

    Raises:
        ValueError: If dtype is not a 16, 32 or 64 bit floating point type.
    """
    if not jnp.issubdtype(dtype, jnp.floating) or jnp.finfo(dtype).bits not in _KEY_DTYPE:
        raise ValueError(f"scores must be floats of 16, 32 or 64 bits, got {dtype}.")
    return _KEY_DTYPE[jnp.finfo(dtype).bits]


def keys_of(x: jax.Array) -> jax.Array:
    """Integers in the order of the floats: ±0 give 0, every NaN gives one key above +infinity.

    Args:
        x: [...] float.

    Returns:
        [...] integers as wide as x; carries no gradient.
    """
    dtype = key_dtype(x.dtype)
    low = jnp.asarray(jnp.iinfo(dtype).min, dtype)
    infinity, nan = lax.bitcast_convert_type(jnp.asarray([jnp.inf, jnp.nan], x.dtype), dtype)
    bits = lax.bitcast_convert_type(lax.stop_gradient(x), dtype)
    key = jnp.where(bits < 0, low - bits, bits)
    return jnp.where((bits & ~low) > infinity, nan, key)


def value_of(key: jax.Array, dtype: DTypeLike) -> jax.Array:
    """The float of a key: the inverse of `keys_of`, but for the sign of 0 and NaN's payload."""
    low = jnp.asarray(jnp.iinfo(key.dtype).min, key.dtype)
    return lax.bitcast_convert_type(jnp.where(key < 0, low - key, key), dtype)


def search(
    keys: jax.Array,
    kept: jax.Array,
    dtype: DTypeLike,
    hint: jax.Array | None = None,
    split: shards.Axes = (),
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """A threshold that exactly `kept` keys reach, or the `kept`-th largest key if ties forbid it.

    Args:
        keys: [n] integers from `keys_of`, n >= 1.
        kept: [] int32, 0 to n.
        dtype: The floats behind the keys.
        hint: None, or [2] float from an earlier search; any content is safe.
        split: Axes that the keys are split over. All shards make the same guesses.

    Returns:
        threshold: [] key.
        count: [] int32, how many keys reach it: `kept`, or more where ties forbid that.
        hint: [2] of dtype for a later search: the threshold, and how far it may move.
    """
    ends = ends_of(keys.dtype)
    hint = _first_hint(keys, kept, dtype, hint, split)
    begin = first_state(kept, keys.size * shards.count(split), dtype, hint, ends)

    def narrow(state: Search) -> Search:
        counts = shards.total(count_reaching(keys, state[-1]), split)
        return narrowed(state, counts, kept, dtype, ends)

    carried = (kept, begin[-1]) if split else (keys, kept, begin[-1])
    low, high, above, below, guesses = (shards.alike(x, carried) for x in begin)
    state = (low, high, above, below, guesses)
    threshold, _, count, _, _ = lax.while_loop(lambda s: unfinished(s, kept), narrow, state)
    return threshold, count, next_hint(threshold, hint, dtype)


def ends_of(key: DTypeLike) -> Ends:
    """The least and the greatest key, which are no number's."""
    info = jnp.iinfo(key)
    least, greatest = (jnp.asarray(end, key) for end in (info.min, info.max))
    return least, greatest


def first_state(
    kept: jax.Array,
    n: int | jax.Array,
    dtype: DTypeLike,
    hint: jax.Array,
    ends: Ends,
    where: Guesses = FIVE,
) -> Search:
    """A search of which nothing is known but a hint.

    Args:
        kept: [] int32, 0 to n.
        n: Number of keys.
        dtype: The floats behind the keys.
        hint: [2] float, finite.
        ends: From `ends_of`.
        where: The guesses of the first pass.

    Returns:
        low, high, above, below and guesses: `above` keys reach low and `below` reach high;
        below < kept <= above unless kept = 0.
    """
    least, greatest = ends
    guesses = keys_of(hint[0] + hint[1] * jnp.asarray(where.reaches, dtype))
    guesses = jnp.clip(guesses, least + 1, greatest - 1)
    all_of_them = jnp.int32(n)
    low, above = jnp.where(kept == 0, greatest, least), jnp.where(kept == 0, 0, all_of_them)
    return low, greatest, above, jnp.int32(0), guesses


def unfinished(state: Search, kept: jax.Array) -> jax.Array:
    """Whether a search has to go on: [] bool."""
    low, high, above, _, _ = state
    return (above != kept) & (low < high - 1)


def narrowed(
    state: Search,
    counts: jax.Array,
    kept: jax.Array,
    dtype: DTypeLike,
    ends: Ends,
    where: Guesses = FIVE,
) -> Search:
    """The search after a pass.

    Args:
        state: Before it.
        counts: [m] int32, how many keys reach each of its guesses.
        kept: [] int32.
        dtype: The floats behind the keys.
        ends: From `ends_of`.
        where: The guesses of the next pass.
    """
    low, high, above, below, guesses = state
    enough = counts >= kept
    low = jnp.max(jnp.where(enough, guesses, low))
    high = jnp.min(jnp.where(enough, high, guesses))
    above = jnp.min(jnp.where(enough, counts, above))
    below = jnp.max(jnp.where(enough, below, counts))
    return low, high, above, below, _next_guesses(low, high, above, below, kept, dtype, ends, where)


def _next_guesses(
    low: jax.Array,
    high: jax.Array,
    above: jax.Array,
    below: jax.Array,
    kept: jax.Array,
    dtype: DTypeLike,
    ends: Ends,
    where: Guesses,
) -> jax.Array:
    least, greatest = ends
    # In the floats, not in the keys: these are logarithmic around 0.
    wide = jnp.promote_types(dtype, jnp.float32)
    start = jnp.nan_to_num(value_of(low, dtype).astype(wide))
    end = jnp.nan_to_num(value_of(high, dtype).astype(wide))
    inside = (above - below).astype(wide)
    rank = (above - kept).astype(wide) + jnp.asarray(where.offsets, wide) * jnp.sqrt(inside) / 2
    between = keys_of((start + (end - start) * (rank / inside)).astype(dtype))
    # An end that was never counted says nothing: leave the other one by growing strides.
    shifts = jnp.asarray(where.shifts, low.dtype)
    strides = (high >> shifts) - (low >> shifts)
    guesses = jnp.append(between, low + strides[0])
    guesses = jnp.where(low == least, high - strides, guesses)
    guesses = jnp.where(high == greatest, low + strides, guesses)
    return jnp.clip(guesses, low + 1, high - 1)


def next_hint(threshold: jax.Array, hint: jax.Array, dtype: DTypeLike) -> jax.Array:
    """Where a later search should start: the threshold, and how far it may move."""
    value = value_of(threshold, dtype)
    reach = jnp.maximum(jnp.abs(value - hint[0]), hint[1] / 2)
    return jnp.stack([value, reach])


def count_reaching(
    keys: jax.Array,
    thresholds: Sequence[jax.Array] | jax.Array,
    axes: tuple[int, ...] | None = None,
) -> jax.Array:
    """For each of several thresholds, how many keys reach it.

    Args:
        keys: [..., n] integers.
        thresholds: m >= 2 keys.
        axes: That are counted over, by default the last one.

    Returns:
        [m, ...] int32.
    """
    # One reduction of m operands: XLA's CPU compiler vectorises it, and reads the keys once.
    # (It turns sums into trees of windows, which are slower one by one, and need m passes.)
    ones = [(keys >= threshold).astype(jnp.int32) for threshold in thresholds]
    zeros = [jnp.int32(0)] * len(ones)
    add = lambda xs, ys: [x + y for x, y in zip(xs, ys, strict=True)]  # noqa: E731
    return jnp.stack(lax.reduce(ones, zeros, add, axes or (keys.ndim - 1,)))


def _first_hint(
    keys: jax.Array, kept: jax.Array, dtype: DTypeLike, hint: jax.Array | None, split: shards.Axes
) -> jax.Array:
    """The hint if it is of use, else one from a sample; the same on every shard."""
    sampled = functools.partial(sampled_hint, keys, kept, dtype, split)
    if hint is None:
        return sampled()
    hint = shards.largest(lax.stop_gradient(jnp.asarray(hint, dtype)), split)
    usable = jnp.all(jnp.isfinite(hint)) & (hint[1] > 0)
    given = shards.alike(hint, () if split else (keys, kept))
    found: jax.Array = lax.cond(usable, lambda: given, sampled)
    return found


def sampled_hint(
    keys: jax.Array, kept: jax.Array, dtype: DTypeLike, split: shards.Axes
) -> jax.Array:
    """The hint of a sample: the k-th largest of every so many keys, and a random sample's error.

    Args:
        keys: [n] integers from `keys_of`.
        kept: [] int32, 0 to n.
        dtype: The floats behind the keys.
        split: Axes that the keys are split over.

    Returns:
        [2] of dtype, finite, the second positive.
    """
    count = shards.count(split)
    most = max(_SAMPLE // count, 1)
    stride = max(keys.size // most, 1)
    sample = keys[:: stride - (stride % 2 == 0)][:most]
    sample = jnp.sort(shards.gathered(sample, split).reshape(-1) if split else sample)
    size = sample.size
    place = size - kept.astype(jnp.float32) * (size / (keys.size * count))
    spread = jnp.asarray([-1.0, 0.0, 1.0]) * (size**0.5 / 2)
    index = jnp.clip(jnp.round(place + spread), 0, size - 1).astype(jnp.int32)
    left, middle, right = jnp.nan_to_num(value_of(sample[index], dtype))
    return jnp.stack([middle, jnp.maximum(right - left, jnp.finfo(dtype).tiny) / 2])
