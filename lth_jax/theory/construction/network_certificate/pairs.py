"""A layer of the target beside that of the network that stands for it."""

import typing
from typing import Literal, NamedTuple

import numpy as np

from lth_jax.theory.construction.network_certificate import outward

Domain = Literal["cube", "ball"]  # [0, 1]^d, or ‖x‖∞ <= 1
DOMAINS: tuple[Domain, ...] = typing.get_args(Domain)


class Layer(NamedTuple):
    """One layer of g: it maps x to P x⁺ + M x⁻, x⁻ = max(−x, 0); see `random_network.effective`."""

    plus: outward.Matrix  # P [out, in]
    minus: outward.Matrix | None  # M [out, in], None where there is no such half
    plus_error: outward.Matrix  # [out, in]: P is known to this much
    minus_error: outward.Matrix | None


class Parts(NamedTuple):
    """Bounds, entrywise, of the parts of W, P and D = W − P."""

    w: outward.Matrix
    p: outward.Matrix
    d: outward.Matrix
    p_error: outward.Matrix
    d_error: outward.Matrix

    def positive(self, name: Literal["w", "p", "d"], sign: int = 1) -> outward.Matrix:
        """Above the positive part of one of them, or of its negative."""
        if name == "w":  # Known exactly.
            return np.maximum(sign * self.w, 0)
        part, error = (self.p, self.p_error) if name == "p" else (self.d, self.d_error)
        return outward.up(np.maximum(sign * part + error, 0), 1)


def parts(w: outward.Matrix, p: outward.Matrix, p_error: outward.Matrix) -> Parts:
    """W and P, where P is known to `p_error`, and their difference."""
    d = w - p
    return Parts(w, p, d, p_error, outward.up(p_error + np.abs(d) * outward.U, 2))


def negative_parts(w: outward.Matrix, layer: Layer) -> Parts:
    """The parts of W and −M, which negative inputs meet."""
    if layer.minus is None or layer.minus_error is None:
        raise ValueError(
            "a network of half width ignores negative inputs: only the cube is bounded."
        )
    return parts(w, -layer.minus, layer.minus_error)
