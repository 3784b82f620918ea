"""Exact ball: weights stay inside, counted in float64, and a step inside is not touched."""

import draws
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import quick

from lth_jax.perturb import ball, rounding

OPTIMIZERS = {
    "sgd": optax.sgd(0.3),
    "momentum": optax.sgd(0.1, momentum=0.9),
    "adam": optax.adam(0.02),
    "decay": optax.chain(optax.add_decayed_weights(0.5), optax.sgd(0.2, momentum=0.9)),
}
DTYPES = [jnp.float32, jnp.bfloat16, jnp.float16]


def weights_of(dtype=jnp.float32):
    a, b = draws.normal(0, (40, 50), (300,))
    a, b = np.float32(0.05) * np.asarray(a), np.asarray(b)
    return {"a": jnp.asarray(a.astype(dtype)), "b": jnp.asarray(b.astype(dtype))}


def gradients(weights, step):
    drawn = draws.normal(step + 1, *(w.shape for w in weights.values()))
    pairs = zip(weights.items(), drawn, strict=True)
    return {name: jnp.asarray(np.asarray(g).astype(w.dtype)) for (name, w), g in pairs}


def walk(weights, eps, optimizer, steps=6, jitted=True, **where):
    tx = optax.chain(optimizer, ball.keep_in_ball(eps, **where))

    def step(weights, state, grads):
        updates, state = tx.update(grads, state, weights)
        return optax.apply_updates(weights, updates), state

    step = jax.jit(step, donate_argnums=(0, 1)) if jitted else step
    state = tx.init(weights)
    weights = jax.tree.map(jnp.copy, weights)
    for i in range(steps):
        weights, state = step(weights, state, gradients(weights, i))
    return weights, state


@pytest.mark.parametrize("dtype", quick.first(2, DTYPES))
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_no_optimizer_leaves_the_ball_with_donated_buffers(name, dtype):
    center = weights_of(dtype)
    for eps in [0.05, 0.0371]:
        weights, state = walk(center, eps, OPTIMIZERS[name])
        radius = float(rounding.round_toward_zero(eps, dtype))
        assert radius <= eps
        assert radius * 0.98 <= ball.displacement(center, weights) <= radius
        assert ball.displacement(center, state[-1].center) == 0


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("jitted", quick.first(1, [True, False]))
def test_updates_applied_elsewhere_stay_in_the_ball_too(jitted, dtype):
    tx = ball.keep_in_ball(0.0123)
    wrap = jax.jit if jitted else lambda f: f
    update, apply = wrap(tx.update), wrap(optax.apply_updates)
    center = weights_of(dtype)
    weights, state = center, tx.init(center)
    for i in range(4):
        updates, state = update(gradients(center, i), state, weights)
        weights = apply(weights, updates)
        assert ball.displacement(center, weights) <= 0.0123


def test_float64_weights_are_held_as_exactly():
    with jax.enable_x64(True):
        center = np.random.default_rng(0).normal(size=2000)
        tx = ball.keep_in_ball(0.1)
        updates, _ = jax.jit(tx.update)(jnp.ones(2000), tx.init(jnp.asarray(center)), center)
        weights = np.asarray(optax.apply_updates(jnp.asarray(center), updates))
    # float64 differences round, long double ones of these do not.
    assert np.max(weights.astype(np.longdouble) - center.astype(np.longdouble)) <= 0.1


@pytest.mark.parametrize("norm", ["linf", "l2", "l2_global"])
@pytest.mark.parametrize("jitted", quick.first(1, [True, False]))
def test_eps_zero_leaves_the_weights_equal(jitted, norm):
    center = weights_of()
    weights, _ = walk(center, 0.0, OPTIMIZERS["adam"], jitted=jitted, norm=norm)
    for name in center:
        np.testing.assert_array_equal(weights[name], center[name])


