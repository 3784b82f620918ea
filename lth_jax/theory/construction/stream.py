"""One layer's stream of random columns, which of them each input owns, and subsets of those.

Column t is row t of the layer's weight2, so it holds a candidate for each output. In a network of
one width n input i owns columns i, in + i, … of the first n·in; with units of its own it owns those
that follow the last input's.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
import numpy.typing as npt

from lth_jax.theory.construction import half_layer, random_network
from lth_jax.theory.subset_sum import search, solvers

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


class Answers(NamedTuple):
    """A subset for each of m target weights."""

    bits: Integers  # [m], bit k set if the k-th of its input's columns is in
    moves: Floats  # [m]: what each member moves by, candidates' scale included
    left: Floats  # [m]: target − what the moved subset sums to; exactly 0 where it is reached

    def copy(self) -> "Answers":
        """The same in arrays of its own."""
        return Answers(self.bits.copy(), self.moves.copy(), self.left.copy())

    def put(self, at: npt.NDArray[np.int64] | slice, found: "Answers") -> None:
        """Replaces the answers of some weights."""
        for old, new in zip(self, found, strict=True):
            old[at] = new

    @property
    def sizes(self) -> Integers:
        """[m]: members of each subset."""
        return np.bitwise_count(self.bits.astype(np.uint64)).astype(np.int64)


def empty(targets: Floats) -> Answers:
    """The empty subset for each target [m]."""
    return Answers(np.zeros(len(targets), np.int64), np.zeros(len(targets)), targets.copy())


def of_subsets(x: Floats, z: Floats, bits: Integers, eps: float) -> Answers:
    """The best moves of given subsets: x [m, n] scaled candidates, z [m], eps scaled likewise."""
    members = search.members(bits, x.shape[1])
    rest, sizes = z - np.where(members, x, 0).sum(axis=1), members.sum(axis=1)
    left = np.copysign(np.maximum(np.abs(rest) - sizes * eps, 0.0), rest)
    moves = np.clip(rest / np.maximum(sizes, 1), -eps, eps) * (sizes > 0)
    return Answers(bits, moves, left)


def best(x: Floats, z: Floats, eps: float) -> Answers:
    """The subsets of least error; x [m, n] scaled candidates, z [m], eps scaled likewise."""
    return of_subsets(x, z, solvers.nearest(x, z, eps), eps)


class Owners(NamedTuple):
    """The columns that each input owns: starts[i] + stride·k for k < units[i]."""

    starts: Integers  # [in]
    stride: int
    units: Integers  # [in]


class Stored(NamedTuple):
    """A layer's columns by input, [max units, in, out], filled with 0 where an input has fewer."""

    center: npt.NDArray[np.float32]  # as drawn
    moved: npt.NDArray[np.float32]  # with the perturbations as they are stored
    mask: npt.NDArray[np.bool_]
    reached: npt.NDArray[np.bool_]  # [in, out]: an error of 0, before rounding


class Columns:
    """The target weights of a layer, and the columns drawn for them so far."""

    def __init__(
        self,
        draw_copy: Callable[[int], jax.Array],
        weights: Floats,
        scale: float,
        eps: float,
        limit: int,
    ) -> None:
        """Draws nothing yet.

        Args:
            draw_copy: Index c -> [in, out] float32, columns c·in to (c + 1)·in − 1.
            weights: [out, in] of the target.
            scale: Candidates and perturbations count this many times.
            eps: Largest perturbation of a candidate.
            limit: Most columns per input.
        """
        self.draw_copy, self.weights, self.scale, self.eps = draw_copy, weights, scale, eps
        self.limit = limit
        self.outputs, self.inputs = weights.shape
        self.targets = weights.T.copy()  # [in, out]
        self._drawn = np.empty((limit * self.inputs, self.outputs), np.float32)
        self._copies = 0

    def first(self, count: int) -> npt.NDArray[np.float32]:
        """The first columns of the stream, [count, out]."""
        while self._copies * self.inputs < count:
            start = self._copies * self.inputs
            self._drawn[start : start + self.inputs] = self.draw_copy(self._copies)
            self._copies += 1
        return self._drawn[:count]

    def regular(self, n: int) -> Owners:
        """The owners where each input has n columns."""
        starts = np.arange(self.inputs, dtype=np.int64)
        return Owners(starts, self.inputs, np.full(self.inputs, n, np.int64))

    def of_input(self, start: int, n: int) -> Floats:
        """The scaled candidates of an input that owns n columns from `start` on, [out, n]."""
        rows = self.first(start + n)[start:]
        return self.scale * np.asarray(rows.T, np.float64)  # Exact: 8 bits times 24.

    def candidates(self, owners: Owners, at: Integers, n: int) -> Floats:
        """The first n scaled candidates of weights `at`, flat in [in, out]: [len(at), n]."""
        source, out = np.divmod(at, self.outputs)
        self.first(int(owners.starts[source].max(initial=0)) + owners.stride * (n - 1) + 1)
        x = np.empty((len(at), n))
        for k in range(n):
            x[:, k] = self._drawn[owners.starts[source] + owners.stride * k, out]
        return self.scale * x

    def improve(self, found: Answers, owners: Owners, n: int) -> None:
        """Takes the best subsets of the first n columns for all weights that are not yet hit."""
        at = np.flatnonzero(found.left)
        x = self.candidates(owners, at, n)
        found.put(at, best(x, self.targets.ravel()[at], self.scale * self.eps))

    def sums(self, found: Answers) -> Floats:
        """What the moved subsets sum to, [out, in]."""
        return self.weights - found.left.reshape(self.inputs, self.outputs).T

    def stored(self, owners: Owners, subsets: Integers, bits: int | None) -> "Stored":
        """What is stored of an answer: subsets [in·out] with their best moves.

        Args:
            owners: The columns of each input.
            subsets: Of those, as bits.
            bits: Of a perturbation; None leaves it as float32.
        """
        n, units = int(owners.units.max()), owners.units.tolist()
        rows = self.first(int(owners.units.sum()))
        if owners.stride == 1:
            center = random_network.by_input(rows, units)
        else:
            center = rows.reshape(n, self.inputs, self.outputs)
        flat = np.ascontiguousarray(center).reshape(n, -1)
        mask = (subsets >> np.arange(n)[:, None] & 1).astype(bool)
        x = self.scale * flat.T.astype(np.float64)
        found = of_subsets(x, self.targets.ravel(), subsets, self.scale * self.eps)
        moves = np.clip(found.moves / self.scale, -self.eps, self.eps)
        end = half_layer.moved(flat, mask, moves, self.eps, bits)
        shape, reached = center.shape, (found.left == 0).reshape(self.targets.shape)
        return Stored(flat.reshape(shape), end.reshape(shape), mask.reshape(shape), reached)
