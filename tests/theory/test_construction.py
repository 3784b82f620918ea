"""Theorem 2: the network is the target, at the least width, with Y applied, and is a Model."""

import math

import jax
import networks
import numpy as np
import pytest
import quick

from lth_jax.masks import selection
from lth_jax.perturb import quantization
from lth_jax.theory import construction
from lth_jax.theory.construction import error_search, network_certificate, random_network
from lth_jax.theory.subset_sum import bounds, solvers


@pytest.fixture(scope="module")
def target():
    rng = np.random.default_rng(0)
    return [rng.normal(0, 0.3, (b, a)).astype(np.float32) for a, b in ((6, 5), (5, 4), (4, 3))]


def pruned(built):
    return selection.apply_mask(built.weights, built.masks)


def plus_of(built):
    return [layer[0] for layer in layers_of(built)]


def layers_of(built):
    return random_network.effective(built.weights, built.masks, built.layout.scales)


@pytest.mark.parametrize("kind", quick.first(1, random_network.KINDS))
@pytest.mark.parametrize("eps", quick.first(1, [0.01, 0.0]))
@pytest.mark.parametrize("half", [True, False])
def test_every_weight_is_within_eta_and_the_model_is_the_target(target, key, kind, eps, half):
    eta = 0.02
    built = construction.approximate(
        target, key, eps, eta, nonnegative_input=half, candidates=kind, bits=8
    )
    assert all(found.all() for found in built.found)
    # Half a step of 8 bits, times the layer's scale, may come on top.
    for w, (plus, minus, *_), scale in zip(
        target, layers_of(built), built.layout.scales, strict=True
    ):
        allowed = eta + scale * (eps / 127 / 2 + 1e-6)
        assert np.abs(w - plus).max() <= allowed
        assert minus is None if half else np.abs(w + minus).max() <= allowed
    x = np.random.default_rng(1).uniform(0 if half else -1, 1, (50, 6))
    logits, _ = built.model.apply(pruned(built), {}, x.astype(np.float32))
    np.testing.assert_allclose(logits, networks.output(layers_of(built), x), atol=1e-4)
    assert np.abs(logits - error_search.target_output(target, x)).max() < 0.5


@pytest.mark.parametrize("eps", [0.0, 0.01])
def test_the_width_is_the_least_whose_candidates_reach_every_weight(target, key, eps):
    built = construction.approximate(target, key, eps, 0.01, nonnegative_input=True)
    for layer, (w, n) in enumerate(zip(target, built.layout.widths, strict=True)):
        x = built.candidates[f"RedundantBlock_{layer}"]["weight2"].reshape(n, -1).T
        x, s = np.float64(x) * built.layout.scales[layer], built.layout.scales[layer]
        assert solvers.reachable(x, w.T.ravel(), s * eps, 0.01).all()
        assert not solvers.reachable(x[:, :-1], w.T.ravel(), s * eps, 0.01).all()


def test_the_least_width_is_found_from_above_too(key):
    built = construction.approximate(
        [np.full((3, 3), 1e-3)], key, 0.0, 1e-2, nonnegative_input=True
    )
    assert built.layout.widths == (1,)  # A layer keeps one copy even where zero would do.


def test_the_width_never_rises_with_eps(target, key):
    widths = [
        construction.approximate(target, key, eps, 0.01, nonnegative_input=True).layout.widths
        for eps in (0.0, 1e-3, 1e-2, 1e-1)
    ]
    assert all(a >= b for wide, slim in zip(widths, widths[1:], strict=False) for a, b in zip(
        wide, slim, strict=True))  # fmt: skip
    assert sum(widths[0]) > sum(widths[-1])


@pytest.mark.parametrize("bits", [None, 2, 8])
def test_kept_weights_stay_in_the_ball_and_the_others_are_the_candidates(target, key, bits):
    eps = 0.05
    built = construction.approximate(target, key, eps, 0.01, nonnegative_input=False, bits=bits)
    some = False
    for name, block in built.weights.items():
        moved = np.float64(block["weight2"]) - built.candidates[name]["weight2"]
        assert np.abs(moved).max() <= eps
        assert (moved[~built.masks[name]["weight2"]] == 0).all()
        assert np.array_equal(block["weight1"], built.candidates[name]["weight1"])
        some |= bool(moved.any())
    assert some


