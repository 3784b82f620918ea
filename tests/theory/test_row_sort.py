"""Sorting rows in blocks is sorting: the same keys in the same order."""

import numpy as np
import pytest

from lth_jax.theory.subset_sum import search


@pytest.mark.parametrize("n", [0, 1, 255, 256, 257, 512, 768, 1024, 1536, 2048, 4096])
@pytest.mark.parametrize("values", ["any", "few", "falling"])
def test_it_is_the_sort_of_numpy(n, values):
    rng = np.random.default_rng(n)
    keys = rng.integers(-(2**62), 2**62, (5, n))
    if values == "few":  # Ties, and the ends of the type.
        keys = rng.choice(np.array([-(2**63), -1, 0, 1, 2**63 - 1]), (5, n))
    elif values == "falling":
        keys = np.broadcast_to(np.arange(n)[::-1], (5, n)).copy()
    wanted = np.sort(keys, axis=1)
    # As in a search: a slice of a larger workspace.
    work = np.empty((2, 7, n), np.int64)
    work[0, :5] = keys
    search.sort_rows(work[0, :5], work[1, :5])
    assert np.array_equal(work[0, :5], wanted)
