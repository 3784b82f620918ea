"""Keep weights in an ε-ball around where they started (Xiong, Liao, Kyrillidis 2023), exactly.

max |w - w_0| <= r holds in real arithmetic, not to rounding: the ends w_0 ± r are rounded inward.
"""

import typing
from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from lth_jax import errors
from lth_jax.perturb import rounding

Norm = Literal["linf", "l2", "l2_global"]
Unit = Literal["absolute", "std"]
NORMS: tuple[Norm, ...] = typing.get_args(Norm)
UNITS: tuple[Unit, ...] = typing.get_args(Unit)
Eps = float | np.floating[Any] | jax.Array


class BallState(NamedTuple):
    """What `keep_in_ball` remembers."""

    center: chex.ArrayTree  # like the weights, a copy
    radii: chex.ArrayTree  # of scalars, like the weights


def keep_in_ball(
    eps: Eps, norm: Norm = "linf", unit: Unit = "absolute"
) -> optax.GradientTransformation:
    """Projects the step of the optimizers before it, so that weights stay in a ball.

    The last link of an optax.chain. The ball's center is the weights at init. A step that ends
    inside is returned as it is, so that eps = inf is the optimizer itself; eps = 0 leaves the
    weights equal. Inside optax.partition every group has its own ball.

    Args:
        eps: Radius >= 0 in units of `unit`; inf is no ball. May be traced: then it must hold the
            value meant, see `round_toward_zero`.
        norm: "linf": every entry within r. "l2": every tensor within r in Euclidean norm.
            "l2_global": all tensors together. The l2 balls are exact, too: they use at least
            (1 - 2e-4) of the radius, and never more than all of it.
        unit: "absolute", or "std": eps counts standard deviations of the tensor at init
            (of all entries together for "l2_global").

    Returns:
        An optax.GradientTransformation; its update needs the params.

    Raises:
        ValueError: If eps is negative or NaN, or norm or unit is unknown; from update, if updates
            or params are not like the weights at init.
    """
    _check(eps, norm, unit)

    def init(params: chex.ArrayTree) -> BallState:
        # A copy: the params' own buffers may be donated.
        center = jax.tree.map(jnp.copy, params)
        return BallState(center, radii(center, eps, unit, norm))

    def update(
        updates: chex.ArrayTree, state: BallState, params: chex.ArrayTree | None = None
    ) -> tuple[chex.ArrayTree, BallState]:
        if params is None:
            raise ValueError("keep_in_ball needs params: call update(updates, state, params).")
        errors.check_tree("params", params, state.center)
        errors.check_tree("updates", updates, state.center)
        targets = jax.tree.map(_add, params, updates)
        lows, highs = _box(state.center, targets, state.radii, norm)
        return jax.tree.map(_step_inside, updates, params, targets, lows, highs), state

    return optax.GradientTransformation(init, update)


def project(
    center: chex.ArrayTree,
    weights: chex.ArrayTree,
    eps: Eps,
    norm: Norm = "linf",
    unit: Unit = "absolute",
) -> chex.ArrayTree:
    """The weights moved into the ball around center; those inside stay as they are.

    Args:
        center: Tree of float arrays.
        weights: Tree like center.
        eps: See `keep_in_ball`.
        norm: See `keep_in_ball`.
        unit: See `keep_in_ball`; the standard deviation is center's.

    Returns:
        Tree like center.

    Raises:
        ValueError: If eps is negative or NaN, norm or unit is unknown, or the trees differ.
    """
    errors.check_tree("weights", weights, center)
    lows, highs = _box(center, weights, radii(center, eps, unit, norm), norm)
    return jax.tree.map(jnp.clip, weights, lows, highs)


