"""Meet in the middle on integers: one sort per target decides over all 2^n subsets.

A subset S of size k reaches the interval [σ_S − kε, σ_S + kε]. Split the candidates into halves:
one gives intervals around z − σ_A of half-width |A|ε, the other around σ_B of half-width |B|ε, and
S = A ∪ B reaches z iff the two overlap; otherwise it misses z by the gap between them. Sort all
intervals by their left ends and keep the largest right end seen so far of each half: the least
(left end − largest right end of the other half) is the least gap if positive, and otherwise the two
overlap. So no grouping by size is needed; half and size ride in the low bits of the sorted keys.
A target costs one sort of 2^⌊n/2⌋ + 2^⌈n/2⌉ int64 keys.

NumPy on purpose: its int64 sort is vectorized, 9 ns per key in rows of 3,072 against 33 in
jit-compiled XLA on the same core (0.15 against 1.5 µs for a row of 64), and it runs in threads.
"""

import concurrent.futures
import functools
import os
import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lth_jax.theory.subset_sum import fixed

# Keys per block and thread: with fewer the calls dominate, with more the caches overflow.
CHUNK_KEYS = 1 << 17
BYTES_PER_KEY = 96  # What one key costs in all its temporaries, rounded up.
_LABELS = 6  # Low bits: five of size, one of half.
_SIZE = (1 << 5) - 1
_HALF = 1 << 5
_FAR = np.iinfo(np.int64).max >> 1
_BLOCK = 256  # Keys that NumPy sorts by a network, at 1.5 ns a key where AVX-512 is there.
_LONGEST = 1 << 11  # From here on merges of blocks cost as much as they save.


Integers = npt.NDArray[np.int64]

_CORES = threading.Lock()  # Held by the search that has them: two at once share caches badly.


class Nearest(NamedTuple):
    """The least gap of each target over all subsets and one subset that has it."""

    gap: Integers  # [m] quanta: |z − σ_S| − |S|ε; any value <= 0 means z is reached
    subset: Integers  # [m], bit i set if candidate i is in S


class _Level(NamedTuple):
    """The subsets of one size."""

    bits: Integers  # [c]
    parent: Integers  # [c]: place of the subset without its last member in the level before
    item: Integers  # [c]: the last member


