"""Theorem 2 as a program: a pruned, ε-perturbed random network of 2L layers that is the target.

Xiong, Liao and Kyrillidis (2023), after Pensia et al. (2020). Each target layer becomes two: the
odd one is fixed, n copies of +x_j and (at full width) n of −x_j for each input j, then ReLU; the
even one is random, and a subset of the n weights between the copies of x_j and output i, each moved
by at most ε, sums to the target's weight. How the layers are stored is in random_network.py.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import numpy.typing as npt

from lth_jax import models
from lth_jax.theory.construction import half_layer, random_network
from lth_jax.theory.subset_sum import solvers

_MOST_WIDTH = 10_000

Block = dict[str, npt.NDArray[Any]]
Tree = dict[str, Block]


class Construction(NamedTuple):
    """The network and what is known of it; trees: {"RedundantBlock_l": {weight1, weight2}}."""

    model: models.Model  # init(key) draws the candidates; apply multiplies by the output scale
    candidates: Tree  # float32: the random network before anything was done to it
    weights: Tree  # float32: candidates + Y on the kept even entries, |Y| <= ε exactly
    masks: Tree  # bool: all of weight1 (the structural diagonal), the subsets of weight2
    # Per layer [halves, in, out]: within η, or, by certificate, an error of 0; before rounding.
    found: list[npt.NDArray[np.bool_]]
    layout: random_network.Layout  # with the key, what draws the candidates again


class FoundLayer(NamedTuple):
    """One layer's blocks of the three trees, `found` and its width."""

    candidates: Block
    weights: Block
    masks: Block
    found: npt.NDArray[np.bool_]
    width: int


class _Settings(NamedTuple):
    """What all layers share."""

    key: jax.Array
    eps: float
    halves: int
    candidates: random_network.Kind
    objective: solvers.Objective
    bits: int | None
    limit: int


def checked_target(target: Sequence[npt.ArrayLike]) -> list[npt.NDArray[np.float64]]:
    """Returns the weights as float64.

    Raises:
        ValueError: If they are no chain of finite matrices [out, in].
    """
    matrices = [np.asarray(w, np.float64) for w in target]
    shapes = [w.shape for w in matrices]
    if not matrices or any(len(s) != 2 or 0 in s for s in shapes):
        raise ValueError(f"expected weight matrices [out, in], got shapes {shapes}.")
    if any(a[0] != b[1] for a, b in zip(shapes, shapes[1:], strict=False)):
        raise ValueError(f"expected each layer's inputs to be the last one's outputs, got {shapes}")
    if not all((np.abs(w) < 1e30).all() for w in matrices):  # NaN compares False.
        raise ValueError("expected finite weights below 1e30 in size.")
    return matrices


def approximate(
    target: Sequence[npt.ArrayLike],
    key: jax.Array,
    eps: float,
    eta: float | Sequence[float],
    width_factor: int | Sequence[int | None] | None = None,
    *,
    nonnegative_input: bool,
    candidates: random_network.Kind = "uniform",
    objective: solvers.Objective = "first",
    bits: int | None = None,
    limit: int = 30,
) -> Construction:
    """Finds the target inside a random network.

    Args:
        target: Bias-free ReLU network, linear at its end: matrices [out, in].
        key: Typed key of the candidates; a layer's first n do not depend on n.
        eps: Largest |Y|, >= 0.
        eta: Largest error of a target weight (in the target's own units), or one per layer.
        width_factor: n, candidates per target weight and half, or one per layer; of more than 40
            only the first 40 are searched. None finds the least n of each layer by which all of
            its weights are within η; only weights that fail see more candidates.
        nonnegative_input: True gives half the width; right only for inputs >= 0.
        candidates: "uniform" U[-1, 1], "normal" N(0, 1) or "kaiming" N(0, 2/in).
        objective: Which of the subsets within η, see `subset_sum.solve`.
        bits: None leaves Y as float32; 2 to 16 rounds it to that many bits, with an error per
            target weight of half a step.
        limit: Largest n that is tried where width_factor is None.

    Returns:
        The network. Where `found` is False no subset within η was there; the nearest is used.

    Raises:
        ValueError: If a value or shape does not fit.
    """
    matrices = checked_target(target)
    aims = _per_layer(len(matrices), eps, eta, width_factor)
    halves = 1 if nonnegative_input else 2
    settings = _Settings(key, eps, halves, candidates, objective, bits, limit)
    _check(settings)
    scales = tuple(random_network.layer_scale(w, candidates) for w in matrices)
    layers = [
        _layer(settings, index, weights, scale, *aim)
        for index, (weights, scale, aim) in enumerate(zip(matrices, scales, aims, strict=True))
    ]
    return assemble(matrices, scales, layers, halves, candidates)


