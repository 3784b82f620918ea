"""A proved upper bound on sup |f − g| for two bias-free ReLU networks, and a search from below.

Proved (ours): with D = W − P, entrywise bounds −v <= f − g <= u, 0 <= f <= a, 0 <= g <= c go
through a layer as u' = D⁺a + P⁺u + P⁻v, v' = D⁻a + P⁺v + P⁻u, a' = W⁺a, c' = P⁺c, and after a ReLU
u = min(u'⁺, a'), v = min(v'⁺, c'). Beside it ‖f − g‖₂ <= B, B' = ‖P‖B + ‖D‖R, R' = ‖W‖R. All sums
have non-negative terms in float64 and are rounded up.
"""

import typing
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

Domain = Literal["cube", "ball"]  # [0, 1]^d, or ‖x‖∞ <= 1
DOMAINS: tuple[Domain, ...] = typing.get_args(Domain)
_U = 2.0**-53
_TINY = 2.0**-1074  # The smallest float64: a product that underflows is off by half of it.

Matrix = npt.NDArray[np.float64]


class Layer(NamedTuple):
    """One layer of g: it maps x to P x⁺ + M x⁻, x⁻ = max(−x, 0); see `random_network.effective`."""

    plus: Matrix  # P [out, in]
    minus: Matrix | None  # M [out, in], None where there is no such half
    plus_error: Matrix  # [out, in]: P is known to this much
    minus_error: Matrix | None


class Bound(NamedTuple):
    """Upper bounds of sup over the domain of ‖f − g‖∞."""

    value: float  # the smaller of the two, and room for two float64 evaluations
    entrywise: float
    l2: float
    rounding: float  # most by which a float64 evaluation of |f − g| on the domain is off


@typing.overload
def _up(x: float, terms: int) -> float: ...
@typing.overload
def _up(x: Matrix, terms: int) -> Matrix: ...
def _up(x: Any, terms: int) -> Any:
    """Rounds a computed sum of `terms` non-negative products up to above the exact one."""
    room = 4 * (terms + 8)
    return np.nextafter(x * (1 + room * _U) + room * _TINY, np.inf)


def _frobenius(x: Matrix) -> np.float64:
    """The ℓ2 norm of all entries; squares that underflow count as the largest they may be."""
    return np.float64(np.linalg.norm(x) + np.sqrt(np.count_nonzero(x)) * 2.0**-537)


class _Parts(NamedTuple):
    """Bounds, entrywise, of the parts of W, P and D = W − P."""

    w: Matrix
    p: Matrix
    d: Matrix
    p_error: Matrix
    d_error: Matrix

    def positive(self, name: Literal["w", "p", "d"], sign: int = 1) -> Matrix:
        if name == "w":  # Known exactly.
            return np.maximum(sign * self.w, 0)
        part, error = (self.p, self.p_error) if name == "p" else (self.d, self.d_error)
        return _up(np.maximum(sign * part + error, 0), 1)


def _parts(w: Matrix, p: Matrix, p_error: Matrix) -> _Parts:
    d = w - p
    return _Parts(w, p, d, p_error, _up(p_error + np.abs(d) * _U, 2))


def norm_bound(matrix: Matrix, error: Matrix | float = 0.0) -> float:
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
    room = 8 * k * (k + 8) * _U  # Of a product of two matrices with columns of norm about 1.
    square = 1 + _frobenius(vectors.T @ vectors - np.eye(k)) + room
    rest = _frobenius(gram - (vectors * values) @ vectors.T) + room * largest
    rest += 4 * (m + 8) * _U * _frobenius(wide) ** 2
    total = _up(np.sqrt(_up(largest * square + rest, m * k)), 1) + _frobenius(np.asarray(error))
    return _worst(_up(total, m * k))


def _worst(*bounds: Matrix | np.float64 | float) -> float:
    """The largest of bounds and 0; NaN stands for one that overflowed and is infinite."""
    largest = np.max([np.max(bound) for bound in bounds], initial=0.0)
    return np.inf if np.isnan(largest) else float(largest)


def _row_norm(matrix: Matrix) -> float:
    """Largest ℓ2 norm of a row of non-negative bounds, rounded up."""
    return float(_up(np.sqrt(_up((matrix**2).sum(axis=1), matrix.shape[1])), 1).max())


def _negative_parts(w: Matrix, layer: Layer) -> _Parts:
    """The parts of W and −M, which negative inputs meet."""
    if layer.minus is None or layer.minus_error is None:
        raise ValueError(
            "a network of half width ignores negative inputs: only the cube is bounded."
        )
    return _parts(w, -layer.minus, layer.minus_error)


def _first_entrywise(parts: _Parts, layer: Layer, w: Matrix, domain: Domain) -> list[Matrix]:
    """u, v, a, c after layer 1, before its ReLU."""
    k = w.shape[1]
    if domain == "cube":
        named = [parts.positive("d"), parts.positive("d", -1)]
        named += [parts.positive("w"), parts.positive("p")]
    else:
        other = _negative_parts(w, layer)
        # f − g = D x⁺ − (W + M) x⁻: sharper than |D| and |W + M|, and exact for one layer.
        named = [
            np.maximum(parts.positive("d"), other.positive("d", -1)),
            np.maximum(parts.positive("d", -1), other.positive("d")),
            np.abs(w),
            np.maximum(parts.positive("p"), other.positive("p", -1)),
        ]
    return [_up(x.sum(axis=1), k) for x in named]


