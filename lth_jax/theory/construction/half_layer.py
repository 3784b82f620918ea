"""One half of one layer of the construction: a subset of candidates for each target weight."""

import math
from collections.abc import Callable

import jax
import numpy as np
import numpy.typing as npt

from lth_jax.perturb import quantization
from lth_jax.theory.subset_sum import solvers

Floats = npt.NDArray[np.float64]


class HalfLayer:
    """Target weights, the candidates drawn for them so far, and the subsets chosen so far."""

    def __init__(
        self,
        draw_copy: Callable[[int], jax.Array],
        targets: Floats,
        scale: float,
        eps: float,
        eta: float,
    ) -> None:
        """Starts without candidates.

        Args:
            draw_copy: Index -> [m] float32 (in any shape), a candidate for every target weight.
            targets: [m] target weights; those of the second half have their sign turned.
            scale: Of the layer: candidates and perturbations count this many times.
            eps: Largest perturbation of a candidate.
            eta: Largest error of a target weight.
        """
        self.draw_copy, self.targets = draw_copy, targets
        self.scale, self.eps, self.eta = scale, eps, eta
        self.rows: list[npt.NDArray[np.float32]] = []
        self.mask = np.zeros((solvers.MAX_CANDIDATES, len(targets)), bool)
        self.moves = np.zeros(len(targets))  # One per target: all of a subset moves alike.
        self.found = np.zeros(len(targets), bool)

    def draw_up_to(self, n: int) -> None:
        """Makes sure that the first n candidates of every target are there."""
        while len(self.rows) < n:
            self.rows.append(np.asarray(self.draw_copy(len(self.rows))).ravel())

    def _scaled(self, n: int, at: npt.NDArray[np.int64]) -> Floats:
        """The first n candidates of some targets, [len(at), n]."""
        self.draw_up_to(n)
        x = np.empty((len(at), n))
        for copy in range(n):
            x[:, copy] = self.rows[copy][at]
        return self.scale * x  # Exact: 8 bits times 24.

    def choose(
        self, n: int, objective: solvers.Objective, at: npt.NDArray[np.int64] | None = None
    ) -> None:
        """Chooses the subsets of some targets, all if `at` is None, among their first n."""
        at = np.arange(len(self.targets)) if at is None else at
        x = self._scaled(n, at)
        answer = solvers.solve(x, self.targets[at], self.scale * self.eps, self.eta, objective)
        self.mask[:, at] = False
        self.mask[:n, at] = answer.mask.T
        first = answer.mask.argmax(axis=1)
        moves = answer.y[np.arange(len(at)), first]  # 0 for an empty subset
        self.moves[at] = np.clip(moves / self.scale, -self.eps, self.eps)
        self.found[at] = answer.found

    def least_width(self, limit: int) -> int:
        """The least n whose candidates reach every weight; only what failed sees more of them.

        Args:
            limit: Largest n that is tried.

        Returns:
            n; the subsets are chosen.
        """
        window = max(self.eta / self.scale, self.eps)
        # Where 1 / window overflows, no number of candidates that can be tried is enough.
        hits = math.log2(1 / window) if window > 1e-300 else math.inf
        n = int(min(max(hits, 1), limit)) if window < 1 else 1
        self.choose(n, "first")
        left = np.flatnonzero(~self.found)
        if not left.size:
            x = self._scaled(n, np.arange(len(self.targets)))
            eps = self.scale * self.eps
            while n > 1 and solvers.reachable(x[:, : n - 1], self.targets, eps, self.eta).all():
                n -= 1
            self.choose(n, "first")
        while left.size and n < limit:
            n += 1
            self.choose(n, "first", left)
            left = left[~self.found[left]]
        return n

    def moved(
        self, n: int, bits: int | None
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """What is stored of the first n candidates.

        Args:
            n: Width of the layer.
            bits: Of a perturbation; None leaves it as float32.

        Returns:
            The candidates, the same with the perturbation applied, and the mask, all [n, m].
        """
        self.draw_up_to(n)
        m = len(self.targets)
        center = np.stack(self.rows[:n]) if n else np.zeros((0, m), np.float32)
        mask = np.zeros((n, m), bool)
        mask[: len(self.mask)] = self.mask[:n]
        return center, moved(center, mask, self.moves, self.eps, bits), mask


def moved(
    center: npt.NDArray[np.float32],
    mask: npt.NDArray[np.bool_],
    moves: Floats,
    eps: float,
    bits: int | None,
) -> npt.NDArray[np.float32]:
    """The candidates with their perturbation as it is stored.

    Args:
        center: [n, m] float32 candidates.
        mask: [n, m] bool: the subsets.
        moves: [m]: what each member of a subset moves by, at most eps.
        eps: Largest perturbation.
        bits: Of a perturbation; None leaves it as float32.

    Returns:
        [n, m] float32.
    """
    wanted = np.where(mask, center + moves, center)
    if bits is None:
        return quantization.carried(center, wanted, mask, eps)
    levels = quantization.levels_of(center, wanted, mask, eps, bits)
    return quantization.rebuild(center, levels, eps, bits)