def test_a_larger_network_begins_with_the_smaller_one(key):
    layout = random_network.Layout((4, 3), (3,), 1, "uniform", (1.0,))
    few, many = (random_network.draw(key, layout._replace(widths=(n,))) for n in (3, 5))
    a, b = (tree["RedundantBlock_0"]["weight2"] for tree in (few, many))
    assert np.array_equal(a, b[:12]) and np.abs(b).max() <= 1 and len(np.unique(b)) == 60


def test_the_models_init_draws_the_candidates(target, key):
    built = construction.approximate(target, key, 0.0, 0.05, nonnegative_input=False)
    weights, state = built.model.init(key)
    assert state == {}
    jax.tree.map(np.testing.assert_array_equal, weights, built.candidates)


@pytest.mark.slow
def test_half_width_equals_full_width_where_inputs_are_not_negative(target, key):
    n = [14, 14, 14]
    half, full = (
        construction.approximate(target, key, 0.01, 0.01, n, nonnegative_input=h)
        for h in (True, False)
    )
    x = np.random.default_rng(2).uniform(0, 1, (40, 6)).astype(np.float32)
    a, b = (net.model.apply(pruned(net), {}, x)[0] for net in (half, full))
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
    a, b = (net.model.apply(pruned(net), {}, -x)[0] for net in (half, full))
    assert np.abs(a).max() == 0 < np.abs(b).max()


def test_best_needs_no_tolerance_once_weights_may_move(target, key):
    first, best = (
        construction.approximate(target, key, 0.01, 0.05, 16, nonnegative_input=True, objective=o)
        for o in ("first", "best")
    )
    errors = [max(np.abs(w - p).max() for w, p in zip(target, plus_of(net), strict=True))
              for net in (first, best)]  # fmt: skip
    assert errors[1] < 1e-5 < errors[0]


def by_theorem_2(shapes, eta, eps, delta):
    """Tolerance per weight and width of each layer that give sup |f − g| < η (ℓ∞, 1 − δ).

    For layers [out, in] with ‖W‖ <= 1 as operators of ℓ∞ and η <= 2.5; δ is spread over all weights
    and both halves.
    """
    tolerances = [eta / (2 * len(shapes) * inputs) for _, inputs in shapes]
    share = delta / (2 * sum(out * inputs for out, inputs in shapes))
    return tolerances, [int(bounds.candidates(t, eps, share)) for t in tolerances]


@pytest.mark.parametrize("eps", [0.0, 0.01])
def test_the_theorems_own_width_meets_the_theorems_eta(key, eps):
    rng = np.random.default_rng(3)
    target = [rng.uniform(-0.5, 0.5, (2, 2)) * [[1], [0.9]], rng.uniform(-0.5, 0.5, (1, 2))]
    eta, delta = 0.5, 0.05
    tolerances, widths = by_theorem_2([w.shape for w in target], eta, eps, delta)
    built = construction.approximate(target, key, eps, tolerances, widths, nonnegative_input=False)
    assert built.layout.widths == tuple(widths) and built.layout.scales == (1.0, 1.0)
    assert all(found.all() for found in built.found)
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, 201)] * 2), -1).reshape(-1, 2)
    f = error_search.target_output(target, grid)
    g = networks.output(layers_of(built), grid)
    bound = network_certificate.bound(target, layers_of(built), "ball")
    assert np.abs(f - g).max() <= bound.value < eta


@pytest.mark.slow
def test_the_librarys_own_selection_picks_the_masks_at_their_counts(target, key):
    built = construction.approximate(target, key, 0.01, 0.02, nonnegative_input=False)
    kept = jax.tree.map(lambda m: int(m.sum()), built.masks)
    masks = selection.tree_topk_mask(jax.tree.map(np.float32, built.masks), kept)
    jax.tree.map(np.testing.assert_array_equal, masks, built.masks)
    even = sum(kept[block]["weight2"] for block in kept)
    assert construction.counts(built).kept == even


def test_what_cannot_be_found_is_reported_not_hidden(target, key):
    built = construction.approximate(target, key, 0.0, 1e-4, 6, nonnegative_input=True)
    assert not all(found.all() for found in built.found)


