"""ε-perturbed subset sum for many targets at once: exact, and no solver licence.

The problem of Xiong, Liao and Kyrillidis (2023), "Strong Lottery Ticket Hypothesis with
ε-perturbation": the least |Σ_{i in S} (x_i + y_i) − z| over subsets S and |y_i| <= ε. Given S and
r = z − σ_S the best y is clip(r / |S|, ±ε), so S reaches z within a tolerance iff
|r| <= tolerance + |S|ε.
"""

import enum
import math
import typing
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from lth_jax.theory.subset_sum import certificate, exact, fixed, search

MAX_CANDIDATES = 40  # Halves of 20: sizes fit their label and indices their int64.
MEMORY = 1 << 29  # Default bound on the bytes of the search's temporaries, beside input and answer.
Objective = Literal["first", "best", "sparsest"]
OBJECTIVES: tuple[Objective, ...] = typing.get_args(Objective)
_STEP = 4  # Candidates added at each escalation.
_SMALL = 4  # Sizes that `sparsest` tries before it asks whether there is any answer at all.


class Status(enum.IntEnum):
    """How the search for one target ended."""

    FOUND = 0  # Some subset is within tolerance.
    IMPOSSIBLE = 1  # Proved: none of the 2^n subsets is.
    EXHAUSTED = 2  # Gave up: no subset that the budget allowed is.


class Subset(NamedTuple):
    """One answer per target."""

    mask: npt.NDArray[np.bool_]  # [m, n]: S. Where not found: the best subset that was seen.
    y: npt.NDArray[np.float64]  # [m, n]: the perturbation, 0 outside S, |y| <= ε exactly
    error: npt.NDArray[np.float64]  # [m]: max(0, |z − σ_S| − |S|ε), each sum rounded once
    found: npt.NDArray[np.bool_]  # [m]: |z − σ_S| <= tolerance + |S|ε, decided exactly
    status: npt.NDArray[np.int8]  # [m]: Status