@pytest.mark.parametrize("norm", ["linf", "l2", "l2_global"])
@pytest.mark.parametrize("eps", quick.first(1, [np.inf, 100.0]))
def test_a_step_that_stays_inside_is_the_optimizers_own(eps, norm):
    """Bit for bit without jit; under jit a link keeps XLA from contracting p - lr * m."""
    center = weights_of()
    for name in ["momentum", "adam"]:
        held, _ = walk(center, eps, OPTIMIZERS[name], jitted=False, norm=norm)
        free, state = center, OPTIMIZERS[name].init(center)
        for i in range(6):
            updates, state = OPTIMIZERS[name].update(gradients(free, i), state, free)
            free = optax.apply_updates(free, updates)
        for leaf in center:
            np.testing.assert_array_equal(held[leaf], free[leaf])


def test_only_steps_that_would_leave_are_changed():
    center = weights_of()
    steps = gradients(center, 0)
    for norm in ["linf", "l2", "l2_global"]:
        tx = ball.keep_in_ball(1e3, norm=norm)
        held, _ = tx.update(steps, tx.init(center), center)
        for name in center:
            np.testing.assert_array_equal(held[name], steps[name])
    tx = ball.keep_in_ball(0.5)
    held, _ = tx.update(steps, tx.init(center), center)
    inside = np.abs(np.float64(center["a"] + steps["a"]) - np.float64(center["a"])) <= 0.5
    assert 0.2 < inside.mean() < 0.8
    np.testing.assert_array_equal(held["a"] == steps["a"], inside)


@pytest.mark.parametrize("eps", [1e-30, 1e-8, 1e-3, 1e30])
def test_tiny_and_huge_balls_hold(eps):
    center = weights_of()
    weights, _ = walk(center, eps, OPTIMIZERS["sgd"])
    assert ball.displacement(center, weights) <= eps


@pytest.mark.parametrize("norm", ["linf", "l2", "l2_global"])
def test_eps_may_be_traced_and_batched(norm):
    center = weights_of()
    grads = gradients(center, 0)

    def one(eps):
        tx = optax.chain(optax.sgd(1.0), ball.keep_in_ball(eps, norm=norm))
        updates, _ = tx.update(grads, tx.init(center), center)
        return optax.apply_updates(center, updates)

    epses = rounding.round_toward_zero([0.0, 0.05, 0.3, np.inf], np.float32)
    lanes = jax.jit(jax.vmap(one))(epses)
    for i, eps in enumerate(epses):
        alone = jax.jit(one)(eps)
        for weights in alone, jax.tree.map(lambda x, i=i: x[i], lanes):
            # Here the center is a constant of the program, which XLA folds into sums.
            assert _size(center, weights, norm) <= eps


def _size(center, weights, norm):
    moves = {k: np.float64(weights[k]) - np.float64(center[k]) for k in center}
    if norm == "linf":
        return ball.displacement(center, weights)
    lengths = [np.linalg.norm(move) for move in moves.values()]
    return max(lengths) if norm == "l2" else np.linalg.norm(lengths)


@pytest.mark.parametrize("unit", ["absolute", "std"])
@pytest.mark.parametrize("norm", ["l2", "l2_global"])
@pytest.mark.parametrize("dtype", quick.first(1, [jnp.bfloat16, jnp.float32]))
def test_l2_balls_are_held_exactly_and_used_to_the_stated_bound(dtype, norm, unit):
    center = weights_of(dtype)
    weights, state = walk(center, 0.7, OPTIMIZERS["sgd"], norm=norm, unit=unit)
    for name, radius in state[-1].radii.items():
        parts = [name] if norm == "l2" else list(center)
        chosen = [{part: tree[part] for part in parts} for tree in (center, weights)]
        assert _size(*chosen, norm) <= float(radius)
        if dtype == jnp.float32:
            assert _size(*chosen, norm) >= float(radius) * (1 - 2e-4)


