"""Planted tickets: certified over the rationals, of counted density, with no weight overwritten."""

import itertools
from fractions import Fraction

import jax
import numpy as np
import pytest

from lth_jax.masks import selection
from lth_jax.perturb import rounding
from lth_jax.theory import planting, targets
from lth_jax.theory.construction import error_search, exact_certificate, random_network
from lth_jax.theory.subset_sum import of_size, solvers


def target_of(seed, sizes=(3, 4, 2)):
    rng = np.random.default_rng(seed)
    return [rng.normal(0, 0.6, (b, a)) for a, b in itertools.pairwise(sizes)]


def points():
    return np.random.default_rng(5).uniform(0, 1, (40, 3)).astype(np.float32)


def planted(key, eps, kept, odd="given", copies=8, seed=0):
    target = target_of(seed)
    network = planting.network_for(target, copies, odd)
    candidates, _ = planting.as_model(network).init(key)
    wanted = error_search.target_output(target, points().astype(np.float64))
    found = planting.plant(
        target,
        candidates,
        network,
        eps,
        kept,
        points(),
        lambda outputs: float(np.abs(outputs - wanted).max()),
    )
    return target, network, found


def as_given(found, network):
    """A ticket's pruned weights with odd layers by structure, for the rational verifier."""
    pruned = selection.apply_mask(found.weights, found.masks)
    given = {}
    for layer, n in enumerate(network.layout.widths):
        name, inputs = f"RedundantBlock_{layer}", network.layout.sizes[layer]
        first = np.asarray(pruned[name]["weight1"])
        if network.odd == "searched":  # Each unit sees one input, the one that the tile says.
            rows, columns = np.nonzero(first)
            assert sorted(columns) == list(range(n * inputs))
            assert (rows == columns % inputs).all()
        given[name] = {
            "weight1": np.ones((n, inputs)),
            "weight2": np.asarray(pruned[name]["weight2"]),
        }
    return given


@pytest.mark.parametrize("odd", planting.ODD)
@pytest.mark.parametrize(("eps", "kept"), [(0.0, 3), (0.03, 2), (0.3, 1), (0.0, 8)])
def test_a_planted_ticket_is_certified_over_the_rationals(key, odd, eps, kept):
    target, network, found = planted(key, eps, kept, odd)
    exact = exact_certificate.certificate(target, as_given(found, network), network.layout)
    assert exact <= Fraction(found.certificate.entrywise) <= exact * Fraction(1000001, 1000000)
    assert found.loss <= float(exact) + 1e-4  # What float32 adds at outputs of about 1.


@pytest.mark.parametrize("odd", planting.ODD)
@pytest.mark.parametrize(("eps", "kept"), [(0.0, 3), (0.1, 2)])
def test_no_weight_is_overwritten(key, odd, eps, kept):
    _, network, found = planted(key, eps, kept, odd)
    drawn = planting.as_model(network).init(key)[0]
    radius = float(rounding.round_toward_zero(eps, np.float32))
    for name, block in drawn.items():
        for leaf, values in block.items():
            values, moved = np.asarray(values), found.weights[name][leaf]
            np.testing.assert_array_equal(found.candidates[name][leaf], values)
            mask = found.masks[name][leaf] & (leaf == planting.EVEN)
            np.testing.assert_array_equal(moved[~mask], values[~mask])
            assert np.abs(np.float64(moved) - np.float64(values)).max() <= radius
    moves = [found.weights[n]["weight2"] != found.candidates[n]["weight2"] for n in drawn]
    assert any(m.any() for m in moves) == (eps > 0)


@pytest.mark.parametrize("odd", planting.ODD)
@pytest.mark.parametrize("kept", [1, 3, 8])
def test_its_density_is_counted(key, odd, kept):
    _, network, found = planted(key, 0.05, kept, odd)
    wanted = planting.counts(network, kept)
    kept_in_all = size = 0
    for name, block in found.masks.items():
        layer = int(name[-1])
        inputs, outputs = network.layout.sizes[layer : layer + 2]
        per_weight = block["weight2"].reshape(8, inputs, outputs).sum(axis=0)
        assert (per_weight == kept).all()
        for leaf, mask in block.items():
            if wanted[name][leaf] is not None:
                assert mask.sum() == wanted[name][leaf]
                kept_in_all, size = kept_in_all + mask.sum(), size + mask.size
    assert found.density == kept_in_all / size
    if odd == "given":
        assert found.density == kept / 8


def test_the_ticket_is_the_same_function_whether_odd_layers_are_given_or_searched(key):
    given, searched = (planted(key, 0.03, 2, odd)[2] for odd in planting.ODD)
    outputs = [
        found.model.apply(selection.apply_mask(found.weights, found.masks), {}, points())[0]
        for found in (given, searched)
    ]
    np.testing.assert_allclose(*outputs, atol=1e-5)
    assert given.certificate == searched.certificate


