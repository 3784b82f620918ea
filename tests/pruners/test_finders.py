"""Every finder's step against its derivation in NumPy, and what each alone promises."""

import by_hand
import draws
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lth_jax import pruners, sweep, training
from lth_jax.pruners import base
from lth_jax.pruners.biprop import binary


def tree(seed):
    return dict(zip(by_hand.SHAPES, draws.normal(seed, *by_hand.SHAPES.values()), strict=True))


def float64(found):
    return jax.tree.map(np.float64, jax.device_get(found))


@pytest.mark.parametrize("name", by_hand.FINDERS)
@pytest.mark.parametrize("kept", [{"first": 5, "second": 4}, {"first": 0, "second": 6}])
def test_a_finders_step_is_its_derivation_by_hand(name, kept):
    pruner, weights, scores = pruners.PRUNERS[name](), tree(1), tree(2)
    (images,) = draws.normal(3, (8, 4))
    labels = np.arange(8) % 2

    @jax.jit
    def step(weights, scores, kept):
        def loss(weights, scores):
            v = pruner.subnetwork(jax.random.key(0), weights, scores, kept)
            logits = jax.nn.relu(images @ v["first"]) @ v["second"]
            picked = optax.softmax_cross_entropy_with_integer_labels(logits, jnp.asarray(labels))
            return picked.mean(), v

        return jax.grad(loss, (0, 1), has_aux=True)(weights, scores)

    (by_weights, by_scores), network = float64(step(weights, scores, kept))
    hand = {
        leaf: by_hand.FINDERS[name](w, s, kept[leaf])
        for (leaf, w), s in zip(float64(weights).items(), float64(scores).values(), strict=True)
    }
    back = by_hand.gradients({k: v for k, (v, _, _) in hand.items()}, float64(images), labels)
    # Float32 against float64: a few roundings of sums of at most eight terms.
    close = {"rtol": 1e-4, "atol": 1e-6}
    for leaf, (value, slope_w, slope_s) in hand.items():
        np.testing.assert_allclose(network[leaf], value, **close)
        np.testing.assert_allclose(by_weights[leaf], back[leaf] * slope_w, **close)
        np.testing.assert_allclose(by_scores[leaf], back[leaf] * slope_s, **close)


@pytest.mark.parametrize("name", ["edge_popup", "biprop"])
def test_masks_are_a_plain_sorts_on_a_thousand_score_tensors(name):
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(1000, 6, 7)).astype(np.float32)
    scores[::2] = np.round(scores[::2])  # Ties, and zeros of both signs.
    kept = rng.integers(0, 43, 1000)
    pruner = pruners.PRUNERS[name]()
    found = jax.jit(jax.vmap(lambda s, k: pruner.mask({"w": s}, {"w": k}, None)["w"]))(scores, kept)
    for mask, s, k in zip(np.asarray(found), scores, kept, strict=True):
        np.testing.assert_array_equal(mask, by_hand.top(np.abs(s), k))


def test_biprop_of_an_empty_layer_is_zero_and_of_others_the_mean():
    weight = jnp.asarray([[-3.0, 1.0], [0.0, 2.0]])
    np.testing.assert_array_equal(binary(weight, jnp.zeros((2, 2), bool)), np.zeros((2, 2)))
    kept = jnp.asarray([[True, True], [True, False]])
    third = np.float32(4) / np.float32(3)
    np.testing.assert_allclose(binary(weight, kept), [[-third, third], [0, 0]], rtol=1e-6)
    gradient = jax.grad(lambda w: binary(w, jnp.zeros((2, 2), bool)).sum())(weight)
    assert np.all(np.isfinite(gradient))


def test_a_signed_supermask_is_a_rounding_inside_the_relative_ball():
    pruner, weights, scores = pruners.PRUNERS["signed"](), tree(1), tree(2)
    kept = {"first": 7, "second": 3}
    mask = pruner.mask(scores, kept)
    network = float64(pruner.apply(weights, scores, mask))
    for leaf, m in jax.device_get(mask).items():
        w, s = float64(weights[leaf]), float64(scores[leaf])
        y = np.where(s < 0, -2 * w, 0)
        np.testing.assert_array_equal(network[leaf], (w + y) * m)
        assert np.all(np.abs(y) <= 2 * np.abs(w))
        # The end of the ball that lies against the weight, or no move at all.
        against = np.clip(np.where(s < 0, -np.sign(w) * np.inf, w), *np.sort([w - 2 * w, w], 0))
        np.testing.assert_array_equal(network[leaf], against * m)


def test_an_apply_of_the_contract_before_is_one_line():
    def apply(weights, mask):
        return weights

    old = pruners.edge_popup()._replace(name="mine", apply=apply)
    with pytest.raises(ValueError, match=r"apply of 'mine' must take \(weights, scores, mask\)"):
        base.check(old)
    for name in pruners.PRUNERS:
        base.check(pruners.PRUNERS[name]())


def test_a_row_tells_the_networks_move_beside_the_trained_weights():
    center = {"w": np.float32([[1.0, -2.0]]), "bias": np.float32([0.5])}
    trained = {"w": np.float32([[1.25, -2.0]]), "bias": np.float32([0.5])}
    mask = {"w": np.array([[True, False]]), "bias": None}
    network = {"w": np.float32([[-1.25, 0.0]]), "bias": np.float32([0.5])}
    outcome = training.Outcome(trained, mask, 1, 1, True, network)
    assert sweep.rows.network_displacement(center, outcome) == 2.25
