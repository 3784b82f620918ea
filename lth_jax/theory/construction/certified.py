"""The least network whose certified error is at most a given one, and a sparse ticket in it.

The yardstick of question 1: not the size at a fixed tolerance per weight, but at equal certified
quality. The objective is the same for every ε: the size is what the subsets of least error need,
and then as few weights are kept as the same certificate bears (`thrift`).
"""

import typing
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import jax
import numpy as np
import numpy.typing as npt

from lth_jax.theory.construction import (
    adaptive,
    approximation,
    network_certificate,
    random_network,
    sensitivity,
    stream,
    thrift,
)
from lth_jax.theory.subset_sum import solvers

Floats = npt.NDArray[np.float64]
Assignment = Literal["uniform", "adaptive"]  # One width per layer, or units as each input needs.
ASSIGNMENTS: tuple[Assignment, ...] = typing.get_args(Assignment)
_LIMITS: dict[Assignment, int] = {"uniform": 30, "adaptive": solvers.MAX_CANDIDATES}
_SAMPLE = 24  # Inputs of a layer that its width is guessed from.
_ROOM = 1.05  # Times the least certificate: with less there is no room for fewer terms.
_SPARE = 1e-6  # Of what is allowed: far more than the verifier adds for rounding.
_MARGINS = (1.05, 1.2, 1.5, 2.0)  # Times the expected cost of rounding that is set aside.


class Least(NamedTuple):
    """A network that was found, and what it would keep without thrift."""

    built: approximation.Construction
    kept_by_best: int  # weights kept by the subsets of least error
    # [L]: with all weights of an input (adaptive), or of the network (uniform), within these before
    # rounding, the input has stopped, or the network is certified.
    tolerances: list[float]


class _Problem(NamedTuple):
    """What is asked for."""

    target: list[Floats]
    scales: list[float]
    columns: list[stream.Columns]
    eps: float
    bits: int | None
    candidates: random_network.Kind

    def entrywise(self, lefts: Sequence[Floats]) -> float:
        """The certificate of errors [in·out] of each layer, before rounding."""
        layers = [
            network_certificate.Layer(w - _matrix(left, w), None, np.zeros_like(w), None)
            for w, left in zip(self.target, lefts, strict=True)
        ]
        return network_certificate.entrywise(self.target, layers)


class _Layer(NamedTuple):
    """The columns of a layer's inputs, and the subsets."""

    owners: stream.Owners
    answers: stream.Answers
    tolerance: float


def _matrix(left: Floats, weights: Floats) -> Floats:
    """[in·out] as [out, in]."""
    return left.reshape(weights.T.shape).T


def least(
    target: Sequence[npt.ArrayLike],
    key: jax.Array,
    eps: float,
    allowed: float,
    assignment: Assignment,
    *,
    candidates: random_network.Kind = "uniform",
    bits: int | None = 16,
    width: int | None = None,
    limit: int | None = None,
) -> Least:
    """Finds a small random network with a ticket of certified error at most `allowed`.

    With "uniform" the widths are the least ones, layer by layer, the largest layer first and as if
    those that come later had no error: of that layer's width the network has the least that a
    certificate bears. With "adaptive" each input stops by the rule of `adaptive.assign`.

    Args:
        target: Bias-free ReLU network, linear at its end: matrices [out, in]; inputs in [0, 1].
        key: Typed key of the candidates, the same stream for every ε, `allowed` and assignment.
        eps: Largest |Y|, >= 0.
        allowed: Largest error of an output on [0, 1]^d, > 0.
        assignment: See ASSIGNMENTS.
        candidates: See `random_network.KINDS`.
        bits: Of a stored perturbation; None leaves it as float32.
        width: With "uniform": the width of all layers, of which only the ticket is then sought.
        limit: Most candidates per weight, at most 40; a larger width counts as one. By default 30
            with "uniform" and 40 with "adaptive", where single inputs need far more than most.

    Returns:
        The network with the sparse ticket, within `allowed` by its stored weights.

    Raises:
        ValueError: If a value does not fit, or no network within `limit` is certified.
    """
    matrices = approximation.checked_target(target)
    if not (0 <= eps < 1e30 and 0 < allowed < np.inf) or assignment not in ASSIGNMENTS:
        raise ValueError(
            f"expected eps >= 0, allowed > 0 and an assignment of {ASSIGNMENTS}, "
            f"got {eps}, {allowed} and {assignment!r}."
        )
    if limit is None:
        limit = _LIMITS[assignment]
    limit = max(limit, width or 1)
    if not 1 <= limit <= solvers.MAX_CANDIDATES or (width and assignment != "uniform"):
        raise ValueError(f"expected 1 <= limit <= {solvers.MAX_CANDIDATES}, got {limit}.")
    scales = [random_network.layer_scale(w, candidates) for w in matrices]
    columns = [
        _columns(key, index, w, scale, eps, candidates, limit)
        for index, (w, scale) in enumerate(zip(matrices, scales, strict=True))
    ]
    problem = _Problem(matrices, scales, columns, eps, bits, candidates)
    rounding = sensitivity.rounding(matrices, scales, eps, bits)
    for margin in _MARGINS if rounding else _MARGINS[:1]:
        room = allowed * (1 - 2 * _SPARE) - margin * rounding
        if room <= 0:
            raise ValueError(f"expected more than {margin * rounding}, which rounding may cost.")
        if assignment == "adaptive":
            found = _adaptive(problem, room)
        else:
            found = _uniform(problem, room, width)
        if (built := _thrifty(problem, found, room, allowed, assignment)) is not None:
            kept = sum(int(layer.answers.sizes.sum()) for layer in found)
            return Least(built, kept, [layer.tolerance for layer in found])
    more = "candidates" if width else "bits of perturbations"
    raise ValueError(f"expected more {more}, for a certificate of {allowed}.")


