"""Figure 2 of Xiong, Liao and Kyrillidis (2023): how many candidates fit every weight of a network?

A draw gives each output row (or each weight) its own candidates, uniform on the range of all target
weights, as nested prefixes; its answer is the least n whose first n candidates reach every weight
within η. The figure's n is the least at which 8 of 10 draws succeed. The same draws serve every
cell: what differs between cells is then η and ε, not luck.
"""

import concurrent.futures
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import numpy as np
import numpy.typing as npt

from lth_jax.theory.subset_sum import candidate_sets, search, solvers

ETAS = (1e-2, 1e-3, 1e-4, 1e-5)
RATIOS = (0.0, 0.1, 0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 10.0)
# Read off the figure: minimal n, one row per η of ETAS, one column per ratio ε/η of RATIOS.
PUBLISHED = (
    (19, 18, 18, 17, 16, 14, 14, 13, 11),
    (22, 22, 20, 20, 19, 18, 18, 18, 17),
    (27, 25, 23, 23, 22, 22, 22, 20, 20),
    (29, 28, 27, 27, 25, 25, 24, 24, 24),
)
Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
_CALLS = 6000  # Keys that sort in the time of one set's NumPy calls.
MOST = 36  # Candidates per set; a draw that needs more ends as None.
_ROUNDING = 1e-12  # Shared sums are float64; nearer to the tolerance than this is decided exactly.


def published(eta: float, ratio: float) -> int | None:
    """The published n of a cell, or None."""
    if eta in ETAS and ratio in RATIOS:
        return PUBLISHED[ETAS.index(eta)][RATIOS.index(ratio)]
    return None


def candidates(key: jax.Array, sets: int, weights: Sequence[npt.NDArray[Any]]) -> Floats:
    """[sets, MOST] float64 (drawn in float32), uniform on the range of all weights."""
    low = min(float(w.min()) for w in weights)
    high = max(float(w.max()) for w in weights)
    return np.asarray(jax.random.uniform(key, (sets, MOST), minval=low, maxval=high), np.float64)


def _shared_reach(x: Floats, z: Floats, eps: float, eta: float) -> npt.NDArray[np.bool_]:
    """Whether shared candidates x [n] reach each z [m]: are there intervals open at [z−η, z+η]?"""
    left, right = np.zeros(1 << len(x)), np.zeros(1 << len(x) if eps else 0)
    for i, value in enumerate(x):
        np.add(left[: 1 << i], value - eps, out=left[1 << i : 2 << i])
        if eps:
            np.add(right[: 1 << i], value + eps, out=right[1 << i : 2 << i])
    left.sort()
    right.sort()
    right = right if eps else left

    def some_open(tolerance: float) -> npt.NDArray[np.bool_]:
        begun = np.searchsorted(left, z + tolerance, side="right")
        return np.asarray(begun > np.searchsorted(right, z - tolerance, side="left"))

    reached = some_open(eta - _ROUNDING)
    doubtful = np.flatnonzero(some_open(eta + _ROUNDING) & ~reached)
    reached[doubtful] = solvers.reachable(x, z[doubtful], eps, eta)
    return reached


def _closes(
    x: Floats, owner: Integers, z: Floats, n: int, eps: float, eta: float
) -> npt.NDArray[np.bool_]:
    """Which targets z [m] the first n candidates of their sets x[owner] reach, [m] bool.

    All 2^n sums of a set are sorted once if it serves many targets, else each target meets in the
    middle: whichever sorts fewer keys.
    """
    reached = np.zeros(len(z), bool)
    single = np.ones(len(z), bool)
    count = np.bincount(owner, minlength=len(x))
    stop = np.cumsum(count)  # owner is sorted: the targets of a set stand together
    for i in np.flatnonzero(count * search.keys_per_target(n) > (2 << n) + _CALLS):
        part = slice(stop[i] - count[i], stop[i])
        single[part] = False
        reached[part] = _shared_reach(x[i, :n], z[part], eps, eta)
    if single.any():
        reached[single] = solvers.reachable(x[owner[single], :n], z[single], eps, eta)
    return reached


def minimum(x: Floats, owner: Integers, z: Floats, eps: float, eta: float) -> int | None:
    """The least n at which every target is reached by the first n candidates of its set.

    Args:
        x: [sets, N] candidates.
        owner: [m] sorted indices: the set of each target.
        z: [m] targets.
        eps: Largest |y_i|, >= 0.
        eta: Error allowed, >= 0.

    Returns:
        n, or None if N candidates are not enough.
    """
    needs = np.abs(z) > eta
    owner, z = owner[needs], z[needs]
    # A sample bounds the answer from below; below that bound only easy targets are taken out.
    sample = slice(None, None, max(1, len(z) // 4000))
    bound = _first(x, owner[sample], z[sample], eps, eta, range(1, x.shape[1] + 1))
    if bound is None or bound == 1 or not len(z):
        return bound if len(z) else 0
    easy = range(min(6, bound - 1), bound - 1, 3)
    return _first(x, owner, z, eps, eta, [*easy, *range(bound - 1, x.shape[1] + 1)])


def _first(
    x: Floats, owner: Integers, z: Floats, eps: float, eta: float, steps: Iterable[int]
) -> int | None:
    for n in steps:
        if not len(z):
            return n - 1
        left = ~_closes(x, owner, z, n, eps, eta)
        owner, z = owner[left], z[left]
        if not len(z):
            return n
    return None


def draws(
    key: jax.Array,
    weights: Sequence[npt.NDArray[Any]],
    sets: candidate_sets.Sharing,
    eta: float,
    ratio: float,
    count: int,
) -> list[int | None]:
    """The minimal n of each draw of a cell.

    Args:
        key: PRNG key of the whole figure; draw i folds in i, whatever the cell.
        weights: [out, in] matrices.
        sets: "row", one set per output row shared by its weights, or "weight".
        eta: η > 0.
        ratio: ε/η >= 0.
        count: Number of draws.

    Raises:
        ValueError: If `sets` is neither.
    """
    z, owner = candidate_sets.owners(weights, sets)

    def one(i: int) -> int | None:
        x = candidates(jax.random.fold_in(key, i), int(owner[-1]) + 1, weights)
        return minimum(x, owner, z, eta * ratio, eta)

    # Rows keep one thread busy with many small sorts; the search of own sets has its own threads.
    with concurrent.futures.ThreadPoolExecutor(search.threads() if sets == "row" else 1) as pool:
        return list(pool.map(one, range(count)))


def cell(
    key: jax.Array,
    weights: Sequence[npt.NDArray[Any]],
    sets: candidate_sets.Sharing,
    eta: float,
    ratio: float,
    count: int,
    fraction: float,
) -> dict[str, Any]:
    """One object of figure2.json; n is the least at which `fraction` of the draws succeed."""
    minima = draws(key, weights, sets, eta, ratio, count)
    ordered = sorted(minima, key=lambda n: np.inf if n is None else n)
    rank = int(np.ceil(fraction * count - 1e-9))
    return {
        "eta": eta,
        "ratio": ratio,
        "sets": sets,
        "n": ordered[rank - 1],
        "published": published(eta, ratio),
        "draws": minima,
    }


def within(cells: Sequence[dict[str, Any]], distance: int) -> int:
    """How many cells lie within `distance` of their published n."""
    pairs = [(c["n"], c["published"]) for c in cells if c["published"] is not None]
    return sum(n is not None and abs(n - p) <= distance for n, p in pairs)
