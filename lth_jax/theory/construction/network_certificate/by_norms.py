"""The bound by ℓ2 norms: ‖f − g‖₂ <= B, B' = ‖P‖B + ‖D‖R, R' = ‖W‖R, all rounded up."""

from collections.abc import Sequence

import numpy as np

from lth_jax.theory.construction.network_certificate import outward, pairs


def norm_bound(matrix: outward.Matrix, error: outward.Matrix | float = 0.0) -> float:
    """Upper bound of the spectral norm of any matrix within `error` [same shape] of `matrix`.

    With G = AᵀA ≈ VΛVᵀ as computed: ‖A‖² <= λ₁‖V‖² + ‖G − VΛVᵀ‖_F + the rounding of G, where
    ‖V‖² <= 1 + ‖VᵀV − I‖_F, and each computed residual may be off by its own rounding.
    """
    wide = matrix if matrix.shape[0] >= matrix.shape[1] else matrix.T
    m, k = wide.shape
    gram = wide.T @ wide
    if not np.isfinite(gram).all():  # It overflowed.
        return np.inf
    values, vectors = np.linalg.eigh(gram)
    largest = np.abs(values).max()
    room = 8 * k * (k + 8) * outward.U  # Of a product of two matrices with columns of norm about 1.
    square = 1 + outward.frobenius(vectors.T @ vectors - np.eye(k)) + room
    rest = outward.frobenius(gram - (vectors * values) @ vectors.T) + room * largest
    rest += 4 * (m + 8) * outward.U * outward.frobenius(wide) ** 2
    total = outward.up(np.sqrt(outward.up(largest * square + rest, m * k)), 1) + outward.frobenius(
        np.asarray(error)
    )
    return outward.worst(outward.up(total, m * k))


def row_norm(matrix: outward.Matrix) -> float:
    """Largest ℓ2 norm of a row of non-negative bounds, rounded up."""
    return float(outward.up(np.sqrt(outward.up((matrix**2).sum(axis=1), matrix.shape[1])), 1).max())


def _norm(x: outward.Matrix, error: outward.Matrix | float, rows: bool) -> float:
    """Bound of the spectral norm, or, of the last layer, of the largest row's."""
    return row_norm(outward.up(np.abs(x) + error, 1)) if rows else norm_bound(x, error)


def _size(vector: outward.Matrix, rows: bool) -> float:
    """The ℓ2 norm, or, where the last layer is taken row by row, the largest entry."""
    return float(np.max(vector) if rows else outward.frobenius(vector))


def _first_l2(
    parts: pairs.Parts, layer: pairs.Layer, w: outward.Matrix, domain: pairs.Domain, rows: bool
) -> tuple[float, float]:
    """B and R after layer 1; the cube is centred at 1/2."""
    root = outward.up(np.sqrt(w.shape[1]), 1)
    if domain == "ball":
        other = pairs.negative_parts(w, layer)
        stacked = np.concatenate([parts.d, other.d], axis=1)
        error = np.concatenate([parts.d_error, other.d_error], axis=1)
        return outward.up(_norm(stacked, error, rows) * root, 1), outward.up(
            _norm(w, 0.0, rows) * root, 1
        )
    shift = np.maximum(*(outward.up(parts.positive("d", s).sum(1), w.shape[1]) for s in (1, -1)))
    # |D ½1| directly: signs cancel in it, so its own rounding is added.
    middle = np.abs(parts.d.sum(axis=1)) / 2
    room = outward.up((np.abs(parts.d).sum(axis=1) * w.shape[1] * 2 * outward.U), w.shape[1])
    middle = outward.up(middle + room + parts.d_error.sum(axis=1), w.shape[1])
    middle = np.minimum(middle, shift)
    centre = outward.up(np.abs(w.sum(axis=1)) / 2 + np.abs(w).sum(1) * w.shape[1] * outward.U, 8)
    b = outward.up(_size(middle, rows) + _norm(parts.d, parts.d_error, rows) * root / 2, len(w))
    r = outward.up(_size(centre, rows) + _norm(w, 0.0, rows) * root / 2, len(w))
    return b, r


def l2(
    target: Sequence[outward.Matrix], layers: Sequence[pairs.Layer], domain: pairs.Domain
) -> float:
    """The ℓ2 recursion; the last layer is taken row by row."""
    last = len(target) - 1
    for index, (w, layer) in enumerate(zip(target, layers, strict=True)):
        parts, rows = pairs.parts(w, layer.plus, layer.plus_error), index == last
        if index == 0:
            b, r = _first_l2(parts, layer, w, domain, rows)
        else:
            b = outward.up(
                _norm(parts.p, parts.p_error, rows) * b + _norm(parts.d, parts.d_error, rows) * r, 2
            )
            r = outward.up(_norm(w, 0.0, rows) * r, 1)
    return outward.worst(b)
