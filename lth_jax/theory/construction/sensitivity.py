"""What each layer's errors cost in the certificate, and how small they must be for a given one.

The entrywise recursion of `network_certificate` on the cube, without its two minima, is linear in
the errors D_l = W_l − P_l: the output's error is at most Σ_l S_l D_l⁺ a + T_l D_l⁻ a above the
target and Σ_l S_l D_l⁻ a + T_l D_l⁺ a below, where a bounds the target's units before layer l,
S = 1 and T = 0 behind the last layer, and S' = S P⁺ + T P⁻, T' = S P⁻ + T P⁺ one layer down. So an
input's part of it depends on the errors of that input's weights alone.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lth_jax.perturb import quantization

Floats = npt.NDArray[np.float64]


class Weighing(NamedTuple):
    """How the errors of one layer's outputs count at the network's."""

    same: Floats  # S [outputs, out]
    turned: Floats  # T [outputs, out]

    def below(self, matrix: Floats) -> "Weighing":
        """The weighing of the layer under this one, whose weights in the ticket are `matrix`."""
        up, down = np.maximum(matrix, 0), np.maximum(-matrix, 0)
        same, turned = self
        return Weighing(same @ up + turned @ down, same @ down + turned @ up)

    def cost(self, errors: Floats) -> Floats:
        """What errors [out, ...] of a layer cost: [outputs, 2, ...], above and below the target."""
        up, down = np.maximum(errors, 0), np.maximum(-errors, 0)
        same, turned = self
        return np.stack([same @ up + turned @ down, same @ down + turned @ up], axis=1)


def at_the_output(target: Sequence[Floats]) -> Weighing:
    """The weighing of the last layer."""
    eye = np.eye(len(target[-1]))
    return Weighing(eye, np.zeros_like(eye))


def inputs(target: Sequence[Floats]) -> list[Floats]:
    """Upper bounds [in] of each layer's inputs on the cube."""
    bounds = [np.ones(target[0].shape[1])]
    for matrix in target[:-1]:
        bounds.append(np.maximum(matrix, 0) @ bounds[-1])
    return bounds


def rounding(
    target: Sequence[Floats], scales: Sequence[float], eps: float, bits: int | None
) -> float:
    """What storing perturbations by `bits` bits is expected to add to the certificate.

    A stored sum is off by up to half a step of scale · ε / top either way, all sizes alike: by an
    eighth of a step above, and below, in the mean. None for bits counts the steps of a float32.
    """
    if eps == 0:
        return 0.0
    steps = 2.0**-24 if bits is None else eps / quantization.top_level(bits)
    weighing, total = at_the_output(target), np.zeros((len(target[-1]), 2))
    for matrix, scale, size in zip(target[::-1], scales[::-1], inputs(target)[::-1], strict=True):
        each = np.full(len(matrix), scale * steps / 8 * size.sum())
        total += weighing.cost(each) + weighing.cost(-each)
        weighing = weighing.below(matrix)
    return float(total.max())


def tolerances(target: Sequence[Floats], allowed: float) -> list[float]:
    """η of each layer: if all weights are within it, the certificate is at most `allowed`.

    A layer may cost the part of `allowed` that it has of all weights. The layers above may be off
    by their own η, which counts.

    Args:
        target: Matrices [out, in].
        allowed: Largest error of an output on the cube.

    Returns:
        [L] of η.
    """
    sizes, found = [matrix.size for matrix in target], []
    reach = np.eye(len(target[-1]))
    for matrix, size, bound in zip(target[::-1], sizes[::-1], inputs(target)[::-1], strict=True):
        slope = float(reach.sum(axis=1).max() * bound.sum())
        eta = allowed * size / sum(sizes) / slope if slope else np.inf
        found.append(eta)
        reach = reach @ (np.abs(matrix) + (eta if slope else 0.0))
    return found[::-1]
