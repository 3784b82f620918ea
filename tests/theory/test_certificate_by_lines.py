"""The bound by straight lines: over the rationals, where it is attained, and how much it gains."""

from fractions import Fraction

import numpy as np
import pytest

from lth_jax.theory.construction import error_search, network_certificate

SIZES = [(3, 4, 2), (2, 3, 3, 2), (3, 4, 4, 3, 2)]


def fractions(matrix):
    return np.array([[Fraction(float(x)) for x in row] for row in matrix], object)


def layer_of(p):
    return network_certificate.Layer(p, None, np.zeros_like(p), None)


def part(x, sign=1):
    return np.maximum(sign * x, Fraction(0))


def slope(top, bottom, end):
    return np.array([
        a / (a + b) if a + b and c - b <= 2 * a else Fraction(0)
        for a, b, c in zip(top, bottom, end, strict=True)
    ])  # fmt: skip


def exactly(target, other):
    """The module's bound on the cube in fractions, one unit and one sum at a time."""
    f, g = [fractions(w) for w in target], [fractions(p) for p in other]
    known = []

    def most(index, a, b, unit):
        """The least upper bound of a·δ + b·s of a unit of a layer."""
        best = []
        for steep in (False, True):
            errors, d = a * g[index][unit], f[index][unit] - g[index][unit]
            outputs, constant = a * d + b * f[index][unit], Fraction(0)
            for layer in range(index - 1, -1, -1):
                above, below, high, low, more, less = known[layer]
                best.append(
                    part(errors) @ more + part(errors, -1) @ less + part(outputs) @ high + constant
                )
                of_delta, of_s = 0, 0
                for sign, bounds, kind in (
                    (1, (more, below, above), "e"),
                    (-1, (less, above, below), "e"),
                    (1, (high, low, high), "p"),
                ):
                    weights = part(errors if kind == "e" else outputs, sign)
                    lines = weights * slope(*bounds)
                    top, bottom, _ = bounds
                    constant += np.maximum((weights - lines) * top, lines * bottom).sum()
                    if kind == "e":
                        of_delta = of_delta + sign * lines
                    else:
                        of_s = lines
                of_s = of_s - part(outputs, -1) * (steep & (high > low))
                errors = of_delta @ g[layer]
                outputs = of_delta @ (f[layer] - g[layer]) + of_s @ f[layer]
            best.append(part(outputs).sum() + constant)
        return max(min(best), Fraction(0))

    for index in range(len(f)):
        units = range(len(f[index]))
        kinds = ((1, 0), (-1, 0), (0, 1), (0, -1), (-1, 1))
        above, below, high, low, q = (
            np.array([most(index, a, b, unit) for unit in units]) for a, b in kinds
        )
        known.append((above, below, high, low, np.minimum(above, high), np.minimum(below, q)))
    return max(*above, *below)


def drawn(sizes, seed, error):
    rng = np.random.default_rng(seed)
    target = [rng.normal(0, 0.6, (b, a)) for a, b in zip(sizes, sizes[1:], strict=False)]
    return target, [w + rng.normal(0, error, w.shape) * (rng.random(w.shape) < 0.7) for w in target]


@pytest.mark.parametrize("sizes", SIZES, ids=len)
@pytest.mark.parametrize("error", [1e-9, 0.05, 1.0])
def test_rounding_never_takes_it_below_the_same_bound_over_the_rationals(sizes, error):
    for seed in range(2 if len(sizes) == 5 else 8):
        target, other = drawn(sizes, seed, error)
        bound = network_certificate.relaxed(target, [layer_of(p) for p in other])
        exact = exactly(target, other)
        assert exact <= Fraction(bound) <= exact * (1 + Fraction(1, 10**6)) + Fraction(1, 10**13)


@pytest.mark.parametrize("sizes", SIZES, ids=len)
def test_it_is_attained_where_all_signs_agree(sizes):
    """Non-negative weights, each at most the target's: f − g is largest at x = 1, and is that."""
    for seed in range(8):
        rng = np.random.default_rng(seed)
        target = [rng.uniform(0, 1, (b, a)) for a, b in zip(sizes, sizes[1:], strict=False)]
        other = [w * rng.uniform(0.9, 1, w.shape) for w in target]
        f = g = np.full(sizes[0], Fraction(1))
        for w, p in zip(target, other, strict=True):
            f, g = fractions(w) @ f, fractions(p) @ g
        exact = max(f - g)
        bound = network_certificate.relaxed(target, [layer_of(p) for p in other])
        assert exact <= Fraction(bound) <= exact * (1 + Fraction(1, 10**12))


@pytest.mark.parametrize("unsure", range(4))
def test_what_the_stored_sums_are_known_to_is_counted(unsure):
    """Chains of one unit each, equal but for one layer's error; there the bound is near."""
    target = [np.ones((1, 1)) for _ in range(4)]
    other, error, rng = [w.copy() for w in target], 0.1, np.random.default_rng(unsure)
    if unsure == 1:  # f is 0 behind its first layer: all is passed on as an error of g.
        target[0][:] = -1.0
    errors = [np.full_like(p, error if layer == unsure else 0.0) for layer, p in enumerate(other)]
    known = network_certificate.relaxed(target, [layer_of(p) for p in other])
    loose = network_certificate.relaxed(
        target,
        [network_certificate.Layer(p, None, e, None) for p, e in zip(other, errors, strict=True)],
    )
    for _ in range(20):
        signs = [e * rng.choice([-1, 1], e.shape) for e in errors]
        moved = [layer_of(p + e) for p, e in zip(other, signs, strict=True)]
        found = error_search.search(target, moved, [], rng, starts=8, steps=10)
        assert loose >= found.value > 1e-3
    assert known < loose


@pytest.mark.parametrize("domain", network_certificate.DOMAINS)
def test_four_layers_gain_half_again_and_more_by_entries(domain):
    rng = np.random.default_rng(0)
    sizes = (40, 30, 30, 30, 5)
    target = [rng.normal(0, (2 / a) ** 0.5, (b, a)) for a, b in zip(sizes, sizes[1:], strict=False)]
    other = [w + rng.normal(0, 1e-3, w.shape) for w in target]
    layers = [network_certificate.Layer(p, -p, np.zeros_like(p), np.zeros_like(p)) for p in other]
    bound = network_certificate.bound(target, layers, domain)
    assert 1.5 * bound.relaxed < bound.entrywise
    found = error_search.search(target, layers, [], rng, domain)
    assert found.value + bound.rounding <= bound.value
    least = min(bound.relaxed, bound.l2)
    assert least < bound.value < least * (1 + 1e-6)


def test_numbers_that_do_not_fit_give_no_bound():
    target = [np.full((2, 2), 1e200) for _ in range(3)]
    layers = [layer_of(np.full((2, 2), -1e200)) for _ in range(3)]
    assert network_certificate.relaxed(target, layers) == np.inf
