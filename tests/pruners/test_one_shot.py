"""Saliencies against closed forms and finite differences, and the pruners made of them."""

import by_hand
import draws
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import quick
import tiny

import lth_jax
from lth_jax.pruners import one_shot

SHAPE = (4,)


def weights(seed=1):
    return dict(zip(by_hand.SHAPES, draws.normal(seed, *by_hand.SHAPES.values()), strict=True))


def init(key):
    return jax.tree.map(jnp.zeros_like, weights()), {}


def apply(weights, state, x, train=False):
    return jax.nn.relu(x @ weights["first"]) @ weights["second"], state


MODEL = lth_jax.Model(init, apply)
BATCH = one_shot.Batch(draws.normal(3, (8, 4))[0], np.arange(8) % 2)


def float64(found):
    return jax.tree.map(np.float64, jax.device_get(found))


def slope(w):
    return by_hand.gradients(w, np.float64(BATCH.images), BATCH.labels)


def loss(w):
    logits = np.maximum(np.float64(BATCH.images) @ w["first"], 0) @ w["second"]
    logits -= logits.max(1, keepdims=True)
    picked = logits[np.arange(8), BATCH.labels] - np.log(np.exp(logits).sum(1))
    return -picked.mean()


def test_snip_is_the_slope_of_the_loss_in_each_mask():
    found = float64(jax.jit(lambda w: one_shot.snip_saliency(MODEL, BATCH, w, w))(weights()))
    w, h = float64(weights()), 1e-6
    for leaf, values in w.items():
        for place in np.ndindex(values.shape):
            ends = []
            for factor in (1 + h, 1 - h):
                moved = {name: array.copy() for name, array in w.items()}
                moved[leaf][place] *= factor
                ends.append(loss(moved))
            assert found[leaf][place] == pytest.approx(abs(ends[0] - ends[1]) / (2 * h), abs=1e-6)


@pytest.mark.parametrize("temperature", quick.first(1, [200.0, 1.0]))
def test_grasp_is_the_slope_of_half_the_squared_gradient_in_each_mask(temperature):
    """So that the largest are kept: without them the least gradient would flow."""

    def half(w):
        cooled = slope({"first": w["first"], "second": w["second"] / temperature})
        return (np.sum(cooled["first"] ** 2) + np.sum((cooled["second"] / temperature) ** 2)) / 2

    pruner = one_shot.grasp(MODEL, BATCH, temperature=temperature)
    found = float64(jax.jit(pruner.init)(jax.random.key(0), weights()))
    w, h = float64(weights()), 1e-5
    for leaf, values in w.items():
        scale = np.abs(found[leaf]).max()
        for place in np.ndindex(values.shape):
            ends = []
            for factor in (1 + h, 1 - h):
                moved = {name: array.copy() for name, array in w.items()}
                moved[leaf][place] *= factor
                ends.append(half(moved))
            expected = (ends[0] - ends[1]) / (2 * h)
            assert found[leaf][place] == pytest.approx(expected, rel=1e-3, abs=1e-4 * scale)
        assert found[leaf].min() < 0 < found[leaf].max()


def flow_by_hand(w, mask):
    first, second = (np.abs(w[leaf]) * mask[leaf] for leaf in ("first", "second"))
    return {
        "first": first * second.sum(1)[None, :],
        "second": second * first.sum(0)[:, None],
    }


def test_flow_is_its_closed_form_and_each_layer_sums_to_the_whole():
    found, whole = float64(synflow_of(weights()))
    full = {leaf: np.ones(shape) for leaf, shape in by_hand.SHAPES.items()}
    for leaf, expected in flow_by_hand(float64(weights()), full).items():
        np.testing.assert_allclose(found[leaf], expected, rtol=1e-5)
        assert found[leaf].sum() == pytest.approx(float(whole), rel=1e-5)


def synflow_of(w):
    return jax.jit(lambda w: one_shot.flow(MODEL, w, SHAPE))(w)