def _columns(
    key: jax.Array,
    index: int,
    weights: Floats,
    scale: float,
    eps: float,
    kind: random_network.Kind,
    limit: int,
) -> stream.Columns:
    def draw_copy(copy: int) -> jax.Array:
        drawn: jax.Array = random_network.draw_copy(key, index, 0, copy, weights.T.shape, kind)
        return drawn

    return stream.Columns(draw_copy, weights, scale, eps, limit)


def _adaptive(problem: _Problem, room: float) -> list[_Layer]:
    """Assigns the columns of every layer, the last one first: those below know its true weights.

    A layer may cost the part of what is left that it has of the weights that are left.
    """
    sizes, bounds = [w.size for w in problem.target], sensitivity.inputs(problem.target)
    weighing = sensitivity.at_the_output(problem.target)
    left = np.full((len(problem.target[-1]), 2), room)
    layers = []
    for index in range(len(sizes) - 1, -1, -1):
        columns, share = problem.columns[index], sizes[index] / sum(sizes[: index + 1])
        assigned = adaptive.assign(columns, weighing, bounds[index], share * left)
        left = left - assigned.spent
        weighing = weighing.below(columns.sums(assigned.answers))
        layers.append(_Layer(assigned.owners, assigned.answers, assigned.tolerance))
    return layers[::-1]


def _uniform(problem: _Problem, room: float, width: int | None) -> list[_Layer]:
    """The least width of each layer in turn, the largest layer first; or the given width."""
    order = np.argsort([-w.size for w in problem.target], kind="stable").tolist()
    layers: dict[int, _Layer] = {}
    for index in order:
        columns = problem.columns[index]
        layers[index] = _at_width(columns, width) if width else _without_error(columns)
    for index in [] if width else order:
        layers[index] = _least_width(problem, layers, index, room)
    tolerances = sensitivity.tolerances(problem.target, room)
    return [layers[i]._replace(tolerance=eta) for i, eta in enumerate(tolerances)]


def _at_width(columns: stream.Columns, n: int) -> _Layer:
    answers = stream.empty(columns.targets.ravel())
    columns.improve(answers, columns.regular(n), n)
    return _Layer(columns.regular(n), answers, np.nan)


def _without_error(columns: stream.Columns) -> _Layer:
    """What stands for a layer until its width is found."""
    answers = stream.empty(np.zeros(columns.weights.size))
    return _Layer(columns.regular(0), answers, np.nan)


def _least_width(
    problem: _Problem, layers: Mapping[int, _Layer], index: int, room: float
) -> _Layer:
    """The layer of the least width that fits beside the others."""
    columns = problem.columns[index]

    def fits(layer: _Layer) -> bool:
        there = {**layers, index: layer}
        return problem.entrywise([there[i].answers.left for i in sorted(there)]) <= room

    n = _guess(problem, layers, index, room)
    layer = _at_width(columns, n)
    if fits(layer):
        while n > 1 and fits(less := _at_width(columns, n - 1)):
            layer, n = less, n - 1
        return layer
    while n < columns.limit:
        n += 1
        columns.improve(layer.answers, columns.regular(n), n)
        layer = layer._replace(owners=columns.regular(n))
        if fits(layer):
            return layer
    raise ValueError(f"expected a certificate that {n} candidates per weight can give, got {room}.")


