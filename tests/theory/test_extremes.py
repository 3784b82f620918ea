"""Budgets that run out, numbers near the smallest float, and products that round."""

import fractions
import itertools
import math

import jax
import numpy as np
import pytest

from lth_jax.theory import construction, subset_sum
from lth_jax.theory.construction import examination, network_certificate, random_network
from lth_jax.theory.construction.network_certificate import by_norms
from lth_jax.theory.subset_sum import bounds

TINY = 5e-324  # the smallest float64


@pytest.mark.parametrize("objective", subset_sum.OBJECTIVES)
@pytest.mark.parametrize("eps", [0.0, 1e-3])
@pytest.mark.parametrize("budget", [1, 2, 16, 64])
def test_what_is_within_tolerance_is_found_whatever_the_budget(objective, eps, budget):
    rng = np.random.default_rng(budget)
    x, z = rng.uniform(-1, 1, (60, 16)), rng.uniform(-0.5, 0.5, 60)
    z[::5] /= 1000  # The empty set will do.
    answer = subset_sum.solve(x, z, eps, 1e-2, objective, budget=budget)
    checked = subset_sum.verify(x, z, eps, 1e-2, answer)
    assert answer.found.any() and np.array_equal(answer.found, checked.reaches)
    exhausted = answer.status == subset_sum.Status.EXHAUSTED
    assert np.array_equal(answer.found, answer.status == subset_sum.Status.FOUND)
    assert np.array_equal(~answer.found, exhausted) and exhausted.any()


@pytest.mark.parametrize("eta", [TINY, 1e-320, 1e-308])
def test_a_number_of_candidates_is_right_at_the_smallest_errors(eta):
    """As far above that of 1e-300 as the logarithms say; the lower bound by volume is exact."""
    rise = bounds.candidates(eta, 0.0, 0.5) - bounds.candidates(1e-300, 0.0, 0.5)
    bits = math.log2(1e-300) - math.log2(eta)
    assert 1.5 * bits <= rise <= 8 * bits + 1
    assert bounds.candidates(eta, 0.1, 0.5) <= 60
    exactly = next(n for n in itertools.count() if 2**n * fractions.Fraction(eta) * 2 >= 1)
    assert bounds.lower_by_volume(eta, 0.0) == exactly
    assert bounds.lower_by_volume(0.0, eta) <= exactly


def test_a_bound_of_probability_does_not_overflow():
    assert 0 < bounds.success_upper_bound(1100, 0.0, 1e-322) <= 1
    assert bounds.peak_density(200) == pytest.approx(math.sqrt(3 / (2 * math.pi * 200)), rel=1e-2)


def test_no_error_and_no_perturbation_need_infinitely_many_candidates():
    for bound in (bounds.lower_by_volume, lambda *a: bounds.lower_by_density(*a, 0.5)):
        assert bound(0.0, 0.0) == math.inf
    layout = random_network.Layout((2, 2), (3,), 1, "uniform", (2.0,))
    assert examination.widths_by_theory(layout, [np.eye(2)], 0.0, 0.0, 0.1) is None
    assert (
        examination.widths_by_theory(layout, [np.eye(2)], 0.0, TINY, 0.1) is None
    )  # η/scale is 0.
    with pytest.raises(ValueError, match="eta"):
        construction.approximate([np.eye(2)], jax.random.key(0), 0.0, 0.0, nonnegative_input=True)
    built = construction.approximate(
        [np.eye(2)], jax.random.key(0), 0.0, TINY, nonnegative_input=True, limit=8
    )
    assert built.layout.widths == (8,) and not built.found[0].all()


@pytest.mark.parametrize(
    ("eta", "eps", "probability"),
    [(-1.0, 0.0, 0.5), (0.1, -1.0, 0.5), (math.nan, 0.1, 0.5), (0.1, math.nan, 0.5)]
    + [(0.1, 0.1, p) for p in (1.1, -0.1, math.nan)],
)
def test_values_that_no_bound_fits_are_refused(eta, eps, probability):
    with pytest.raises(ValueError, match="expected"):
        bounds.lower_by_density(eta, eps, probability)
    if probability == 0.5:
        for bound in (bounds.lower_by_volume, lambda *a: bounds.success_upper_bound(5, *a)):
            with pytest.raises(ValueError, match="expected"):
                bound(eta, eps)


def test_products_that_underflow_are_bounded():
    """400 products of 1.6e-324, each of which float64 computes as 0."""
    value = 1e-162 * 4**-0.5
    w = np.full((1, 400), value)
    for matrix in (w, w.T):
        exact = 400 * fractions.Fraction(value) ** 2
        assert fractions.Fraction(network_certificate.norm_bound(matrix)) ** 2 >= exact
        assert fractions.Fraction(by_norms.row_norm(w)) ** 2 >= exact
    target = [np.full((400, 1), value), np.full((1, 400), value)]
    nothing = [np.zeros_like(matrix) for matrix in target]
    layers = [network_certificate.Layer(n, -n, n, n) for n in nothing]
    for domain in network_certificate.DOMAINS:
        found = network_certificate.bound(target, layers, domain)  # At x = 1 f is `exact`, g 0.
        assert min(fractions.Fraction(b) for b in found[:3]) >= exact
        assert fractions.Fraction(found.rounding) >= exact  # float64 says f(1) is 0.


def test_the_scales_of_many_layers_are_multiplied_exactly():
    """Five scales of 8 bits: their product takes 40 bits, and float32 holds 24."""
    scales = tuple(n / 128 for n in (159, 165, 197, 203, 131))
    exact = math.prod(fractions.Fraction(scale) for scale in scales)
    layout = random_network.Layout((1,) * 6, (1,) * 5, 1, "uniform", scales)
    one = np.ones((1, 1), np.float32)
    weights = {f"RedundantBlock_{i}": {"weight1": one, "weight2": one} for i in range(5)}
    x = np.random.default_rng(0).uniform(1, 2, (4000, 1)).astype(np.float32)
    logits = jax.jit(random_network.as_model(layout).apply)(weights, {}, x)[0]
    off = np.asarray(logits, np.float64) / (x.astype(np.float64) * float(exact)) - 1
    # Roundings of single inputs cancel; what is left is that of the product, here 5e-8.
    assert abs(off.mean()) < 3e-9


def test_large_scales_do_not_overflow_before_the_output_does():
    layout = random_network.Layout((1, 1, 1), (1, 1), 1, "uniform", (2.0**100, 2.0**100))
    small = np.full((1, 1), 2.0**-100, np.float32)
    block = {"weight1": np.ones((1, 1), np.float32), "weight2": small}
    weights = {"RedundantBlock_0": block, "RedundantBlock_1": block}
    logits, _ = random_network.as_model(layout).apply(weights, {}, np.ones((1, 1), np.float32))
    assert float(logits[0, 0]) == 1.0