def test_standard_deviations_are_each_tensors_own_and_a_constant_tensor_does_not_move():
    center = {"w": jnp.asarray(np.random.default_rng(0).normal(size=999) * 3), "c": jnp.ones(5)}
    found = ball.radii(center, 0.1, unit="std")
    np.testing.assert_allclose(found["w"], 0.1 * np.std(np.float64(center["w"])), rtol=1e-6)
    assert found["c"] == 0
    assert ball.radii(center, np.inf, unit="std")["c"] == 0
    moved = ball.project(center, jax.tree.map(lambda w: w + 9, center), 0.1, unit="std")
    assert ball.displacement(center["c"], moved["c"]) == 0
    assert ball.displacement(center["w"], moved["w"]) <= found["w"]


@pytest.mark.parametrize("dtype", [*DTYPES, np.float64])
def test_radii_are_the_largest_numbers_not_above_eps(dtype):
    for eps in [0.05, 0.1, 1 / 3, 1e-7, 0.0, 12345.678]:
        found = rounding.round_toward_zero(eps, dtype)
        above = np.nextafter(found, np.full_like(found, np.inf))
        assert float(found) <= eps < float(above)
    assert np.isinf(float(rounding.round_toward_zero(np.inf, dtype)))
    assert np.isfinite(float(rounding.round_toward_zero(1e300, dtype)))


def test_a_traced_eps_is_narrowed_toward_zero_inside_jit():
    epses = jnp.linspace(0.001, 0.2, 200)
    for dtype in [jnp.bfloat16, jnp.float16]:
        narrow = jax.jit(lambda e, dtype=dtype: rounding.round_toward_zero(e, dtype))(epses)
        expected = rounding.round_toward_zero(np.float64(epses), dtype)
        np.testing.assert_array_equal(np.float64(narrow), np.float64(expected))


@pytest.mark.parametrize("norm", ["linf", "l2", "l2_global"])
@pytest.mark.parametrize("jitted", quick.first(1, [True, False]))
def test_random_points_lie_inside_and_fill_the_ball(jitted, norm):
    center = weights_of()
    draw = jax.jit(ball.random_in_ball, static_argnums=3) if jitted else ball.random_in_ball
    point = draw(jax.random.key(1), center, rounding.round_toward_zero(0.05, np.float32), norm)
    assert 0.0499 < _size(center, point, norm) <= 0.05
    if norm == "linf":
        mean = np.mean(np.abs(np.float64(point["a"]) - np.float64(center["a"])))
        np.testing.assert_allclose(mean, 0.025, rtol=0.05)


def test_random_points_do_not_round_out_of_a_small_ball(key):
    center = {"a": jnp.linspace(1, 2, 500)}
    for eps in rounding.round_toward_zero([3e-7, 5e-7], np.float32):
        for shared in [False, True]:
            point = ball.random_in_ball(jax.random.clone(key), center, eps, shared=shared)
            assert ball.displacement(center, point) <= eps


def test_one_shared_shift_per_tensor(key):
    center = {"a": jnp.zeros(50), "b": jnp.zeros((3, 4))}
    point = ball.random_in_ball(key, center, 0.5, shared=True)
    shifts = [np.unique(np.asarray(leaf)) for leaf in point.values()]
    assert [len(shift) for shift in shifts] == [1, 1]
    assert shifts[0] != shifts[1]


def test_each_group_of_a_partition_has_its_own_ball():
    params = {"weights": weights_of(), "scores": {"a": jnp.ones(4)}}
    groups = {
        "w": optax.chain(optax.sgd(1.0), ball.keep_in_ball(0.1, unit="std")),
        "s": optax.sgd(1.0),
    }
    tx = optax.partition(groups, {"weights": "w", "scores": "s"})
    updates, _ = jax.jit(tx.update)(jax.tree.map(jnp.ones_like, params), tx.init(params), params)
    moved = optax.apply_updates(params, updates)
    np.testing.assert_array_equal(moved["scores"]["a"], np.zeros(4))
    for name, radius in ball.radii(params["weights"], 0.1, "std").items():
        assert ball.displacement(params["weights"][name], moved["weights"][name]) <= radius


