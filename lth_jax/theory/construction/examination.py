"""What is known of a construction: its size, what theory says of it, and how far off it may be."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lth_jax.theory.construction import (
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
    necessary_widths: list[int]  # per layer and half, below which that is less probable
    necessary_for_all: float  # the same, over all layers and halves


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
    layout: random_network.Layout,
    target: Sequence[npt.NDArray[Any]],
    eps: float,
    eta: float,
    delta: float,
) -> Widths | None:
    """Candidates per weight that suffice, and that are necessary, for one and the same event.

    That is: every weight is within η, with probability 1 − δ. By `bounds.fixed_target` and
    `bounds.necessary`, as every weight has candidates of its own; a layer of scale s has its
    weights and η divided by s.

    Args:
        layout: Of the network; its widths are not used.
        target: The matrices [out, in]: only weights above η make candidates necessary.
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
    enough = [int(bounds.fixed_target(e, eps, share)) for e in etas]
    large = [layout.halves * int((np.abs(w) > eta).sum()) for w in target]
    least = [
        int(bounds.necessary(e, eps, 1 - delta, count)) if count else 0
        for e, count in zip(etas, large, strict=True)
    ]
    mean_enough, mean_least = (
        layout.halves * float(np.average(widths, weights=sizes)) for widths in (enough, least)
    )
    return Widths(enough, mean_enough, least, mean_least)


class Sizes(NamedTuple):
    """Candidates per target weight by theorem, for tolerances that prove a certificate."""

    proved: float | None
    necessary: float | None


def sizes_by_theory(
    layout: random_network.Layout,
    target: Sequence[npt.NDArray[Any]],
    eps: float,
    tolerances: Sequence[float],
    delta: float,
) -> Sizes:
    """Sizes for the event that every weight is within its layer's tolerance, before rounding.

    It suffices for a certificate and is not necessary for it, which bears single failures.

    Args:
        layout: Of the network. Of one width: what suffices, and is necessary, for all weights of
            the network at once with probability 1 − δ. With `units`: bounds of the mean size, over
            the draw of each layer given those above, where an input takes columns until all of its
            weights are within; the one from below by the lottery of signs.
        target: The matrices [out, in]: only weights above a tolerance make candidates necessary.
        eps: Largest perturbation.
        tolerances: [L].
        delta: Probability that the event does not happen; of no matter with `units`.

    Returns:
        The sizes; None where the theorem does not speak of the candidates, or nothing suffices.
    """
    etas = [eta / scale for eta, scale in zip(tolerances, layout.scales, strict=True)]
    if layout.candidates != "uniform" or min(etas) + eps == 0:
        return Sizes(None, None)
    sizes = [matrix.size for matrix in target]
    large = [np.abs(w) > eta for w, eta in zip(target, tolerances, strict=True)]
    if layout.units:
        enough = [
            max(bounds.expected_until_all(eta, eps, len(w)), 1.0)
            for eta, w in zip(etas, target, strict=True)
        ]
        least = [_mean_by_signs(eps, some.sum(axis=0)) for some in large]
    else:
        enough = [bounds.fixed_target(eta, eps, delta / sum(sizes)) for eta in etas]
        least = [
            bounds.necessary(eta, eps, 1 - delta, int(some.sum())) if some.any() else 0.0
            for eta, some in zip(etas, large, strict=True)
        ]
    proved, necessary = (float(np.average(n, weights=sizes)) for n in (enough, least))
    return Sizes(proved if proved < np.inf else None, necessary)


def _mean_by_signs(eps: float, weights: npt.NDArray[np.int64]) -> float:
    """The mean over inputs of Σ_n P(the signs of n candidates rule some of its weights out)."""
    ruled_out, total = 1.0, np.zeros(len(weights))
    while ruled_out * float(weights.max()) > 1e-12:
        total += 1 - (1 - ruled_out) ** weights
        ruled_out *= (1 - min(eps, 1.0)) / 2
    return float(np.maximum(total, 1.0).mean())


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