@pytest.mark.parametrize("scope", ["global", "tensor"])
def test_synflow_keeps_what_rounds_by_hand_keep(scope):
    rounds, sparsity = 10, 0.7
    pruner = one_shot.synflow(MODEL, SHAPE, sparsity, rounds, scope)
    scores = jax.jit(pruner.init)(jax.random.key(0), weights())
    kept = lth_jax.masks.selection.tree_kept(scores, sparsity, scope)
    found = jax.device_get(pruner.mask(scores, kept))
    w = float64(weights())
    mask = {leaf: np.ones(shape, bool) for leaf, shape in by_hand.SHAPES.items()}
    lasted = {leaf: np.full(shape, rounds) for leaf, shape in by_hand.SHAPES.items()}
    for i in range(rounds):
        before, flow = mask, flow_by_hand(w, mask)
        flow = {leaf: np.where(mask[leaf], flow[leaf], -1) for leaf in flow}

        def count(n, end, i=i):
            if i == rounds - 1:
                return end
            return int(np.clip(np.ceil(n * (1 - sparsity) ** ((i + 1) / rounds)), end, n))

        if scope == "global":
            flat = np.concatenate([flow[leaf].ravel() for leaf in flow])
            chosen = by_hand.top(flat, count(flat.size, kept))
            parts = np.split(chosen, [flow["first"].size])
            mask = {leaf: p.reshape(flow[leaf].shape) for leaf, p in zip(flow, parts, strict=True)}
        else:
            mask = {leaf: by_hand.top(f, count(f.size, kept[leaf])) for leaf, f in flow.items()}
        for leaf, m in mask.items():
            lasted[leaf][before[leaf] & ~m] = i
    for leaf, expected in mask.items():
        np.testing.assert_array_equal(found[leaf], expected)
        np.testing.assert_array_equal(np.floor(scores[leaf]), lasted[leaf])


def test_magnitude_and_random_are_what_they_say():
    w = weights()
    np.testing.assert_array_equal(
        one_shot.magnitude_saliency(jax.random.key(0), w, w)["first"], np.abs(w["first"])
    )
    one, two = (
        one_shot.random_saliency(jax.random.key(k), {"w": w["first"]}, {"w": jnp.zeros((90, 50))})
        for k in (0, 1)
    )
    ranks = np.asarray(one["w"])
    assert abs(ranks.mean() - 0.5) < 0.02 and ranks.min() >= 0 and ranks.max() <= 1
    assert np.mean(ranks == np.asarray(two["w"])) < 0.01


def test_steps_of_the_scores_change_nothing():
    pruner, w, kept = one_shot.magnitude(), weights(), {"first": 5, "second": 2}
    scores = pruner.init(jax.random.key(0), w)
    state = pruner.init_state(jax.random.key(1), w, scores, kept)
    moved = jax.tree.map(lambda s: -s, scores)
    _, same, state = pruner.after_step(jax.random.key(2), 0, w, moved, kept, state)
    tiny.assert_same_bits(same, scores)
    for leaf, mask in pruner.mask(same, kept, state).items():
        np.testing.assert_array_equal(mask, by_hand.top(np.abs(w[leaf]), kept[leaf]))


def test_values_that_are_none_are_refused():
    with pytest.raises(ValueError, match="sparsity must lie in"):
        one_shot.synflow(MODEL, SHAPE, 1.0)
    with pytest.raises(ValueError, match="rounds must be at least 1"):
        one_shot.synflow(MODEL, SHAPE, 0.5, rounds=0)
    with pytest.raises(ValueError, match="temperature must be above 0"):
        one_shot.grasp(MODEL, BATCH, temperature=0.0)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["snip", "grasp", "synflow"])
def test_a_study_runs_a_one_shot_mask_with_weights_in_the_ball(name, tmp_path):
    data, model = tiny.dataset(), tiny.own_model()
    images = (data.train.images[:32].astype(np.float32) - data.mean) / data.std
    batch = one_shot.Batch(images, data.train.labels[:32])
    made = {
        "snip": lambda: one_shot.snip(model, batch),
        "grasp": lambda: one_shot.grasp(model, batch),
        "synflow": lambda: one_shot.synflow(model, (8, 8, 1), 0.5, rounds=3),
    }[name]()
    study = lth_jax.Study(model, data, made, tiny.CONFIG, tmp_path / "out")
    result = study.run(["random_mask_then_perturb"], seeds=[0], eps=[0.03], sparsity=[0.5])
    (row,) = result.rows
    assert row["kept"] == row["total"] // 2 and row["pruner"] == name and row["scope"] == "global"
    assert row["diverged"] is None and 0 < row["max_displacement"] <= 0.03