def random_in_ball(
    key: jax.Array,
    center: chex.ArrayTree,
    eps: Eps,
    norm: Norm = "linf",
    unit: Unit = "absolute",
    shared: bool = False,
) -> chex.ArrayTree:
    """Center plus a uniform draw from the ball, projected so that it lies inside exactly.

    The paper's control: entrywise uniform in (-r, r) for "linf"; a uniform point of the Euclidean
    ball for "l2" and "l2_global". The same key at another eps gives the same shift, scaled.

    Args:
        key: Typed key.
        center: Tree of float arrays.
        eps: See `keep_in_ball`, but finite.
        norm: See `keep_in_ball`.
        unit: See `keep_in_ball`.
        shared: One shift for all entries of a tensor, as the paper's published code does
            ("linf" only).

    Returns:
        Tree like center.

    Raises:
        ValueError: If eps is negative, NaN or infinite, or shared is asked for an l2 ball.
    """
    _check(eps, norm, unit)
    if not isinstance(eps, jax.core.Tracer) and not np.isfinite(eps):
        raise ValueError(f"A random point needs a finite ball, got eps={eps}.")
    if shared and norm != "linf":
        raise ValueError(f"shared needs norm='linf', got {norm!r}.")
    key_direction, key_length = jax.random.split(key)
    bounds = radii(center, eps, unit, norm)
    leaves, treedef = jax.tree.flatten(center)
    keys = jax.tree.unflatten(treedef, list(jax.random.split(key_direction, len(leaves))))
    if norm == "linf":
        shifts = jax.tree.map(
            lambda c, r, k: r * jax.random.uniform(k, () if shared else c.shape, c.dtype, -1, 1),
            *(center, bounds, keys),
        )
    else:
        normals = jax.tree.map(lambda c, k: jax.random.normal(k, c.shape, c.dtype), center, keys)
        lengths = _norms(normals, norm)
        # The volume grows as radius^n, so the n-th root of a uniform number is the length.
        sizes = [leaf.size for leaf in leaves]
        drawn = jax.random.uniform(key_length, (len(leaves),))
        uniforms: Iterable[jax.Array] = drawn
        if norm == "l2_global":
            sizes, uniforms = [sum(sizes)] * len(leaves), [drawn[0]] * len(leaves)
        roots = [u ** (1 / n) for u, n in zip(uniforms, sizes, strict=True)]
        parts = jax.tree.unflatten(treedef, roots)
        shifts = jax.tree.map(
            lambda z, r, s, part: z * (r / s * part).astype(z.dtype),
            *(normals, bounds, lengths, parts),
        )
    moved = jax.tree.map(jnp.add, center, shifts)
    lows, highs = _box(center, moved, bounds, norm)
    return jax.tree.map(jnp.clip, moved, lows, highs)


def radii(
    center: chex.ArrayTree, eps: Eps, unit: Unit = "absolute", norm: Norm = "linf"
) -> chex.ArrayTree:
    """The radius of every tensor's ball, in its dtype, rounded toward zero.

    Args:
        center: Tree of float arrays.
        eps: See `keep_in_ball`.
        unit: "absolute" or "std"; a tensor of standard deviation 0, as a bias that
            starts at 0, has radius 0 and does not move: give such leaves a ball of their own.
        norm: See `keep_in_ball`; under "l2_global" all tensors share one radius.

    Returns:
        Tree like center of scalars.

    Raises:
        ValueError: If eps is negative or NaN, or norm or unit is unknown.
    """
    _check(eps, norm, unit)
    if unit == "absolute":
        return jax.tree.map(lambda c: jnp.asarray(rounding.round_toward_zero(eps, c.dtype)), center)
    leaves = jax.tree.leaves(center)
    if norm == "l2_global":
        together = jnp.std(jnp.concatenate([jnp.ravel(rounding.wide(c)) for c in leaves]))

    def one(c: jax.Array) -> jax.Array:
        std = together if norm == "l2_global" else jnp.std(rounding.wide(c))
        in_units = jnp.asarray(rounding.round_toward_zero(eps, std.dtype))
        # where, because inf * 0 is NaN: a constant tensor does not move at any eps.
        radius = jnp.where(std == 0, jnp.zeros_like(std), in_units * std)
        return rounding.narrow_toward_zero(radius, c.dtype)

    return jax.tree.map(one, center)