def test_a_layers_scale_is_the_least_8_bit_number_that_fits():
    for largest in (1e-3, 0.5, 0.541, 3.3, 1e6):
        scale = random_network.layer_scale(np.array([[largest]]), "uniform")
        assert scale >= max(1, 2 * largest) and scale <= max(1, 2 * largest * (1 + 2**-7))
        assert (
            float(np.float32(scale)) == scale
            and (scale / 2 ** np.floor(np.log2(scale)) * 128) % 1 == 0
        )  # noqa: E501


def test_cumulative_rounding_leaves_half_a_step_per_column():
    rng = np.random.default_rng(4)
    center = rng.uniform(-1, 1, (20, 300)).astype(np.float32)
    mask = rng.random(center.shape) < 0.6
    wanted = center + rng.uniform(-0.04, 0.04, center.shape)
    levels = quantization.levels_of(center, wanted, mask, 0.05, 6)
    stored = quantization.rebuild(center, levels, 0.05, 6)
    off = np.where(mask, np.float64(stored) - wanted, 0).sum(axis=0)
    assert np.abs(off).max() <= 0.05 / 31 / 2 + 1e-6
    assert np.abs(np.float64(stored) - center).max() <= 0.05 and (levels[~mask] == 0).all()
    again = quantization.levels_of(center, stored, mask, 0.05, 6)
    assert np.array_equal(again, levels)


@pytest.mark.parametrize("bits", [2, 5, 16])
def test_levels_fit_their_bits_at_the_edge_of_the_ball(bits):
    rng = np.random.default_rng(5)
    center = rng.uniform(-1, 1, (20, 300)).astype(np.float32)
    mask = rng.random(center.shape) < 0.6
    # Off by a third of a step all the way: what is carried asks for more than the ball holds.
    wanted = np.float64(center) + rng.choice([-0.05, 0.05 / 3, 0.05], center.shape)
    levels = quantization.levels_of(center, wanted, mask, 0.05, bits)
    assert np.abs(levels).max() == quantization.top_level(bits)


@pytest.mark.parametrize(
    "change",
    [
        {"target": [np.ones((2, 3)), np.ones((2, 3))]},
        {"target": [np.full((2, 2), np.nan)]},
        {"target": []},
        {"eps": -1.0},
        {"eta": 0.0},
        {"eta": [0.1, 0.1]},
        {"width_factor": 0},
        {"candidates": "cauchy"},
        {"bits": 1, "eps": 0.1},
        {"limit": 41},
    ],
)
def test_values_that_do_not_fit_are_refused(key, change):
    given = {"target": [np.ones((2, 2))], "eps": 0.0, "eta": 0.1, "nonnegative_input": True}
    given |= change
    with pytest.raises(ValueError, match="expected|must"):
        construction.approximate(given.pop("target"), key, **given)


@pytest.mark.slow
def test_candidates_of_layers_halves_and_copies_are_all_drawn_apart(key):
    layout = random_network.Layout((6, 5, 4), (7, 3), 2, "uniform", (1.0, 1.0))
    tree = random_network.draw(key, layout)
    values = np.concatenate([np.ravel(block["weight2"]) for block in tree.values()])
    assert len(values) == 2 * (7 * 6 * 5 + 3 * 5 * 4)
    # 540 draws of 2^23 values: a pair of equal ones has odds of 2 %, one per half would be 270.
    assert len(np.unique(values)) >= len(values) - 2
    assert np.abs(values).max() <= 1 and np.var(values) == pytest.approx(1 / 3, rel=0.15)


@pytest.mark.parametrize(
    "change",
    [
        {"width_factor": math.inf},
        {"width_factor": 10**9},
        {"width_factor": 1.5},
        {"eps": math.inf},
        {"eta": math.nan},
        {"eta": [0.1]},
        {"limit": 1.5},
    ],
)
def test_numbers_that_would_take_for_ever_are_refused(key, change):
    given = {"eps": 0.1, "eta": 0.1, "nonnegative_input": True} | change
    with pytest.raises(ValueError, match="^expected (finite eps|1 <= limit|2 values)"):
        construction.approximate([np.ones((2, 2))] * 2, key, **given)