@pytest.mark.parametrize("eps", [-0.1, np.nan, np.float32(-1), None, "x", 10**400])
def test_an_eps_that_is_no_radius_is_refused(eps):
    for use in (
        ball.keep_in_ball,
        lambda e: ball.project(jnp.ones(2), jnp.ones(2), e),
        lambda e: ball.random_in_ball(jax.random.key(0), jnp.ones(2), e),
    ):
        with pytest.raises(ValueError, match="eps"):
            use(eps)


def test_wrong_words_and_missing_params_are_refused(key):
    for wrong in [{"norm": "l1"}, {"unit": "meter"}]:
        with pytest.raises(ValueError, match=next(iter(wrong))):
            ball.keep_in_ball(0.1, **wrong)
    with pytest.raises(ValueError, match="finite"):
        ball.random_in_ball(key, jnp.ones(2), np.inf)
    tx = ball.keep_in_ball(0.1)
    with pytest.raises(ValueError, match="params"):
        tx.update(jnp.ones(2), tx.init(jnp.ones(2)))


def test_trees_that_differ_are_refused_while_tracing():
    center = {"a": jnp.ones((2, 3)), "b": jnp.ones(3)}
    tx = ball.keep_in_ball(0.1)
    state = tx.init(center)
    for wrong, message in (
        (center | {"b": jnp.ones(1)}, r"shape \(3,\) at \['b'\], got shape \(1,\) at \['b'\]"),
        ({"a": center["a"]}, r"shape \(3,\) at \['b'\], got nothing"),
    ):
        with pytest.raises(ValueError, match="expected updates of " + message):
            jax.jit(tx.update)(wrong, state, center)
        with pytest.raises(ValueError, match="expected params of " + message):
            jax.eval_shape(tx.update, center, state, wrong)
        with pytest.raises(ValueError, match="expected weights of " + message):
            jax.jit(ball.project)(center, wrong, 0.1)
        with pytest.raises(ValueError, match="expected weights of " + message):
            ball.displacement(center, wrong)


@pytest.mark.parametrize("norm", ["linf", "l2", "l2_global"])
def test_weights_may_be_tuples_of_any_length(norm):
    """A pair (kernel, bias) as a list of them: its halves are not the ends of an interval."""
    kernel, bias = weights_of().values()
    for pair in [(kernel, kernel + 9), (kernel, bias)]:
        by_name = dict(enumerate(pair))
        tx = optax.chain(optax.sgd(3.0), ball.keep_in_ball(0.05, norm=norm))
        steps = [jax.tree.map(jnp.sign, tree) for tree in (pair, by_name)]
        moves = [
            tx.update(step, tx.init(tree), tree)[0]
            for step, tree in zip(steps, (pair, by_name), strict=True)
        ]
        expected = ball.project(by_name, jax.tree.map(jnp.negative, by_name), 0.05, norm)
        found = ball.project(pair, jax.tree.map(jnp.negative, pair), 0.05, norm)
        for i in range(2):
            np.testing.assert_array_equal(moves[0][i], moves[1][i])
            np.testing.assert_array_equal(found[i], expected[i])
            assert _size({i: pair[i]}, {i: found[i]}, norm) <= 0.05


@pytest.mark.parametrize("norm", ball.NORMS)
@pytest.mark.parametrize("unit", ball.UNITS)
@pytest.mark.parametrize("tree", [{}, {"a": None}, {"a": jnp.zeros((0, 3))}])
def test_a_tree_without_entries_stays_as_it_is(norm, unit, tree, key):
    tx = ball.keep_in_ball(0.1, norm=norm, unit=unit)
    updates, _ = tx.update(tree, tx.init(tree), tree)
    moved = ball.random_in_ball(key, tree, 0.1, norm=norm, unit=unit)
    for other in (updates, moved, ball.project(tree, tree, 0.1, norm=norm, unit=unit)):
        assert jax.tree.structure(other) == jax.tree.structure(tree)
        assert [leaf.shape for leaf in jax.tree.leaves(other)] == [
            leaf.shape for leaf in jax.tree.leaves(tree)
        ]
    assert ball.displacement(tree, tree) == 0
