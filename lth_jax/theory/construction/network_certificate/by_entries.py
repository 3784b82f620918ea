"""The bound entry by entry: −v <= f − g <= u through each layer.

Proved (ours): with D = W − P and 0 <= f <= a, 0 <= g <= c a layer gives u' = D⁺a + P⁺u + P⁻v,
v' = D⁻a + P⁺v + P⁻u, a' = W⁺a, c' = P⁺c, and a ReLU u = min(u'⁺, a'), v = min(v'⁺, c'). All sums
have non-negative terms in float64 and are rounded up.
"""

from collections.abc import Sequence

import numpy as np

from lth_jax.theory.construction.network_certificate import outward, pairs


def _first_entrywise(
    parts: pairs.Parts, layer: pairs.Layer, w: outward.Matrix, domain: pairs.Domain
) -> list[outward.Matrix]:
    """u, v, a, c after layer 1, before its ReLU."""
    k = w.shape[1]
    if domain == "cube":
        named = [parts.positive("d"), parts.positive("d", -1)]
        named += [parts.positive("w"), parts.positive("p")]
    else:
        other = pairs.negative_parts(w, layer)
        # f − g = D x⁺ − (W + M) x⁻: sharper than |D| and |W + M|, and exact for one layer.
        named = [
            np.maximum(parts.positive("d"), other.positive("d", -1)),
            np.maximum(parts.positive("d", -1), other.positive("d")),
            np.abs(w),
            np.maximum(parts.positive("p"), other.positive("p", -1)),
        ]
    return [outward.up(x.sum(axis=1), k) for x in named]


def entrywise(
    target: Sequence[outward.Matrix], layers: Sequence[pairs.Layer], domain: pairs.Domain = "cube"
) -> float:
    """The entrywise bound alone, without room for rounding an evaluation; see `bound`."""
    for index, (w, layer) in enumerate(zip(target, layers, strict=True)):
        parts = pairs.parts(w, layer.plus, layer.plus_error)
        if index == 0:
            u, v, a, c = _first_entrywise(parts, layer, w, domain)
        else:
            k = 3 * w.shape[1]
            up, down = parts.positive("p"), parts.positive("p", -1)
            u, v, a, c = (
                outward.up(parts.positive("d") @ a + up @ u + down @ v, k),
                outward.up(parts.positive("d", -1) @ a + up @ v + down @ u, k),
                outward.up(parts.positive("w") @ a, k),
                outward.up(up @ c, k),
            )
        if index < len(target) - 1:
            u, v = np.minimum(np.maximum(u, 0), a), np.minimum(np.maximum(v, 0), c)
    return outward.worst(u, v)
