"""Exact ball under attack: every dtype, update dtype, norm and size of step, counted."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import quick

from lth_jax.perturb import ball

FLOATS = ("float32", "bfloat16", "float16")
EPS = (1e-3, 0.05, 0.7, 20.0, 1e4)
SIZES = (1e-3, 1e-2, 1.0, 1e5, 1e19, 1e30, 1e38, 3.4e38, np.inf)


def center_of(dtype):
    rng = np.random.default_rng(0)
    return {
        "a": jnp.asarray(0.05 * rng.normal(size=(40, 50))).astype(dtype),
        "b": jnp.asarray(rng.normal(size=300)).astype(dtype),
    }


def steps_of(center, size, dtype, count):
    rng = np.random.default_rng(1)
    most = 3.4e38 if np.isfinite(size) else np.inf

    def one(leaf):
        return np.clip(size * rng.normal(size=leaf.shape), -most, most).astype(np.float32)

    return [jax.tree.map(lambda c: jnp.asarray(one(c)).astype(dtype), center) for _ in range(count)]


def moved(eps, norm, center, steps):
    """Where steps lead, all in one program if it is compiled; and the radii."""
    tx = ball.keep_in_ball(eps, norm=norm)
    state, weights = tx.init(center), center
    for step in steps:
        updates, _ = tx.update(step, state, weights)
        weights = optax.apply_updates(weights, updates)
    return weights, state.radii


def outside(center, weights, radii, norm):
    """Whether any tensor is, in long double; NaN is."""
    moves = [
        np.ravel(np.asarray(weights[k]).astype(np.longdouble) - np.asarray(c).astype(np.longdouble))
        for k, c in center.items()
    ]
    bounds = [np.asarray(r).astype(np.longdouble) for r in radii.values()]
    if norm == "l2_global":
        moves = [np.concatenate(moves)]
    lengths = [np.max(np.abs(m)) if norm == "linf" else np.sqrt(np.sum(m * m)) for m in moves]
    return not all(length <= r for length, r in zip(lengths, bounds, strict=False))


@pytest.mark.parametrize("norm", ["l2", "l2_global"])
@pytest.mark.parametrize("dtype", quick.first(1, ["bfloat16", "float16"]))
def test_l2_balls_of_16_bit_weights_hold_under_32_bit_updates(dtype, norm):
    center = center_of(dtype)
    run = jax.jit(moved, static_argnums=1)
    for eps, size in itertools.product([1e-3, 0.7], [1e-3, 1.0]):
        steps = steps_of(center, size, "float32", 2)
        assert not outside(center, *run(np.float32(eps), norm, center, steps), norm)


@pytest.mark.parametrize("norm", quick.first(1, ball.NORMS))
@pytest.mark.parametrize("jitted", quick.first(1, [True, False]))
def test_huge_and_infinite_steps_land_inside(jitted, norm):
    center = center_of("float32")
    run = jax.jit(moved, static_argnums=1) if jitted else moved
    for size in [1e38, np.inf]:
        (step,) = steps_of(center, size, "float32", 1)
        weights, radii = run(np.float32(0.05), norm, center, [step])
        assert not outside(center, weights, radii, norm)
        far = jax.tree.map(jnp.add, center, step)
        assert not outside(center, ball.project(center, far, 0.05, norm), radii, norm)
    one = {"a": center["a"], "b": center["b"].at[3].set(jnp.inf)}
    weights = ball.project(center, one, 0.05, norm)
    assert not outside(center, weights, radii, norm)
    assert weights["b"][3] > center["b"][3] + 0.04  # It went as far as it may.


def test_an_end_that_overflows_is_no_infinity():
    center = {"a": jnp.asarray([3e38, -3e38])}
    weights = ball.project(center, {"a": jnp.asarray([jnp.inf, -jnp.inf])}, 1e38)
    assert np.all(np.isfinite(weights["a"]))
    half = {"a": jnp.asarray([-6e4], jnp.float16)}
    weights, radii = moved(6e4, "linf", half, [{"a": jnp.asarray([jnp.inf], jnp.float16)}])
    assert not outside(half, weights, radii, "linf")


@pytest.mark.parametrize("norm", ball.NORMS)
def test_a_nan_stays_where_it_is_and_the_others_stay_inside(norm):
    center = center_of("float32")
    (step,) = steps_of(center, 1.0, "float32", 1)
    step["b"] = step["b"].at[7].set(jnp.nan)
    for weights in (
        moved(0.05, norm, center, [step])[0],
        ball.project(center, jax.tree.map(jnp.add, center, step), 0.05, norm),
    ):
        assert np.isnan(weights["b"][7]) and np.isnan(weights["b"]).sum() == 1
        rest = weights | {"b": weights["b"].at[7].set(center["b"][7])}
        radii = ball.radii(center, 0.05)
        assert not outside(center, rest, radii, norm)


@pytest.mark.slow
def test_no_step_of_any_dtype_and_size_leaves_any_ball(say):
    tried, wrong = 0, []
    run = jax.jit(moved, static_argnums=1)
    for dtype, update_dtype, norm, count in itertools.product(FLOATS, FLOATS, ball.NORMS, [1, 2]):
        center = center_of(dtype)
        for eps, size in itertools.product(EPS, SIZES):
            steps = steps_of(center, size, update_dtype, count)
            # Compiling is what takes time: without jit, one radius has to do.
            for jitted in [True, False] if eps == 0.7 and count == 1 else [True]:
                with np.errstate(all="ignore"):
                    found = (run if jitted else moved)(np.float32(eps), norm, center, steps)
                    tried += 1
                    if outside(center, *found, norm):
                        wrong.append((dtype, update_dtype, norm, count, eps, size, jitted))
    say(f"{tried} steps, {len(wrong)} wrong")
    assert tried > 2000 and not wrong, wrong[:5]


@pytest.mark.parametrize("far", [1j, np.longdouble(2) ** -70, 2**53 + 1, -(2**53) - 1, 2**64 - 1])
def test_a_displacement_that_float64_cannot_count_is_refused(far):
    center = np.zeros(2, np.asarray(far).dtype)
    with pytest.raises(ValueError, match="float64"):
        ball.displacement({"a": center}, {"a": center + np.asarray(far, center.dtype)})
    assert ball.displacement(np.zeros(2, np.int64), np.array([1, -(2**53)])) == 2**53
    assert ball.displacement(np.zeros(1, bool), np.ones(1, bool)) == 1


@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "float8_e5m2", "int32", "complex64"])
def test_weights_and_updates_that_no_ball_holds_are_refused(dtype):
    wrong, tx = jnp.ones(3).astype(dtype), ball.keep_in_ball(0.1)
    with pytest.raises(ValueError, match="16, 32 or 64 bits"):
        tx.init(wrong)
    with pytest.raises(ValueError, match="16, 32 or 64 bits"):
        ball.project(jnp.ones(3), wrong, 0.1)
    with pytest.raises(ValueError, match="16, 32 or 64 bits"):
        tx.update(wrong, tx.init(jnp.ones(3)), jnp.ones(3))