def keys_per_target(n: int) -> int:
    """The number of int64 keys that one target with n candidates is decided by."""
    return (1 << (n // 2)) + (1 << (n - n // 2))


def _double(sums: Integers, start: Integers, steps: Integers) -> None:
    """Fills sums [m, 2^n] with start + Σ_{i in S} steps_i; bit i of the column is i ∈ S."""
    sums[:, 0] = start
    for i in range(steps.shape[1]):
        np.add(sums[:, : 1 << i], steps[:, i : i + 1], out=sums[:, 1 << i : 2 << i])


def sort_rows(keys: Integers, spare: Integers) -> None:
    """Sorts each row of keys [m, n] in place; rows of some powers of two by merges of blocks.

    NumPy partitions long rows, which on some processors costs 4 ns a key for each halving. Merges
    of sorted blocks (Batcher 1968) do with less, and integers have only one sorted order.

    Args:
        keys: [m, n] int64, rows without gaps between their entries.
        spare: [m, n] int64 likewise: is overwritten.
    """
    m, n = keys.shape
    if n not in (2 * _BLOCK, 4 * _BLOCK, _LONGEST):
        keys.sort(axis=1)
        return
    here, there = keys, spare
    here.reshape(m, -1, _BLOCK).sort(axis=2)
    size = _BLOCK
    while size < n:  # Pairs of sorted runs of this size become one.
        low, high = _runs(here, size)
        _exchange(low, high[..., ::-1], there, size)
        here, there = there, here
        distance = size // 2
        while distance >= _BLOCK:
            _exchange(*_runs(here, distance), there, distance)
            here, there = there, here
            distance //= 2
        here.reshape(m, -1, _BLOCK).sort(axis=2)
        size *= 2
    if here is not keys:
        np.copyto(keys, here)


def _runs(keys: Integers, size: int) -> tuple[Integers, Integers]:
    """Each row's runs of `size`, the first and the second of every two: [m, pairs, size] views."""
    runs = keys.reshape(len(keys), -1, 2, size)
    return runs[:, :, 0], runs[:, :, 1]


def _exchange(low: Integers, high: Integers, to: Integers, size: int) -> None:
    """Puts the smaller of every two keys into the first run of `to`, the larger into the second."""
    first, second = _runs(to, size)
    np.minimum(low, high, out=first)
    np.maximum(low, high, out=second)


def _first_true(condition: npt.NDArray[np.bool_]) -> Integers:
    return np.asarray(condition.argmax(axis=1), np.int64)


def _points(p: fixed.Fixed, work: Integers) -> Nearest:
    """ε = 0: the nearest pair of the two halves stands side by side after the sort."""
    a = p.x.shape[1] // 2
    _double(work[0, :, : 1 << a], p.z << 2, -(p.x[:, :a] << 2))
    _double(work[0, :, 1 << a :], np.ones_like(p.z), p.x[:, a:] << 2)
    gap, first, second = _closest_pair(work, 1 << a)
    return Nearest(gap, first | (second << a))


def _closest_pair(work: Integers, cut: int) -> tuple[Integers, Integers, Integers]:
    """The least distance of keys work[0, :, :cut] (label 0) and the rest (label 1), and where.

    The value sits two bits up: a distance g makes key differences 4g + 1 (label 0 first) or 4g − 1,
    so the least odd difference of neighbours has the least g.
    """
    unsorted, keys, gaps, odd = work[0], work[1], work[2, :, 1:], work[3, :, 1:]
    np.copyto(keys, unsorted)
    sort_rows(keys, work[2])
    np.subtract(keys[:, 1:], keys[:, :-1], out=gaps)
    np.left_shift(gaps, 63, out=odd)  # Odd differences get the sign bit: argmin sees them first.
    np.bitwise_xor(gaps, odd, out=gaps)
    at = gaps.argmin(axis=1)[:, None]
    low, high = np.take_along_axis(keys, at, 1), np.take_along_axis(keys, at + 1, 1)
    swap = (low & 1).astype(bool)
    first, second = np.where(swap, high, low), np.where(swap, low, high)
    gap = ((high >> 2) - (low >> 2))[:, 0]
    left, right = unsorted[:, :cut], unsorted[:, cut:]
    return gap, _first_true(left == first), _first_true(right == second)


def _intervals(p: fixed.Fixed, work: Integers) -> Nearest:
    """ε >= 0: sweep over the left ends with the largest right end of each half."""
    a = p.x.shape[1] // 2
    eps, twice = p.eps[:, None], 2 * p.eps[:, None]
    left, right = work[0, :, : 1 << a], work[0, :, 1 << a :]
    _double(left, p.z << _LABELS, 1 - ((p.x[:, :a] + eps) << _LABELS))
    _double(right, np.full_like(p.z, _HALF), ((p.x[:, a:] - eps) << _LABELS) + 1)
    keys, starts, ends, other = work[1], work[2], work[3], work[4]
    np.copyto(keys, work[0])
    sort_rows(keys, starts)
    np.bitwise_and(keys, _SIZE, out=ends)
    np.multiply(ends, twice, out=ends)
    np.right_shift(keys, _LABELS, out=starts)
    np.add(ends, starts, out=ends)
    is_right = (keys & _HALF).astype(bool)
    np.copyto(other, ends)
    np.putmask(other, is_right, -_FAR)
    np.maximum.accumulate(other, axis=1, out=other)  # The furthest left-half end so far.
    np.putmask(ends, ~is_right, -_FAR)
    np.maximum.accumulate(ends, axis=1, out=ends)  # The furthest right-half end so far.
    np.copyto(other, ends, where=~is_right)
    np.subtract(starts, other, out=starts)
    at = starts.argmin(axis=1)[:, None]
    key, end = np.take_along_axis(keys, at, 1), np.take_along_axis(other, at, 1)
    from_right = np.take_along_axis(is_right, at, 1)
    # The partner: in the other half, that right end, and a left end not after this one.
    ends_of = (work[0] >> _LABELS) + twice * (work[0] & _SIZE)
    partner = (ends_of == end) & (work[0] <= key)
    chosen = work[0] == key
    in_left = np.where(from_right, partner[:, : 1 << a], chosen[:, : 1 << a])
    in_right = np.where(from_right, chosen[:, 1 << a :], partner[:, 1 << a :])
    subset = _first_true(in_left) | (_first_true(in_right) << a)
    sizes = np.bitwise_count(subset.astype(np.uint64)).astype(np.int64)
    gap = np.take_along_axis(starts, at, 1)[:, 0]
    # Overlapping intervals: the sweep's value is some overlap, not |z − σ_S| − |S|ε; recompute it.
    return Nearest(np.where(gap > 0, gap, _gap_of(p, subset, sizes)), subset)


def _gap_of(p: fixed.Fixed, subset: Integers, sizes: Integers) -> Integers:
    sums = np.where(members(subset, p.x.shape[1]), p.x, 0).sum(axis=1)
    return np.asarray(np.abs(p.z - sums) - sizes * p.eps)


def members(subset: Integers, n: int) -> npt.NDArray[np.bool_]:
    """[m] int64 of bits -> [m, n] bool."""
    return (subset[:, None] >> np.arange(n) & 1).astype(bool)


@functools.lru_cache(maxsize=64)
def _small_subsets(n: int, largest: int) -> list[_Level]:
    """Subsets of n with at most `largest` members, by size; the empty set has no last member."""
    levels = [_Level(np.zeros(1, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int64))]
    for _ in range(min(largest, n)):
        bits = levels[-1].bits
        top = np.array([int(b).bit_length() for b in bits], np.int64)
        pairs = [(place, item) for place in range(len(bits)) for item in range(top[place], n)]
        parent, item = np.array(pairs, np.int64).reshape(-1, 2).T
        levels.append(_Level(bits[parent] | (np.int64(1) << item), parent, item))
    return levels


def _level_sums(sums: Integers, start: Integers, steps: Integers, levels: Sequence[_Level]) -> None:
    """Fills sums [m, c] with those of the small subsets, in the order of their levels."""
    sums[:, 0] = start
    before, end = 0, 1
    for _, parent, item in levels[1:]:
        sums[:, end : end + len(item)] = sums[:, before + parent] + steps[:, item]
        before, end = end, end + len(item)


def _of_size(p: fixed.Fixed, work: Integers, size: int) -> Nearest:
    """The least |z − σ_S| over |S| = size: subsets pair up only where their sizes add up to it."""
    a, n = p.x.shape[1] // 2, p.x.shape[1]
    group = np.int64(1) << np.int64(fixed.VALUE_BITS + 4)  # Keeps different sizes of A apart.
    left, right = _small_subsets(a, size), _small_subsets(n - a, size)
    left_bits, right_bits = (np.concatenate([level.bits for level in h]) for h in (left, right))
    cut = len(left_bits)
    _level_sums(work[0, :, :cut], p.z << 2, group - (p.x[:, :a] << 2), left)
    start = np.full_like(p.z, 1 + size * group)
    _level_sums(work[0, :, cut:], start, (p.x[:, a:] << 2) - group, right)
    gap, first, second = _closest_pair(work, cut)
    return Nearest(gap, left_bits[first] | (right_bits[second] << a))


def in_chunks(
    kernel: Callable[[fixed.Fixed, Integers], Nearest], p: fixed.Fixed, keys: int
) -> Nearest:
    """Runs kernel(block of rows, int64 workspace [5, rows, keys]) over all rows, on all cores."""
    m = len(p.z)
    rows = max(1, CHUNK_KEYS // keys)
    starts = iter(range(0, m, rows))  # Shared by the threads; next() on it is atomic.
    gap, subset = np.empty(m, np.int64), np.empty(m, np.int64)

    def run(_: int) -> None:
        # Fresh memory per block would cost more.
        work = np.empty((5, min(rows, m), keys), np.int64)
        for start in starts:
            block = slice(start, min(start + rows, m))
            gap[block], subset[block] = kernel(p.rows(block), work[:, : block.stop - start])

    if m > rows:
        with _CORES, concurrent.futures.ThreadPoolExecutor(threads()) as pool:
            list(pool.map(run, range(threads())))
    else:
        run(0)
    return Nearest(gap, subset)


def nearest(p: fixed.Fixed) -> Nearest:
    """The least gap over all 2^n subsets of each target's candidates."""
    kernel = _intervals if p.eps.any() else _points
    return in_chunks(kernel, p, keys_per_target(p.x.shape[1]))


def nearest_of_size(p: fixed.Fixed, size: int) -> Nearest:
    """The least |z − σ_S| − |S|ε over the subsets of exactly `size` candidates."""
    n = p.x.shape[1]
    keys = sum(len(level.bits) for h in (n // 2, n - n // 2) for level in _small_subsets(h, size))
    found = in_chunks(functools.partial(_of_size, size=size), p, keys)
    return found._replace(gap=found.gap - size * p.eps)


def threads() -> int:
    """Threads of a search: the cores this process may use."""
    return len(os.sched_getaffinity(0))


def check_memory(n: int, memory: int) -> None:
    """Refuses a search that cannot keep to `memory` bytes.

    Raises:
        ValueError: If one target with n candidates per thread needs more.
    """
    need = keys_per_target(n) * BYTES_PER_KEY * threads()
    if need > memory:
        raise ValueError(f"{n} candidates need {need} bytes of memory, the limit is {memory}.")
