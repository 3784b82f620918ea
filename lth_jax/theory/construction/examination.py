"""What is known of a construction: its size, what theory says of it, and how far off it may be."""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lth_jax.theory.construction import (
    adaptive,
    approximation,
    error_search,
    network_certificate,
    random_network,
)
from lth_jax.theory.subset_sum import bounds


class Counts(NamedTuple):
    """Sizes: of the target, of the even layers, what is kept of them, and of the odd layers."""

    weights: int
    candidates: int
    kept: int
    odd_kept: int
    odd_total: int
    over_parameterization: float  # candidates per target weight


class Widths(NamedTuple):
    """Candidates per target weight by theorem."""

    proved_widths: list[int]  # per layer and half, that suffice for all weights at once
    proved_over_parameterization: float  # the same, over all layers and halves
    necessary_over_parameterization: float  # that one weight needs to be reached with p = 1/2


class Examination(NamedTuple):
    """How far the network is from its target on a whole domain: above and below."""

    domain: network_certificate.Domain
    bound: network_certificate.Bound
    found: error_search.Found
    holds: bool  # False refutes the bound by what was found, which would be a bug


def counts(built: approximation.Construction) -> Counts:
    """Counts the entries of a construction's layers."""
    sizes = built.layout.sizes
    pairs = list(zip(sizes, sizes[1:], strict=False))
    blocks = [built.masks[random_network.block_name(i)] for i in range(len(pairs))]
    weights = sum(a * b for a, b in pairs)
    total = sum(b["weight2"].size for b in blocks)
    return Counts(
        weights=weights,
        candidates=total,
        kept=int(sum(b["weight2"].sum() for b in blocks)),
        odd_kept=sum(b["weight1"].size for b in blocks),
        odd_total=sum(b["weight1"].size * a for b, (a, _) in zip(blocks, pairs, strict=True)),
        over_parameterization=total / weights,
    )


def widths_by_theory(
    layout: random_network.Layout, eps: float, eta: float, delta: float
) -> Widths | None:
    """Candidates per weight that suffice for all weights at once, and that one weight needs.

    By `bounds`, for each layer; one of scale s has its weights and η divided by s.

    Args:
        layout: Of the network; its widths are not used.
        eps: Largest perturbation.
        eta: Largest error of a target weight.
        delta: Probability to fail, spread over all weights and halves.

    Returns:
        The widths; None for candidates that the theorem does not speak of, or where nothing
        suffices.
    """
    if layout.candidates != "uniform" or eta + eps == 0:
        return None
    sizes = [a * b for a, b in zip(layout.sizes, layout.sizes[1:], strict=False)]
    share = delta / (layout.halves * sum(sizes))
    etas = [eta / scale for scale in layout.scales]
    if min(etas) + eps == 0:  # η / scale underflows.
        return None
    enough = [int(bounds.candidates(e, eps, share)) for e in etas]
    least = [int(bounds.lower_by_density(e, eps, 0.5)) for e in etas]
    mean_enough, mean_least = (
        layout.halves * float(np.average(widths, weights=sizes)) for widths in (enough, least)
    )
    return Widths(enough, mean_enough, mean_least)


class Sizes(NamedTuple):
    """Candidates per target weight by theorem, for tolerances that prove a certificate."""

    proved: float | None
    necessary: float | None


def sizes_by_theory(
    layout: random_network.Layout, eps: float, tolerances: Sequence[float], delta: float
) -> Sizes:
    """Sizes for the event that every weight is within its layer's tolerance.

    It suffices for a certificate and is not necessary for it, which bears single failures.

    Args:
        layout: Of the network. Of one width: what suffices for all weights at once. With `units`:
            the proved mean, over the draw of a layer given those above, of a network whose inputs
            stop when all of their weights are within.
        eps: Largest perturbation.
        tolerances: [L].
        delta: Probability that the event does not happen; of no matter with `units`.

    Returns:
        The sizes; None where the theorem does not speak of the candidates, or nothing suffices.
    """
    etas = [eta / scale for eta, scale in zip(tolerances, layout.scales, strict=True)]
    if layout.candidates != "uniform" or min(etas) + eps == 0:
        return Sizes(None, None)
    shapes = list(zip(layout.sizes, layout.sizes[1:], strict=False))
    sizes = [a * b for a, b in shapes]
    if layout.units:
        enough = [
            adaptive.expected_units(functools.partial(bounds.candidates, eta, eps), outputs)
            for eta, (_, outputs) in zip(etas, shapes, strict=True)
        ]
    else:
        share = delta / sum(sizes)
        enough = [bounds.candidates(eta, eps, share) for eta in etas]
    least = [bounds.lower_by_density(eta, eps, 1 - delta) for eta in etas]
    return Sizes(*(float(np.average(n, weights=sizes)) for n in (enough, least)))


def examine(
    built: approximation.Construction,
    target: Sequence[npt.NDArray[Any]],
    data: npt.ArrayLike,
    rng: np.random.Generator,
) -> Examination:
    """Bounds the error of a construction and looks for a large one.

    Args:
        built: The construction. Its domain is the ball, or the cube at half width.
        target: The matrices [out, in] that it was built for.
        data: [n, d] inputs in the domain; may be empty.
        rng: Of random inputs.
    """
    layout = built.layout
    layers = random_network.effective(built.weights, built.masks, layout.scales, layout.units)
    domain: network_certificate.Domain = "ball" if layout.halves == 2 else "cube"
    bound = network_certificate.bound(target, layers, domain)
    found = error_search.search(target, layers, data, rng, domain)
    return Examination(domain, bound, found, bound.value >= found.value + bound.rounding)
