"""The bound by entries over the rationals, from the stored weights: nothing of it is rounded.

Written apart from `network_certificate`, so that each checks the other. Floats are integers times
a power of two, so everything is sums and products of Python's integers.
"""

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from lth_jax.theory.construction import random_network

_UNIT = 200  # Every weight here is a multiple of 2^-200.


def certificate(
    target: Sequence[npt.NDArray[Any]], weights: Any, layout: random_network.Layout
) -> Fraction:
    """Bounds ‖f − g‖∞ on [0, 1]^d by entries, exactly.

    Args:
        target: f's matrices [out, in].
        weights: g, a ticket's weights: 0 where the mask is False.
        layout: Of its random network, of half width.

    Raises:
        ValueError: If the network has both halves, or a weight is no multiple of 2^-200.
    """
    if layout.halves != 1:
        raise ValueError(f"expected a network of half width, got {layout.halves} halves.")
    size = 1
    for layer, matrix in enumerate(target):
        scale = Fraction(float(layout.scales[layer]))
        one = 2**_UNIT * scale.denominator  # What 1 is in the units of this layer's weights.
        p = _sums(weights, layer, layout) * scale.numerator
        w = integers(matrix) * scale.denominator
        d, size = w - p, size * one
        if layer == 0:
            u, v = _positive(d).sum(1), _positive(-d).sum(1)
            a, c = _positive(w).sum(1), _positive(p).sum(1)
        else:
            up, down = _positive(p), _positive(-p)
            u, v = _positive(d) @ a + up @ u + down @ v, _positive(-d) @ a + up @ v + down @ u
            a, c = _positive(w) @ a, up @ c
        if layer < len(target) - 1:
            u, v = np.minimum(u, a), np.minimum(v, c)
    return Fraction(max(*u, *v), size)


def farthest(weights: Any, masks: Any, candidates: Any) -> Fraction:
    """How far a kept weight is from the candidate that was drawn, at most, exactly.

    Args:
        weights: Tree of a ticket's weights.
        masks: Tree of bool like it.
        candidates: Tree like it: the random network.
    """
    largest = 0
    for name, block in masks.items():
        for leaf, kept in block.items():
            moved, drawn = (np.asarray(tree[name][leaf])[kept] for tree in (weights, candidates))
            where = moved != drawn
            distances = np.abs(integers(moved[where]) - integers(drawn[where]))
            largest = max(largest, distances.max(initial=0))
    return Fraction(largest, 2**_UNIT)


def integers(values: npt.ArrayLike) -> npt.NDArray[Any]:
    """[...] float -> [...] of Python's integers, in units of 2^-200.

    Raises:
        ValueError: If one is not finite or no multiple of the unit.
    """
    if not np.isfinite(values).all():
        raise ValueError("expected finite numbers, got NaN or infinity.")
    flat = []
    for value in np.ravel(values).tolist():
        numerator, denominator = value.as_integer_ratio()
        if denominator.bit_length() - 1 > _UNIT:
            raise ValueError(f"expected multiples of 2^-{_UNIT}, got {value}.")
        flat.append(numerator * (2**_UNIT // denominator))
    return np.array(flat, object).reshape(np.shape(values))


def _positive(x: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.asarray(np.maximum(x, 0))


def _sums(weights: Any, layer: int, layout: random_network.Layout) -> npt.NDArray[Any]:
    """What the masked weights of one layer sum to, [out, in] in the unit, scale left out."""
    block = weights[f"RedundantBlock_{layer}"]
    inputs, outputs = layout.sizes[layer], layout.sizes[layer + 1]
    first, second = np.asarray(block["weight1"]), np.asarray(block["weight2"])
    if (first != 1).any():
        raise ValueError(f"expected ones in weight1 of layer {layer}.")
    if layout.units:
        owner = np.repeat(np.arange(inputs), layout.units[layer])
    else:
        owner = np.tile(np.arange(inputs), len(second) // inputs)
    total = np.zeros((outputs, inputs), object)
    rows, columns = np.nonzero(second)
    np.add.at(total, (columns, owner[rows]), integers(second[rows, columns]))
    return total
