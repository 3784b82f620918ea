"""The bound by straight lines in place of each ReLU, carried back to the input.

As CROWN does for one network (Zhang et al. 2018) and NeuroDiff for two (Paulsen et al. 2020). A
unit has the input s in f, t in g, δ = s − t, and the output p = s⁺ in f, q = t⁺ in g, e = p − q.
Known are bounds −low <= s <= high, −below <= δ <= above, −less <= e <= more, and it is always true
that e <= min(δ⁺, more), −e <= min((−δ)⁺, less), p >= 0 and p >= s.

Through a layer δ = P e + D p, s = W p, with D = W − P. So a weighted sum of e and p is at most one
of δ and s and a constant, that is one of the e and p of the layer before, and so on to the input:
there signs have cancelled that the bound entry by entry (`by_entries`) adds up. At each layer the
sum is also bounded by what is known of its units, and the least of all these counts.

Rounding: every weight is the float64 that is stored; the constant is the most by which the exact
sum may be above that line, a sum of non-negative terms, rounded up.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lth_jax.theory.construction.network_certificate import outward, pairs

Array = outward.Matrix
# What is bounded of each unit, as weights of δ and s: δ, −δ, s, −s, and t = s − δ.
_HIDDEN = np.array([(1.0, 0), (-1, 0), (0, 1), (0, -1), (-1, 1)])


class _Sums(NamedTuple):
    """At most errors·e + outputs·p + constant, of the units behind one ReLU, or of the inputs."""

    errors: Array  # [k, units]; [k, 0] of the inputs, which have none
    outputs: Array  # [k, units]
    constant: Array  # [k] >= 0


class _Affine(NamedTuple):
    """A layer: δ = P e + D p and s = W p, and what rounding may take away from such sums."""

    p: Array  # [out, units]
    d: Array
    w: Array
    slack_delta: Array  # [out], per unit of a weight of δ
    slack_s: Array  # [out]
    lost: float  # by products that underflow


class _Units(NamedTuple):
    """Bounds [units] of one hidden layer, all >= 0; see above."""

    above: Array
    below: Array
    high: Array
    low: Array
    more: Array
    less: Array


def relaxed(
    target: Sequence[Array], layers: Sequence[pairs.Layer], domain: pairs.Domain = "cube"
) -> float:
    """The bound by straight lines alone, without room for rounding an evaluation; see `bound`."""
    affine: list[_Affine] = []
    known: list[_Units] = []
    with np.errstate(over="ignore", invalid="ignore"):
        for index, (w, layer) in enumerate(zip(target, layers, strict=True)):
            affine.append(_affine(w, layer, domain, known[-1] if index else None))
            wanted = _HIDDEN if index < len(target) - 1 else _HIDDEN[:2]
            bounds = _bounds(wanted, affine, known, domain)
            if index == len(target) - 1:
                return outward.worst(*bounds)
            above, below, high, low, q = bounds
            known.append(
                _Units(above, below, high, low, np.minimum(above, high), np.minimum(below, q))
            )
    raise ValueError("expected a layer at least.")


def _affine(w: Array, layer: pairs.Layer, domain: pairs.Domain, below: _Units | None) -> _Affine:
    """A layer behind units of which is known what `below` says, or behind the inputs."""
    parts = pairs.parts(w, layer.plus, layer.plus_error)
    p, d, d_error = parts.p, parts.d, parts.d_error
    if below is None:
        p = np.zeros((len(w), 0))
        if domain == "ball":  # Of x⁺ and x⁻: s = W x⁺ − W x⁻, δ = D x⁺ − (W + M) x⁻.
            other = pairs.negative_parts(w, layer)
            d, w = np.concatenate([d, -other.d], axis=1), np.concatenate([w, -w], axis=1)
            d_error = np.concatenate([d_error, other.d_error], axis=1)
        errors, outputs = np.zeros(0), np.ones(d.shape[1])
        p_error = p
    else:
        errors, outputs = np.maximum(below.more, below.less), below.high
        p_error = parts.p_error
    room, terms = 4 * (len(w) + 8) * outward.U, 2 * d.shape[1]
    of_errors = outward.up(room * np.abs(p) + p_error, 2) @ errors
    of_outputs = outward.up(room * np.abs(d) + d_error, 2) @ outputs
    slack_delta = outward.up(of_errors + of_outputs, terms)
    slack_s = outward.up((room * np.abs(w)) @ outputs, terms)
    lost = 4 * (len(w) + 8) * outward.TINY * outward.up(errors.sum() + outputs.sum(), terms)
    return _Affine(p, d, w, slack_delta, slack_s, float(outward.up(lost, 1)))


def _bounds(
    wanted: Array, affine: Sequence[_Affine], known: Sequence[_Units], domain: pairs.Domain
) -> list[Array]:
    """Upper bounds >= 0 of a·δ + b·s of each unit before the last ReLU so far.

    Args:
        wanted: [kinds, 2] of a and b.
        affine: The layers up to that one.
        known: The units behind all of them but the last.
        domain: Of the inputs.

    Returns:
        [units] of each kind.
    """
    found, layer = [], affine[-1]
    for a, b in wanted:
        slack = abs(a) * layer.slack_delta + abs(b) * layer.slack_s + layer.lost
        sums = _Sums(a * layer.p, a * layer.d + b * layer.w, outward.up(slack, 3))
        least, steep = (_carried_back(sums, affine, known, domain, s) for s in (False, True))
        found.append(np.minimum(least, steep))
    return found


def _carried_back(
    sums: _Sums,
    affine: Sequence[_Affine],
    known: Sequence[_Units],
    domain: pairs.Domain,
    steep: bool,
) -> Array:
    """The least of the bounds of sums [k] at each layer below, >= 0."""
    least = np.full(len(sums.constant), np.inf)
    for layer, units in zip(affine[-2::-1], known[::-1], strict=True):
        least = np.fmin(least, _with_units(sums, units))  # NaN is no bound.
        sums = _through(layer, *_lines(sums, units, steep))
    most = sums.outputs
    if domain == "ball":  # One of x⁺ and x⁻ is 0.
        most = np.maximum(*np.split(most, 2, axis=1))
    total = np.maximum(most, 0).sum(axis=1) + sums.constant
    return np.asarray(np.fmin(least, outward.up(total, most.shape[1] + 1)))


def _with_units(sums: _Sums, units: _Units) -> Array:
    """The bounds [k] of sums by what is known of their units."""
    errors, outputs, constant = sums
    total = np.maximum(errors, 0) @ units.more + np.maximum(-errors, 0) @ units.less
    total += np.maximum(outputs, 0) @ units.high + constant
    return outward.up(total, 3 * len(units.high) + 1)


def _lines(sums: _Sums, units: _Units, steep: bool) -> tuple[Array, Array, Array]:
    """Sums of δ and s, and constants, that are not below sums of e and p.

    A weight E > 0 of e becomes a λ of δ in [0, E], and the constant max((E − λ)·more, λ·below) is
    right for any such λ, as E min(δ⁺, more) − λδ is largest at δ = −below or at δ = more; so is
    max(λ·low, (E − λ)·high) for s in place of δ. The λ taken makes both equal, or is 0. A weight
    < 0 of p becomes one of s by p >= s (`steep`: where s may be farther above 0 than below) or
    p >= 0.

    Returns:
        Weights of δ [k, units] and of s, and constants [k].
    """
    up, up_cost = _chord(np.maximum(sums.errors, 0), units.more, units.below, units.above)
    down, down_cost = _chord(np.maximum(-sums.errors, 0), units.less, units.above, units.below)
    high, high_cost = _chord(np.maximum(sums.outputs, 0), units.high, units.low, units.high)
    kept = (units.high > units.low) & steep
    of_s = high + np.where(kept, np.minimum(sums.outputs, 0), 0)
    constant = sums.constant + (up_cost + down_cost + high_cost).sum(axis=1)
    return up - down, of_s, outward.up(constant, 6 * len(kept) + 1)


def _chord(weights: Array, top: Array, bottom: Array, end: Array) -> tuple[Array, Array]:
    """λ [k, units] in [0, weights] and max((weights − λ)·top, λ·bottom), which is rounded once.

    With λ = 0 where δ, or s, goes from −bottom so far up, to `end`, that the chord is higher than
    `top` in its middle.
    """
    whole, lower = top + bottom, end - bottom <= 2 * top
    slope = np.divide(top, whole, out=np.zeros_like(whole), where=(whole > 0) & lower)
    lines = weights * slope
    return lines, np.maximum((weights - lines) * top, lines * bottom)


def _through(layer: _Affine, of_delta: Array, of_s: Array, constant: Array) -> _Sums:
    """Sums of δ and s as sums of the units below the layer."""
    outputs = of_delta @ layer.d + of_s @ layer.w
    slack = np.abs(of_delta) @ layer.slack_delta + np.abs(of_s) @ layer.slack_s
    constant = outward.up(constant + slack + layer.lost, 2 * len(layer.w) + 2)
    return _Sums(of_delta @ layer.p, outputs, constant)