def _guess(problem: _Problem, layers: Mapping[int, _Layer], index: int, room: float) -> int:
    """One less than the width that a sample of the layer's inputs needs."""
    columns, bounds = problem.columns[index], sensitivity.inputs(problem.target)
    weighing, spent = sensitivity.at_the_output(problem.target), np.zeros(())
    own = weighing
    for i in range(len(problem.target) - 1, -1, -1):
        if i == index:
            own = weighing
        else:
            errors = _matrix(layers[i].answers.left, problem.target[i])
            spent = spent + weighing.cost(errors * bounds[i]).sum(axis=-1)
        weighing = weighing.below(problem.target[i])
    sample = np.unique(np.linspace(0, columns.inputs - 1, _SAMPLE).astype(np.int64))
    at = (sample[:, None] * columns.outputs + np.arange(columns.outputs)).ravel()
    z, eps = columns.targets.ravel()[at], columns.scale * columns.eps
    found = stream.empty(z)
    for n in range(1, columns.limit):
        miss = np.flatnonzero(found.left)
        x = columns.candidates(columns.regular(n), at[miss], n)
        found.put(miss, stream.best(x, z[miss], eps))
        errors = found.left.reshape(len(sample), -1).T * bounds[index][sample]
        cost = own.cost(errors).sum(axis=-1) * (columns.inputs / len(sample))
        if (spent + cost).max() <= room:
            return max(n - 1, 1)
    return columns.limit


def _thrifty(
    problem: _Problem,
    layers: Sequence[_Layer],
    room: float,
    allowed: float,
    assignment: Assignment,
) -> approximation.Construction | None:
    """The sparse ticket in the columns of a network, None if rounding takes it over `allowed`."""
    spare = room > _ROOM * problem.entrywise([layer.answers.left for layer in layers])
    menus = [
        thrift.menu(columns, layer.owners, layer.answers, thrift.MOST if spare else thrift.FEW)
        for columns, layer in zip(problem.columns, layers, strict=True)
    ]
    weights, weighing = [], sensitivity.at_the_output(problem.target)
    bounds = sensitivity.inputs(problem.target)
    for matrix, bound in zip(problem.target[::-1], bounds[::-1], strict=True):
        each = (weighing.same + weighing.turned).mean(axis=0)
        weights.append(np.outer(bound, each).ravel())
        weighing = weighing.below(matrix)

    def fits(lefts: list[Floats]) -> bool:
        return problem.entrywise(lefts) <= room

    for _ in range(3):
        rows = thrift.pick(menus, weights[::-1], fits)
        if rows is None:
            return None
        built = _build(problem, layers, menus, rows, assignment)
        layout = built.layout
        stored = random_network.effective(built.weights, built.masks, layout.scales, layout.units)
        excess = network_certificate.entrywise(problem.target, stored) - allowed * (1 - _SPARE)
        if excess <= 0:
            return built
        room -= 1.1 * excess
    return None


def _build(
    problem: _Problem,
    layers: Sequence[_Layer],
    menus: Sequence[thrift.Menu],
    rows: Sequence[npt.NDArray[np.int64]],
    assignment: Assignment,
) -> approximation.Construction:
    """The network with the answers that were picked."""
    found = []
    units = [tuple(layer.owners.units.tolist()) for layer in layers]
    for i, (columns, layer, menu, row) in enumerate(
        zip(problem.columns, layers, menus, rows, strict=True)
    ):
        subsets = np.take_along_axis(menu.bits, row[None], 0)[0]
        stored = columns.stored(layer.owners, subsets, problem.bits)
        if assignment == "uniform":
            start, end, marks = (
                random_network.block(np, list(part), part.shape[1:], len(part))
                for part in stored[:3]
            )
        else:
            start, end, marks = (
                random_network.assigned_block(np, random_network.as_stream(part, units[i]))
                for part in stored[:3]
            )
        masks = {
            "weight1": np.ones_like(marks["weight1"], bool),
            "weight2": marks["weight2"].astype(bool),
        }
        width = max(units[i])
        found.append(approximation.FoundLayer(start, end, masks, stored.reached[None], width))
    return approximation.assemble(
        problem.target,
        problem.scales,
        found,
        1,
        problem.candidates,
        () if assignment == "uniform" else tuple(units),
    )
