"""Keep weights in an ε-ball around where they started (Xiong, Liao, Kyrillidis 2023), exactly.

max |w - w_0| <= r holds in real arithmetic, not to rounding: the ends w_0 ± r are rounded inward.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from lth_jax.perturb import rounding

round_toward_zero = rounding.round_toward_zero

_NORMS = ("linf", "l2", "l2_global")
_UNITS = ("absolute", "std")


class BallState(NamedTuple):
    """What `keep_in_ball` remembers."""

    center: Any  # tree like the weights, a copy
    radii: Any  # tree like the weights of scalars


def keep_in_ball(
    eps: float | jax.Array,
    norm: str = "linf",
    unit: str = "absolute",
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
        ValueError: If eps is negative or NaN, or norm or unit is unknown.
    """
    _check(eps, norm, unit)

    def init(params):
        # A copy: the params' own buffers may be donated.
        center = jax.tree.map(jnp.copy, params)
        return BallState(center, radii(center, eps, unit, norm))

    def update(updates, state, params=None):
        if params is None:
            raise ValueError("keep_in_ball needs params: call update(updates, state, params).")
        targets = jax.tree.map(_add, params, updates)
        lows, highs = _box(state.center, targets, state.radii, norm)
        return jax.tree.map(_step_inside, updates, params, targets, lows, highs), state

    return optax.GradientTransformation(init, update)


def project(center: Any, weights: Any, eps: Any, norm: str = "linf", unit: str = "absolute") -> Any:
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
        ValueError: If eps is negative or NaN, or norm or unit is unknown.
    """
    lows, highs = _box(center, weights, radii(center, eps, unit, norm), norm)
    return jax.tree.map(jnp.clip, weights, lows, highs)


def random_in_ball(
    key: jax.Array,
    center: Any,
    eps: Any,
    norm: str = "linf",
    unit: str = "absolute",
    shared: bool = False,
) -> Any:
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
    keys = treedef.unflatten(list(jax.random.split(key_direction, len(leaves))))
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
        uniforms = jax.random.uniform(key_length, (len(leaves),))
        if norm == "l2_global":
            sizes, uniforms = [sum(sizes)] * len(leaves), [uniforms[0]] * len(leaves)
        parts = treedef.unflatten([u ** (1 / n) for u, n in zip(uniforms, sizes, strict=True)])
        shifts = jax.tree.map(
            lambda z, r, s, part: z * (r / s * part).astype(z.dtype),
            *(normals, bounds, lengths, parts),
        )
    moved = jax.tree.map(jnp.add, center, shifts)
    lows, highs = _box(center, moved, bounds, norm)
    return jax.tree.map(jnp.clip, moved, lows, highs)


def radii(center: Any, eps: Any, unit: str = "absolute", norm: str = "linf") -> Any:
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
        return jax.tree.map(lambda c: jnp.asarray(round_toward_zero(eps, c.dtype)), center)
    leaves = jax.tree.leaves(center)
    if norm == "l2_global":
        together = jnp.std(jnp.concatenate([jnp.ravel(rounding.wide(c)) for c in leaves]))

    def one(c):
        std = together if norm == "l2_global" else jnp.std(rounding.wide(c))
        in_units = jnp.asarray(round_toward_zero(eps, std.dtype))
        # where, because inf * 0 is NaN: a constant tensor does not move at any eps.
        radius = jnp.where(std == 0, jnp.zeros_like(std), in_units * std)
        return rounding.narrow_toward_zero(radius, c.dtype)

    return jax.tree.map(one, center)


def displacement(center: Any, weights: Any) -> float:
    """Largest |w - w_0| of all entries: the certificate, in NumPy float64 on the host.

    Exact for float32 and narrower weights of like size, for no float32 subtraction can be trusted
    to see one unit in the last place. NaN if any entry is.

    Args:
        center: Tree of arrays.
        weights: Tree like center.

    Returns:
        The largest displacement; 0 for a tree without entries.

    Raises:
        ValueError: If shapes differ.
    """

    def one(c, w):
        c, w = np.asarray(c).astype(np.float64), np.asarray(w).astype(np.float64)
        if c.shape != w.shape:
            raise ValueError(f"expected weights of shape {c.shape}, got {w.shape}.")
        return np.max(np.abs(w - c), initial=0.0)

    return float(np.max(jax.tree.leaves(jax.tree.map(one, center, weights)), initial=0.0))


def _check(eps, norm, unit):
    if norm not in _NORMS:
        raise ValueError(f"norm must be one of {_NORMS}, got {norm!r}.")
    if unit not in _UNITS:
        raise ValueError(f"unit must be one of {_UNITS}, got {unit!r}.")
    # `not >=` catches NaN, too.
    if not isinstance(eps, jax.core.Tracer) and not np.all(np.asarray(eps, np.float64) >= 0):
        raise ValueError(f"eps must be a number >= 0, got {eps!r}.")


def _add(param, update):
    return param + update


def _step_inside(update, param, target, low, high):
    """The update if it ends in [low, high], else the step to the nearest point in there."""
    param = lax.optimization_barrier(param)  # see rounding.ends
    step = jnp.clip(target, low, high) - param
    # param + step rounds once more and may end one unit outside: shorten the step by one.
    landed = param + step
    step = jnp.where((low <= landed) & (landed <= high), step, jnp.nextafter(step, 0 * step))
    return jnp.where((low <= target) & (target <= high), update, step)


def _box(center, targets, bounds, norm):
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


def _entry_bounds(target, center, radius, length):
    wide = rounding.wide(radius)
    scale = wide / jnp.where(length > 0, length, 1) * (1 - rounding.NORM_ERROR)
    scaled = jnp.abs(target - center) * scale.astype(target.dtype)
    scaled = jnp.where(jnp.isnan(scaled), 0, scaled)  # An infinite step has no direction: stay.
    return jnp.where(
        length * (1 + rounding.NORM_ERROR) <= wide, jnp.full_like(scaled, jnp.inf), scaled
    )


def _norms(tree, norm):
    lengths = jax.tree.map(rounding.norm, tree)
    if norm == "l2":
        return lengths
    total = rounding.norm(jnp.stack(jax.tree.leaves(lengths)))
    return jax.tree.map(lambda _: total, lengths)