def displacement(center: chex.ArrayTree, weights: chex.ArrayTree) -> float:
    """Largest |w - w_0| of all entries: the certificate, in NumPy float64 on the host.

    Exact for float32 and narrower weights of like size, for no float32 subtraction can be trusted
    to see one unit in the last place. NaN if any entry is.

    Args:
        center: Tree of arrays.
        weights: Tree like center.

    Returns:
        The largest displacement; 0 for a tree without entries.

    Raises:
        ValueError: If structures or shapes differ.
    """
    errors.check_tree("weights", weights, center)

    def one(c: chex.Array, w: chex.Array) -> float:
        c, w = np.asarray(c).astype(np.float64), np.asarray(w).astype(np.float64)
        return float(np.max(np.abs(w - c), initial=0.0))

    return float(np.max(jax.tree.leaves(jax.tree.map(one, center, weights)), initial=0.0))


def _check(eps: Eps, norm: Norm, unit: Unit) -> None:
    if norm not in NORMS:
        raise ValueError(f"norm must be one of {NORMS}, got {norm!r}.")
    if unit not in UNITS:
        raise ValueError(f"unit must be one of {UNITS}, got {unit!r}.")
    # `not >=` catches NaN, too.
    if not isinstance(eps, jax.core.Tracer) and not np.all(np.asarray(eps, np.float64) >= 0):
        raise ValueError(f"eps must be a number >= 0, got {eps!r}.")


def _add(param: jax.Array, update: jax.Array) -> jax.Array:
    return param + update


def _step_inside(
    update: jax.Array, param: jax.Array, target: jax.Array, low: jax.Array, high: jax.Array
) -> jax.Array:
    """The update if it ends in [low, high], else the step to the nearest point in there."""
    param = lax.optimization_barrier(param)  # see rounding.ends
    step = jnp.clip(target, low, high) - param
    # param + step rounds once more and may end one unit outside: shorten the step by one.
    landed = param + step
    step = jnp.where((low <= landed) & (landed <= high), step, jnp.nextafter(step, 0 * step))
    return jnp.where((low <= target) & (target <= high), update, step)


def _box(
    center: chex.ArrayTree, targets: chex.ArrayTree, bounds: chex.ArrayTree, norm: Norm
) -> tuple[chex.ArrayTree, chex.ArrayTree]:
    """Entrywise ends of an interval inside the ball that holds the targets' projection."""
    if norm != "linf":
        lengths = _norms(jax.tree.map(jnp.subtract, targets, center), norm)
        # Entry i may move by |t_i - w_0i| * r / length: with ends rounded inward the vector is
        # no longer than r. Inside, no entry is bounded.
        bounds = jax.tree.map(_entry_bounds, targets, center, bounds, lengths)
    pairs = jax.tree.map(rounding.ends, center, bounds)
    is_pair = lambda x: isinstance(x, tuple) and len(x) == 2  # noqa: E731
    low = jax.tree.map(lambda pair: pair[0], pairs, is_leaf=is_pair)
    return low, jax.tree.map(lambda pair: pair[1], pairs, is_leaf=is_pair)


def _entry_bounds(
    target: jax.Array, center: jax.Array, radius: jax.Array, length: jax.Array
) -> jax.Array:
    wide = rounding.wide(radius)
    scale = wide / jnp.where(length > 0, length, 1) * (1 - rounding.NORM_ERROR)
    scaled = jnp.abs(target - center) * scale.astype(target.dtype)
    scaled = jnp.where(jnp.isnan(scaled), 0, scaled)  # An infinite step has no direction: stay.
    return jnp.where(
        length * (1 + rounding.NORM_ERROR) <= wide, jnp.full_like(scaled, jnp.inf), scaled
    )


def _norms(tree: chex.ArrayTree, norm: Norm) -> chex.ArrayTree:
    """The Euclidean norm of each tensor, or that of all together in each place."""
    lengths = jax.tree.map(rounding.norm, tree)
    if norm == "l2":
        return lengths
    total = rounding.norm(jnp.stack(jax.tree.leaves(lengths)))
    return jax.tree.map(lambda _: total, lengths)
