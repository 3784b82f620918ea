"""The entrywise certificate over the rationals, from the stored weights: nothing of it is rounded.

Written apart from the library's verifier, for networks of half width: floats are integers times a
power of two, so everything is sums and products of Python integers.
"""

from fractions import Fraction

import numpy as np

_UNIT = 200  # Every weight and scale here is a multiple of 2^-200.


def integers(values):
    """[...] float -> [...] of Python integers, in units of 2^-200."""
    ratios = [float(v).as_integer_ratio() for v in np.ravel(values)]
    assert all(2**_UNIT % denominator == 0 for _, denominator in ratios)
    flat = [numerator * (2**_UNIT // denominator) for numerator, denominator in ratios]
    return np.array(flat, object).reshape(np.shape(values))


def sums(weights, layer, layout):
    """What the masked weights of one layer sum to, [out, in] in units of 2^-200, scale left out."""
    block = weights[f"RedundantBlock_{layer}"]
    inputs, outputs = layout.sizes[layer], layout.sizes[layer + 1]
    first, second = np.asarray(block["weight1"]), np.asarray(block["weight2"])
    if layout.units:
        owner = np.repeat(np.arange(inputs), layout.units[layer])
    else:
        owner = np.tile(np.arange(inputs), len(second) // inputs)
    total = np.zeros((outputs, inputs), object)
    rows, columns = np.nonzero(second)
    assert (first == 1).all()
    values = integers(second[rows, columns])
    np.add.at(total, (columns, owner[rows]), values)
    return total


def certificate(target, weights, layout, outputs=None):
    """The exact bound of |f − g| on [0, 1]^d at some outputs, all by default, as a Fraction."""
    u = v = None
    for layer, matrix in enumerate(target):
        shown = slice(None)
        if layer == len(target) - 1 and outputs is not None:
            shown = list(outputs)
        scale = Fraction(float(layout.scales[layer]))
        numerator, denominator = scale.numerator, scale.denominator
        p = sums(weights, layer, layout)[shown] * numerator  # in units of 2^-200 / denominator
        w = integers(matrix)[shown] * denominator
        d = w - p
        one = 2**_UNIT * denominator

        def positive(x, sign=1):
            return np.maximum(sign * x, 0)

        if layer == 0:
            u, v = positive(d).sum(1), positive(d, -1).sum(1)
            a, c = positive(w).sum(1), positive(p).sum(1)
            size = one
        else:
            up, down = positive(p), positive(p, -1)
            u, v = positive(d) @ a + up @ u + down @ v, positive(d, -1) @ a + up @ v + down @ u
            a, c = positive(w) @ a, up @ c
            size *= one
        if layer < len(target) - 1:
            u, v = np.minimum(np.maximum(u, 0), a), np.minimum(np.maximum(v, 0), c)
    return Fraction(max(*u, *v), size)