def _per_layer(
    count: int,
    eps: float,
    eta: float | Sequence[float],
    width_factor: int | Sequence[int | None] | None,
) -> list[tuple[float, int | None]]:
    """Checks and returns η and the width of each layer."""
    etas = list(eta) if isinstance(eta, Sequence) else [eta] * count
    widths: list[int | None] = [None] * count
    if isinstance(width_factor, Sequence):
        widths = list(width_factor)
    elif width_factor is not None:
        widths = [width_factor] * count
    if not len(etas) == len(widths) == count:
        raise ValueError(f"expected {count} values of eta and width_factor, one per layer.")
    whole = all(n is None or (type(n) is int and 1 <= n <= _MOST_WIDTH) for n in widths)
    if not all(0 <= e < 1e100 for e in (eps, *etas)) or not whole:
        raise ValueError(
            f"expected finite eps, eta >= 0 and integers width_factor in [1, {_MOST_WIDTH}], "
            f"got {eps}, {eta}, {width_factor}."
        )
    if any(n is None and e + eps == 0 for e, n in zip(etas, widths, strict=True)):
        raise ValueError("expected eta + eps > 0 where the width is to be found.")
    return list(zip(etas, widths, strict=True))


def _check(settings: _Settings) -> None:
    if settings.candidates not in random_network.KINDS:
        known = random_network.KINDS
        raise ValueError(f"expected candidates of {known}, got {settings.candidates!r}.")
    if type(settings.limit) is not int or not 1 <= settings.limit <= solvers.MAX_CANDIDATES:
        raise ValueError(f"expected 1 <= limit <= {solvers.MAX_CANDIDATES}, got {settings.limit}.")


def _layer(
    settings: _Settings,
    index: int,
    weights: npt.NDArray[np.float64],
    scale: float,
    eta: float,
    width: int | None,
) -> FoundLayer:
    """Finds the weights [out, in] of one target layer; `width` None takes the least."""
    shape = weights.shape[1], weights.shape[0]
    halves = []
    for number in range(settings.halves):
        draw_copy = functools.partial(
            random_network.draw_copy,
            settings.key,
            index,
            number,
            shape=shape,
            kind=settings.candidates,
        )
        targets = weights.T.ravel() * (1 - 2 * number)
        halves.append(half_layer.HalfLayer(draw_copy, targets, scale, settings.eps, eta))
    n = max(half.least_width(settings.limit) for half in halves) if width is None else width
    if settings.objective != "first" or width is not None:
        for half in halves:
            half.choose(min(n, solvers.MAX_CANDIDATES), settings.objective)
    center, moved, marks = (
        random_network.block(np, [row for half in tree for row in half], shape, n)
        for tree in zip(*(half.moved(n, settings.bits) for half in halves), strict=True)
    )
    mask = {
        "weight1": np.ones_like(marks["weight1"], bool),
        "weight2": marks["weight2"].astype(bool),
    }
    found = np.stack([half.found.reshape(shape) for half in halves])
    return FoundLayer(center, moved, mask, found, n)


def assemble(
    target: Sequence[npt.NDArray[np.float64]],
    scales: Sequence[float],
    layers: Sequence[FoundLayer],
    halves: int,
    candidates: random_network.Kind,
    units: tuple[tuple[int, ...], ...] = (),
) -> Construction:
    """Puts layers together to a network; `units` as in its layout."""
    named = {random_network.block_name(i): layer for i, layer in enumerate(layers)}
    layout = random_network.Layout(
        sizes=(target[0].shape[1], *(w.shape[0] for w in target)),
        widths=tuple(layer.width for layer in layers),
        halves=halves,
        candidates=candidates,
        scales=tuple(scales),
        units=units,
    )
    return Construction(
        model=random_network.as_model(layout),
        candidates={name: layer.candidates for name, layer in named.items()},
        weights={name: layer.weights for name, layer in named.items()},
        masks={name: layer.masks for name, layer in named.items()},
        found=[layer.found for layer in layers],
        layout=layout,
    )