def entrywise(target: Sequence[Matrix], layers: Sequence[Layer], domain: Domain = "cube") -> float:
    """The entrywise bound alone, without room for rounding an evaluation; see `bound`."""
    for index, (w, layer) in enumerate(zip(target, layers, strict=True)):
        parts = _parts(w, layer.plus, layer.plus_error)
        if index == 0:
            u, v, a, c = _first_entrywise(parts, layer, w, domain)
        else:
            k = 3 * w.shape[1]
            up, down = parts.positive("p"), parts.positive("p", -1)
            u, v, a, c = (
                _up(parts.positive("d") @ a + up @ u + down @ v, k),
                _up(parts.positive("d", -1) @ a + up @ v + down @ u, k),
                _up(parts.positive("w") @ a, k),
                _up(up @ c, k),
            )
        if index < len(target) - 1:
            u, v = np.minimum(np.maximum(u, 0), a), np.minimum(np.maximum(v, 0), c)
    return _worst(u, v)


def _norm(x: Matrix, error: Matrix | float, rows: bool) -> float:
    """Bound of the spectral norm, or, of the last layer, of the largest row's."""
    return _row_norm(_up(np.abs(x) + error, 1)) if rows else norm_bound(x, error)


def _size(vector: Matrix, rows: bool) -> float:
    """The ℓ2 norm, or, where the last layer is taken row by row, the largest entry."""
    return float(np.max(vector) if rows else _frobenius(vector))


def _first_l2(
    parts: _Parts, layer: Layer, w: Matrix, domain: Domain, rows: bool
) -> tuple[float, float]:
    """B and R after layer 1; the cube is centred at 1/2."""
    root = _up(np.sqrt(w.shape[1]), 1)
    if domain == "ball":
        other = _negative_parts(w, layer)
        stacked = np.concatenate([parts.d, other.d], axis=1)
        error = np.concatenate([parts.d_error, other.d_error], axis=1)
        return _up(_norm(stacked, error, rows) * root, 1), _up(_norm(w, 0.0, rows) * root, 1)
    shift = np.maximum(*(_up(parts.positive("d", s).sum(1), w.shape[1]) for s in (1, -1)))
    # |D ½1| directly: signs cancel in it, so its own rounding is added.
    middle = np.abs(parts.d.sum(axis=1)) / 2
    room = _up((np.abs(parts.d).sum(axis=1) * w.shape[1] * 2 * _U), w.shape[1])
    middle = _up(middle + room + parts.d_error.sum(axis=1), w.shape[1])
    middle = np.minimum(middle, shift)
    centre = _up(np.abs(w.sum(axis=1)) / 2 + np.abs(w).sum(1) * w.shape[1] * _U, 8)
    b = _up(_size(middle, rows) + _norm(parts.d, parts.d_error, rows) * root / 2, len(w))
    r = _up(_size(centre, rows) + _norm(w, 0.0, rows) * root / 2, len(w))
    return b, r


def _l2(target: Sequence[Matrix], layers: Sequence[Layer], domain: Domain) -> float:
    """The ℓ2 recursion; the last layer is taken row by row."""
    last = len(target) - 1
    for index, (w, layer) in enumerate(zip(target, layers, strict=True)):
        parts, rows = _parts(w, layer.plus, layer.plus_error), index == last
        if index == 0:
            b, r = _first_l2(parts, layer, w, domain, rows)
        else:
            b = _up(
                _norm(parts.p, parts.p_error, rows) * b + _norm(parts.d, parts.d_error, rows) * r, 2
            )
            r = _up(_norm(w, 0.0, rows) * r, 1)
    return _worst(b)


def _evaluation_rounding(target: Sequence[Matrix], layers: Sequence[Layer]) -> float:
    """Bound of the error of computing f − g in float64 at any point of the domain."""
    total = 0.0
    for matrices in (
        [np.abs(w) for w in target],
        [np.maximum(np.abs(g.plus), 0 if g.minus is None else np.abs(g.minus)) for g in layers],
    ):
        size, terms = np.ones(matrices[0].shape[1]), 0
        lost = np.zeros(len(size))  # By products that underflow.
        for matrix in matrices:
            size = _up(matrix @ size, matrix.shape[1])
            lost = _up(matrix @ lost, matrix.shape[1])
            terms += 2 * matrix.shape[1] + 8
        total += float(size.max()) * terms * 2 * _U + float(lost.max())
    return _worst(_up(total, 2))


def _check(target: Sequence[Matrix], layers: Sequence[Layer]) -> None:
    if [w.shape for w in target] != [layer.plus.shape for layer in layers]:
        raise ValueError("expected two networks of the same shapes.")
    for w, layer in zip(target, layers, strict=True):
        if not all(np.isfinite(part).all() for part in (w, *layer) if part is not None):
            raise ValueError("expected finite weights and errors, got NaN or infinity.")
        if any((e < 0).any() for e in (layer.plus_error, layer.minus_error) if e is not None):
            raise ValueError("expected errors of at least 0, got a negative one.")


# What overflows is infinite, and what is infinite times 0 NaN, which the functions above know.
@np.errstate(over="ignore", invalid="ignore")
def bound(
    target: Sequence[npt.NDArray[Any]], layers: Sequence[Layer], domain: Domain = "cube"
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
    if domain not in DOMAINS:
        raise ValueError(f"expected a domain of {DOMAINS}, got {domain!r}.")
    by_entries, l2 = entrywise(target, layers, domain), _l2(target, layers, domain)
    rounding = _evaluation_rounding(target, layers)
    value = _worst(_up(min(by_entries, l2) + 2 * rounding, 2))
    return Bound(value, by_entries, l2, rounding)
