"""A proved upper bound on sup |f − g| for two bias-free ReLU networks: the least of three."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lth_jax.theory.construction.network_certificate import (
    by_entries,
    by_lines,
    by_norms,
    outward,
    pairs,
)


class Bound(NamedTuple):
    """Upper bounds of sup over the domain of ‖f − g‖∞."""

    value: float  # the least of the three, and room for two float64 evaluations
    entrywise: float
    l2: float
    relaxed: float
    rounding: float  # most by which a float64 evaluation of |f − g| on the domain is off


def _evaluation_rounding(target: Sequence[outward.Matrix], layers: Sequence[pairs.Layer]) -> float:
    """Bound of the error of computing f − g in float64 at any point of the domain."""
    total = 0.0
    for matrices in (
        [np.abs(w) for w in target],
        [np.maximum(np.abs(g.plus), 0 if g.minus is None else np.abs(g.minus)) for g in layers],
    ):
        size, terms = np.ones(matrices[0].shape[1]), 0
        lost = np.zeros(len(size))  # By products that underflow.
        for matrix in matrices:
            size = outward.up(matrix @ size, matrix.shape[1])
            lost = outward.up(matrix @ lost, matrix.shape[1])
            terms += 2 * matrix.shape[1] + 8
        total += float(size.max()) * terms * 2 * outward.U + float(lost.max())
    return outward.worst(outward.up(total, 2))


def _check(target: Sequence[outward.Matrix], layers: Sequence[pairs.Layer]) -> None:
    if [w.shape for w in target] != [layer.plus.shape for layer in layers]:
        raise ValueError("expected two networks of the same shapes.")
    for w, layer in zip(target, layers, strict=True):
        if not all(np.isfinite(part).all() for part in (w, *layer) if part is not None):
            raise ValueError("expected finite weights and errors, got NaN or infinity.")
        if any((e < 0).any() for e in (layer.plus_error, layer.minus_error) if e is not None):
            raise ValueError("expected errors of at least 0, got a negative one.")


# What overflows is infinite, and what is infinite times 0 NaN, which the functions know.
@np.errstate(over="ignore", invalid="ignore")
def bound(
    target: Sequence[npt.NDArray[Any]], layers: Sequence[pairs.Layer], domain: pairs.Domain = "cube"
) -> Bound:
    """Proves how far two networks are apart on a whole domain.

    Args:
        target: f's matrices [out, in].
        layers: g, see `random_network.effective`; one per layer of f.
        domain: "cube" is [0, 1]^d, "ball" is ‖x‖∞ <= 1.

    Returns:
        The bounds. For one layer `entrywise` is the maximum itself, but for rounding. Where float64
        overflows they are infinite.

    Raises:
        ValueError: If the shapes do not fit, a number is not finite, an error is negative, or the
            ball is asked of a network of half width.
    """
    target = [np.asarray(w, np.float64) for w in target]
    _check(target, layers)
    if domain not in pairs.DOMAINS:
        raise ValueError(f"expected a domain of {pairs.DOMAINS}, got {domain!r}.")
    by_entry = by_entries.entrywise(target, layers, domain)
    by_norm = by_norms.l2(target, layers, domain)
    by_line = by_lines.relaxed(target, layers, domain)
    rounding = _evaluation_rounding(target, layers)
    value = outward.worst(outward.up(min(by_entry, by_norm, by_line) + 2 * rounding, 2))
    return Bound(value, by_entry, by_norm, by_line, rounding)