def test_its_subsets_are_the_nearest_of_their_size_and_move_least():
    rng = np.random.default_rng(3)
    x, z = np.float32(rng.uniform(-1, 1, (30, 7))).astype(float), rng.uniform(-0.5, 0.5, 30)
    for size, eps in itertools.product((0, 1, 3, 7), (0.0, 0.02)):
        found = of_size.nearest(x, z, eps, size)
        assert (found.mask.sum(axis=1) == size).all()
        for row in range(30):
            exact = [Fraction(v) for v in x[row]]
            gaps = {
                chosen: abs(sum((exact[i] for i in chosen), Fraction(0)) - Fraction(z[row]))
                for chosen in itertools.combinations(range(7), size)
            }
            chosen = tuple(np.flatnonzero(found.mask[row]))
            assert gaps[chosen] <= min(gaps.values()) + Fraction(2) ** -49
            assert found.found[row] == (gaps[chosen] <= size * Fraction(eps))
            assert (found.status[row] == solvers.Status.FOUND) == found.found[row]
            reached = float(x[row, list(chosen)].sum() + found.y[row].sum())
            assert abs(abs(reached - z[row]) - found.error[row]) < 1e-12


def test_a_radius_of_0_1_is_that_of_the_ball_in_float32(key):
    _, _, found = planted(key, 0.1, 1)
    largest = max(
        np.abs(np.float64(found.weights[n]["weight2"]) - found.candidates[n]["weight2"]).max()
        for n in found.weights
    )
    assert 0.0999 < largest <= float(rounding.round_toward_zero(0.1, np.float32)) < 0.1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kept": 0}, "kept must lie in"),
        ({"kept": 9}, "kept must lie in"),
        ({"eps": float("inf")}, "eps must be finite"),
        ({"eps": float("nan")}, "eps must be finite"),
        ({"target": target_of(0, (3, 5, 2))}, "expected a target of shapes"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(key, change, message):
    target, network, found = planted(key, 0.1, 1)
    values = {"target": target, "eps": 0.1, "kept": 1} | change
    with pytest.raises(ValueError, match=message):
        planting.plant(
            candidates=found.candidates,
            network=network,
            points=points(),
            loss=lambda outputs: 0.0,
            **values,
        )


def test_other_weights_than_the_random_networks_are_refused(key):
    target, network, found = planted(key, 0.1, 1)
    for name, leaf, values, message in (
        ("RedundantBlock_0", "weight1", -np.ones((8, 3), np.float32), "expected ones"),
        ("RedundantBlock_1", "weight2", np.ones((8, 3), np.float32), "expected shapes"),
    ):
        block = found.candidates[name] | {leaf: values}
        with pytest.raises(ValueError, match=message):
            planting.plant(
                target,
                found.candidates | {name: block},
                network,
                0.1,
                1,
                points(),
                lambda outputs: 0.0,
            )
    with pytest.raises(ValueError, match="copies must lie"):
        planting.network_for(target, 41)
    with pytest.raises(ValueError, match="odd must be one of"):
        planting.network_for(target, 8, "none")
    masks = found.masks | {
        "RedundantBlock_0": {k: ~v for k, v in found.masks["RedundantBlock_0"].items()}
    }
    with pytest.raises(ValueError, match="odd mask of a planted ticket"):
        planting.certificate(target, network, found.weights, masks)


def test_the_models_name_and_layout_are_those_of_theorem_2():
    network = planting.network_for(target_of(0), 8)
    assert network.layout == random_network.Layout(
        (3, 4, 2), (8, 8), 1, "uniform", network.layout.scales
    )
    assert [planting.as_model(network._replace(odd=odd)).name for odd in planting.ODD] == [
        "planted",
        "planted_searched",
    ]


@pytest.mark.slow
def test_a_target_meets_numbers_with_weights_of_bounded_size():
    x = points()
    labels = np.float32(x[:, :1] + 0.5 * x[:, 1:2])
    free = targets.trained(jax.random.key(0), x, labels, (16,), 300, learning_rate=0.02)
    assert [w.shape for w in free] == [(16, 3), (1, 16)]
    error = error_search.target_output(free, x.astype(np.float64)) - labels
    assert np.square(error).mean() < 0.01  # 0.2 without training
    bounded = targets.trained(
        jax.random.key(0), x, labels, (16,), 300, learning_rate=0.02, largest=0.5
    )
    sizes = [np.abs(w).max() for w in bounded]
    assert max(sizes) == 0.5 < max(np.abs(w).max() for w in free)
