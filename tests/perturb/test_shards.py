"""Tensors that are split over devices inside a shard_map: the ball is the whole tensor's."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from lth_jax.perturb import ball, shards

L2 = [("l2", "absolute"), ("l2_global", "absolute"), ("l2", "std"), ("l2_global", "std")]
BALLS = [("linf", "std"), *L2]


def mesh(name="shards"):
    return jax.make_mesh((2,), (name,), axis_types=(AxisType.Auto,))


SPLIT = P("shards")


def over_devices(function, seen, specs=SPLIT, name="shards"):
    """f(center, step), jitted, every argument split as `specs` say."""
    places = {"mesh": mesh(name), "in_specs": (specs, specs), "out_specs": specs}
    return jax.jit(jax.shard_map(function, check_vma=seen, **places))


def trees():
    rng = np.random.default_rng(0)
    shapes = {"a": (6, 50), "b": (40,)}
    # Halves of very different spread and size: what one shard sees is far from the whole.
    center = {
        n: rng.normal(size=s) * np.linspace(0.1, 2, s[0])[(...,) + (None,) * (len(s) - 1)]
        for n, s in shapes.items()
    }
    step = {
        n: rng.normal(size=s) * (np.arange(s[0]) < s[0] // 3)[(...,) + (None,) * (len(s) - 1)]
        for n, s in shapes.items()
    }
    return jax.tree.map(jnp.float32, (center, step))


def moved(center, step, norm, unit, axis_name=None):
    tx = ball.keep_in_ball(0.05, norm, unit, axis_name)
    updates, _ = tx.update(step, tx.init(center), center)
    return optax.apply_updates(center, updates)


def length(center, weights, norm):
    moves = [np.ravel(np.float64(weights[n]) - np.float64(c)) for n, c in center.items()]
    if norm == "linf":
        return [np.max(np.abs(m)) for m in moves]
    if norm == "l2_global":
        moves = [np.concatenate(moves)] * len(moves)
    return [np.linalg.norm(m) for m in moves]


def cases(quick):
    """All balls under both settings of shard_map; compiling takes seconds, so most are slow."""
    every = [(*ball, seen) for ball in BALLS for seen in (True, False)]
    return [c if c in quick else pytest.param(*c, marks=pytest.mark.slow) for c in every]


@pytest.mark.parametrize(("norm", "unit", "seen"), cases([("l2", "std", True)]))
def test_the_ball_of_split_tensors_is_the_whole_tensors(norm, unit, seen):
    center, step = trees()
    run = functools.partial(moved, norm=norm, unit=unit, axis_name="shards")
    weights = over_devices(run, seen)(center, step)
    whole = jax.jit(functools.partial(moved, norm=norm, unit=unit))(center, step)
    bounds = jax.tree.leaves(ball.radii(center, 0.05, unit, norm))
    for size, bound in zip(length(center, weights, norm), bounds, strict=True):
        # A shard's own deviation or norm gave up to 1.7 times as much. Sums of another order
        # differ by a few units in the last place, and so may a radius of standard deviations.
        slack = 1e-6 if unit == "std" else 0
        assert float(bound) * (1 - 2e-4) <= size <= float(bound) * (1 + slack)
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-7), weights, whole
    )

    project = functools.partial(ball.project, eps=0.05, norm=norm, unit=unit, axis_name=("shards",))
    far = jax.tree.map(jnp.add, center, step)
    again = over_devices(project, seen)(center, far)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-7), again, whole)


@pytest.mark.slow
def test_a_tensor_that_each_device_has_whole_counts_once():
    center, step = trees()
    specs = {"a": P("shards"), "b": P()}
    for norm, unit in BALLS:
        run = functools.partial(moved, norm=norm, unit=unit, axis_name="shards")
        weights = over_devices(run, True, specs)(center, step)
        whole = jax.jit(functools.partial(moved, norm=norm, unit=unit))(center, step)
        same = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-7)
        jax.tree.map(same, weights, whole)


@pytest.mark.parametrize(("norm", "unit", "seen"), cases([("l2", "absolute", False)]))
def test_shards_and_lanes_are_not_taken_for_each_other(norm, unit, seen):
    center, step = trees()
    run = functools.partial(moved, norm=norm, unit=unit)
    with pytest.raises(ValueError, match="'shards' expected axis_name"):
        over_devices(run, seen)(center, step)
    lanes = [jax.tree.map(lambda x, i=i: jnp.stack([x, 2 * x])[i], (center, step)) for i in (0, 1)]
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *lanes)
    for name, axis_name in (("shards", ()), (shards.LANES, None)):
        mapped = functools.partial(jax.lax.map, lambda lane, a=axis_name: run(*lane, axis_name=a))
        together = over_devices(lambda *x, f=mapped: f(x), seen, P(name), name)(*stacked)
        for i, lane in enumerate(lanes):
            alone = jax.jit(run)(*lane)
            jax.tree.map(lambda a, b, i=i: np.testing.assert_array_equal(a, b[i]), alone, together)


@pytest.mark.slow
def test_entrywise_balls_need_no_name_and_replicas_are_seen_to_be_whole():
    center, step = trees()
    whole = moved(center, step, "linf", "absolute")
    for seen in (True, False):
        run = functools.partial(moved, norm="linf", unit="absolute")
        jax.tree.map(np.testing.assert_array_equal, over_devices(run, seen)(center, step), whole)
    run = functools.partial(moved, norm="l2", unit="std")  # As in training on batches in parts.
    jax.tree.map(
        np.testing.assert_array_equal,
        over_devices(run, True, P())(center, step),
        jax.jit(run)(center, step),
    )


@pytest.mark.slow
@pytest.mark.parametrize("norm", ball.NORMS)
def test_random_points_of_split_tensors_lie_in_the_whole_ball_and_are_no_copies(norm):
    center = {"a": jnp.zeros((6, 50)), "b": jnp.zeros(40)}

    def draw(center, _, axis_name="shards"):
        return ball.random_in_ball(jax.random.key(0), center, 0.05, norm, axis_name=axis_name)

    for seen in (True, False):
        point = over_devices(draw, seen)(center, center)
        assert np.all(np.asarray(length(center, point, norm)) <= np.float32(0.05))
        assert max(length(center, point, norm)) > 0.045
        assert not np.any(point["a"][:3] == point["a"][3:])
        with pytest.raises(ValueError, match="expected axis_name"):
            over_devices(functools.partial(draw, axis_name=None), seen)(center, center)


@pytest.mark.slow
def test_an_axis_name_that_is_none_is_refused_inside_and_says_nothing_outside():
    center, step = trees()
    run = functools.partial(moved, norm="l2", unit="std")
    with pytest.raises(ValueError, match="the shard_map, which has 'shards', got 'shard'"):
        over_devices(functools.partial(run, axis_name="shard"), True)(center, step)
    jax.tree.map(
        np.testing.assert_array_equal,
        run(center, step, axis_name="shards"),
        run(center, step),
    )


@pytest.mark.slow
def test_a_plainly_sharded_jit_needs_nothing():
    center, step = trees()
    placed = jax.device_put((center, step), jax.NamedSharding(mesh(), P("shards")))
    for norm, unit in BALLS:
        run = jax.jit(functools.partial(moved, norm=norm, unit=unit))
        same = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-7)
        jax.tree.map(same, run(*placed), run(center, step))