def checked(
    x: npt.ArrayLike, z: npt.ArrayLike, eps: float, tolerance: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Returns x [m, n] (shared candidates repeated without a copy) and z [m], both float64.

    Raises:
        ValueError: If a shape, a value, eps or tolerance does not fit.
    """
    x, z = np.asarray(x, np.float64), np.asarray(z, np.float64)
    if z.ndim != 1 or x.ndim not in (1, 2) or (x.ndim == 2 and len(x) != len(z)):
        raise ValueError(
            f"expected z [m] and x [n] or [m, n], got z {list(z.shape)} and x {list(x.shape)}."
        )
    certificate.check_values(x, z, eps, tolerance)
    if x.shape[-1] > MAX_CANDIDATES:
        raise ValueError(f"expected at most {MAX_CANDIDATES} candidates, got {x.shape[-1]}.")
    return np.broadcast_to(x, (len(z), x.shape[-1])), z


class _Run:
    """The open targets of one call and the answers so far."""

    def __init__(
        self,
        x: npt.NDArray[np.float64],
        z: npt.NDArray[np.float64],
        eps: float,
        tolerance: float,
    ) -> None:
        self.x, self.z, self.eps, self.tolerance = x, z, float(eps), float(tolerance)
        self.subset = np.zeros(len(z), np.int64)
        self.status = np.full(len(z), Status.EXHAUSTED, np.int8)
        self.open = np.arange(len(z))

    def problems(self, n: int, tolerance: float) -> fixed.Fixed:
        return fixed.quantize(self.x[self.open, :n], self.z[self.open], self.eps, tolerance)

    def close(self, done: npt.NDArray[np.bool_], status: Status) -> None:
        self.status[self.open[done]] = status
        self.open = self.open[~done]

    def settle(
        self, p: fixed.Fixed, seen: search.Nearest, size: int | None = None
    ) -> npt.NDArray[np.bool_]:
        """Which open targets the search of `p` reached; fractions decide what rounding cannot."""
        self.subset[self.open] = seen.subset
        reached = seen.gap <= p.tolerance
        doubt = np.where(p.slack, p.slack + 1, -1)
        for i in np.flatnonzero(np.abs(seen.gap - p.tolerance) <= doubt):
            at = self.open[i]
            x = self.x[at, : p.x.shape[1]]
            reached[i] = self._within(x, at)
            if not reached[i]:
                error, bits = exact.nearest(x, self.z[at], self.eps, size)
                self.subset[at] = bits
                reached[i] = self._within(x, at)
        return reached

    def _within(self, x: npt.NDArray[np.float64], at: int) -> bool:
        return exact.within(x, self.z[at], self.eps, self.tolerance, int(self.subset[at]))

    def answer(self) -> Subset:
        mask = search.members(self.subset, self.x.shape[1])
        if self.open.size:  # The budget ran out, but what was seen may do.
            x, z = self.x[self.open], self.z[self.open]
            done = certificate.within(x, z, self.eps, self.tolerance, mask[self.open])
            self.close(done, Status.FOUND)
        rest, _ = certificate.residual(self.x, self.z, mask)
        error = np.maximum(np.abs(rest) - mask.sum(axis=1) * self.eps, 0.0)
        y = certificate.perturbation(rest, mask, self.eps)
        return Subset(mask, y, error, self.status == Status.FOUND, self.status)


def reachable(
    x: npt.ArrayLike, z: npt.ArrayLike, eps: float, tolerance: float
) -> npt.NDArray[np.bool_]:
    """Whether each target has a subset within tolerance, exactly; one search, no masks.

    Args:
        x: [n] or [m, n] candidates.
        z: [m] targets.
        eps: Largest |y_i|, >= 0.
        tolerance: Largest error, >= 0.

    Returns:
        [m] bool.

    Raises:
        ValueError: If a shape or a value does not fit.
    """
    x, z = checked(x, z, eps, tolerance)
    run = _Run(x, z, eps, tolerance)
    p = run.problems(x.shape[1], run.tolerance)
    return run.settle(p, search.nearest(p))


def prefixes(x: npt.NDArray[np.float64], eps: float, tolerance: float) -> list[int]:
    """The numbers of candidates to escalate over: from about one expected hit up to n.

    Args:
        x: [m, n] candidates.
        eps: Largest |y_i|.
        tolerance: Largest error.
    """
    n = x.shape[1]
    spread = 2 * np.abs(x[:1000]).sum(axis=1).mean() if x.size else 0.0
    window = tolerance + eps * n / 4
    # Apart, as the quotient may overflow or underflow.
    hits = math.log2(spread) - math.log2(window) if spread and window else n * (window == 0)
    start = int(min(max(hits, 6), n))
    return [*range(start, n - 1, _STEP), n]


def solve(
    x: npt.ArrayLike,
    z: npt.ArrayLike,
    eps: float,
    tolerance: float,
    objective: Objective = "first",
    *,
    budget: int | None = None,
    memory: int = MEMORY,
) -> Subset:
    """Picks for each target a subset of its candidates that reaches it.

    Args:
        x: [n] candidates shared by all targets or [m, n], a set for each; n <= 40.
        z: [m] targets.
        eps: Largest |y_i|, >= 0.
        tolerance: Largest error, >= 0.
        objective: "first", any subset within tolerance; "best", the least error; "sparsest", the
            fewest terms within tolerance.
        budget: Most subset sums to sort per target (2^⌊n/2⌋ + 2^⌈n/2⌉ decide n candidates); one
            that needs more gets the nearest subset of its first candidates, FOUND if within
            tolerance (the least error or the fewest terms only among these), else EXHAUSTED; for
            "sparsest" that is the empty one. None for no limit.
        memory: Most bytes of temporaries, over all threads; a target needs up to
            96·(2^⌊n/2⌋ + 2^⌈n/2⌉) (12.6 MB at n = 32). Input and answer are not counted.

    Returns:
        NumPy arrays. `found` is exact: True means that the subset is within tolerance, and
        status IMPOSSIBLE that no subset is, both over the rationals. The least error of "best" is
        least to n·2^-53 of Σ|x| + |z| + nε, and exactly where the inputs are multiples of that.

    Raises:
        ValueError: If a shape or a value does not fit, or one target does not fit into memory.
    """
    x, z = checked(x, z, eps, tolerance)
    n = x.shape[1]
    if objective not in OBJECTIVES:
        raise ValueError(f"expected an objective of {OBJECTIVES}, got {objective!r}.")
    search.check_memory(n, memory)
    run = _Run(x, z, eps, tolerance)
    if objective == "sparsest":
        return _sparsest(run, budget)
    return _escalate(run, budget, best=objective == "best").answer()


def nearest(
    x: npt.NDArray[np.float64], z: npt.NDArray[np.float64], eps: float
) -> npt.NDArray[np.int64]:
    """The subsets of `solve` by "best" at a tolerance of 0, without what else it returns.

    Args:
        x: [m, n] candidates, finite; n <= MAX_CANDIDATES.
        z: [m] targets, finite.
        eps: Largest |y_i|, >= 0.

    Returns:
        [m], bit i set if candidate i is in the subset.
    """
    return _escalate(_Run(x, z, eps, 0.0), None, best=True).subset


def _escalate(run: _Run, budget: int | None, best: bool) -> _Run:
    """Closes targets by growing prefixes of the candidates; `best` stops early only at error 0."""
    n = run.x.shape[1]
    steps = [n] if best and not run.eps else prefixes(run.x, run.eps, 0 if best else run.tolerance)
    if budget is not None:
        steps = [k for k in steps if search.keys_per_target(k) <= budget]
        fits = max((k for k in range(n + 1) if search.keys_per_target(k) <= budget), default=None)
        steps = sorted({*steps, fits} - {None})
    for k in steps:
        if not run.open.size:
            break
        p = run.problems(k, run.tolerance)
        seen = search.nearest(p)
        if k < n and best:
            run.subset[run.open] = seen.subset
            run.close(seen.gap <= -p.slack, Status.FOUND)
            continue
        reached = run.settle(p, seen)
        run.close(reached, Status.FOUND)
    if n in steps:
        run.close(np.ones(run.open.size, bool), Status.IMPOSSIBLE)
    return run


def _sparsest(run: _Run, budget: int | None) -> Subset:
    n = run.x.shape[1]
    if budget is not None and search.keys_per_target(n) > budget:
        return run.answer()
    for size in range(n + 1):
        if not run.open.size:
            break
        if size == min(_SMALL, n):  # Only targets that have an answer are worth every size.
            some = _Run(run.x[run.open], run.z[run.open], run.eps, run.tolerance)
            _escalate(some, None, best=False)
            run.subset[run.open] = some.subset
            run.close(some.status == Status.IMPOSSIBLE, Status.IMPOSSIBLE)
        p = run.problems(n, run.tolerance)
        run.close(run.settle(p, search.nearest_of_size(p, size), size), Status.FOUND)
    run.close(np.ones(run.open.size, bool), Status.IMPOSSIBLE)
    return run.answer()
