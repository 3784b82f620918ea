"""Every finder's step against its derivation in NumPy, and what each alone promises."""

import by_hand
import draws
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import quick

from lth_jax import pruners, sweep, training
from lth_jax.pruners import base, noise
from lth_jax.pruners.bernoulli import expected
from lth_jax.pruners.biprop import binary
from lth_jax.pruners.frozen import is_frozen


def tree(seed):
    return dict(zip(by_hand.SHAPES, draws.normal(seed, *by_hand.SHAPES.values()), strict=True))


def float64(found):
    return jax.tree.map(np.float64, jax.device_get(found))


@pytest.mark.slow
@pytest.mark.parametrize("name", by_hand.FINDERS)
@pytest.mark.parametrize("kept", [{"first": 5, "second": 4}, {"first": 0, "second": 6}])
def test_a_finders_step_is_its_derivation_by_hand(name, kept):
    pruner, weights = pruners.PRUNERS[name](), tree(1)
    scores, draws_of_key = (
        pruner.init(jax.random.key(5), weights),
        noise.logistic(jax.random.key(0), weights),
    )
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
    w, s, drawn = map(float64, (weights, scores, draws_of_key))
    hand = {leaf: by_hand.FINDERS[name](w[leaf], s[leaf], kept[leaf], drawn[leaf]) for leaf in w}
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


def test_finders_by_hand_are_all_there():
    assert set(by_hand.FINDERS) == set(pruners.PRUNERS)


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


@pytest.mark.slow
def test_frozen_entries_are_a_random_share_and_stay_what_they_are():
    pruner, weights = pruners.PRUNERS["frozen"](share="1/4"), {"w": jnp.ones((20, 10))}
    scores = pruner.init(jax.random.key(0), weights)
    fixed = np.asarray(is_frozen(scores["w"]))
    assert fixed.sum() == 50
    kept = {"w": 61}
    before = np.asarray(pruner.mask(scores, kept)["w"])
    assert before.sum() == 61 and before[fixed].sum() == 15
    state = pruner.init_state(jax.random.key(1), weights, scores, kept)
    # A wild step: everything shrinks, turns or grows beyond the marks.
    (push,) = draws.normal(4, (20, 10))
    wild = {"w": scores["w"] * 0.5 + 2.0**45 * push}
    _, moved, state = pruner.after_step(jax.random.key(2), 0, weights, wild, kept, state)
    np.testing.assert_array_equal(is_frozen(moved["w"]), fixed)
    after = np.asarray(state.mask["w"])
    np.testing.assert_array_equal(after[fixed], before[fixed])
    assert after.sum() == 61 and np.any(after != before)
    other = is_frozen(pruner.init(jax.random.key(9), weights)["w"])
    assert (fixed & np.asarray(other)).sum() < 30  # Of 50: about 12 by chance.


@pytest.mark.parametrize("share", ["1", "-1/2", "1/1001"])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(ValueError, match="share must be a fraction"):
        pruners.PRUNERS["frozen"](share=share)


@pytest.mark.parametrize("scope", quick.first(1, ["tensor", "global"]))
def test_frozen_counts_are_exact_for_every_count(scope):
    pruner, weights = pruners.PRUNERS["frozen"](scope, share="3/7"), tree(1)
    scores = pruner.init(jax.random.key(0), weights)
    count = jax.jit(lambda k: [m.sum() for m in jax.tree.leaves(pruner.mask(scores, k))])
    sizes = [np.prod(shape) for shape in by_hand.SHAPES.values()]
    for k in range(sum(sizes) + 1) if scope == "global" else range(min(sizes) + 1):
        found = count(np.int32(k) if scope == "global" else dict.fromkeys(weights, np.int32(k)))
        assert (sum(found) == k) if scope == "global" else all(n == k for n in found)


def test_the_expected_network_expects_the_number_to_keep():
    weights, scores = {"w": jnp.ones((30, 4))}, {"w": tree(2)["first"].repeat(10, 0).reshape(30, 4)}
    for kept in ({"w": 30}, 90):
        network = expected(weights, scores, kept)["w"]
        count = kept if isinstance(kept, int) else kept["w"]
        assert float(network.sum()) == pytest.approx(count, rel=1e-5)


@pytest.mark.slow
def test_gems_are_frozen_only_where_the_count_falls():
    pruner, weights = pruners.PRUNERS["gem_miner"](), {"w": jnp.ones((6, 5))}
    scores = pruner.init(jax.random.key(0), weights)
    assert float(scores["w"].min()) >= 0 and float(scores["w"].max()) <= 1
    state = pruner.init_state(jax.random.key(1), weights, scores, {"w": 20})
    step = jax.jit(pruner.after_step)
    lifted = {"w": scores["w"] * 3 - 1}
    _, same, state = step(jax.random.key(2), 0, weights, lifted, {"w": 20}, state)
    np.testing.assert_array_equal(same["w"], np.clip(lifted["w"], 0, 1))
    assert state.alive["w"].all()
    _, fewer, state = step(jax.random.key(2), 1, weights, scores, {"w": 7}, state)
    gone = ~np.asarray(by_hand.top(np.asarray(scores["w"]), 7))
    np.testing.assert_array_equal(state.alive["w"], ~gone)
    assert np.all(np.asarray(fewer["w"])[gone] == 0)
    _, later, state = step(jax.random.key(2), 2, weights, {"w": jnp.ones((6, 5))}, {"w": 7}, state)
    np.testing.assert_array_equal(later["w"], np.where(gone, 0, 1))


def test_the_penalty_of_hard_concrete_gates_is_its_formula():
    scores = tree(2)
    chance = {
        leaf: by_hand.sigmoid(s - 2 / 3 * np.log(0.1 / 1.1)) for leaf, s in float64(scores).items()
    }
    for scope, kept in (("tensor", {"first": 5, "second": 6}), ("global", 9)):
        pruner = pruners.PRUNERS["hard_concrete"](scope, penalty_rate=0.5)
        sums = {leaf: c.sum() for leaf, c in chance.items()}
        over = (
            [max(sum(sums.values()) - kept, 0)]
            if scope == "global"
            else [max(sums[leaf] - kept[leaf], 0) for leaf in sums]
        )
        assert float(pruner.penalty(scores, kept)) == pytest.approx(0.5 * sum(over), rel=1e-5)
    with pytest.raises(ValueError, match="penalty_rate must be finite"):
        pruners.PRUNERS["hard_concrete"](penalty_rate=-1.0)
