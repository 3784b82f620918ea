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
import numpy.typing as npt
import optax
from jax import lax

from lth_jax import errors
from lth_jax.perturb import rounding, shards

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
    eps: Eps,
    norm: Norm = "linf",
    unit: Unit = "absolute",
    axis_name: shards.AxisName | None = None,
) -> optax.GradientTransformation:
    """Projects the step of the optimizers before it, so that weights stay in a ball.

    The last link of an optax.chain. The ball's center is the weights at init: another init, as
    after a restart, is another ball. A step that ends inside is returned as it is, so that
    eps = inf is the optimizer itself; eps = 0 leaves the weights equal.

    It holds for weights and updates of 16, 32 and 64 bits and for steps of any size: a huge or
    infinite one ends inside, too. A NaN stays NaN in its place, so that divergence is seen; all
    other entries stay inside. XLA on a CPU takes numbers below the smallest normal one (1.2e-38 in
    float32) for 0, and so does the ball.

    What else optax and optax.contrib put around it. B is this transformation, tx any optimizer and
    I = chain(tx, B); "yes": the weights never leave the ball.

        yes  chain(tx, B)                   the last link, whatever the optimizer
        yes  named_chain(.., ('ball', B))   likewise
        yes  partition({.. I}, labels)      every group has a ball of its own
        yes  inject_hyperparams(lr -> I)    a changing rate; eps stays outside
        yes  MultiSteps(I, k)               with any should_skip_update_fn
        yes  apply_if_finite(I, n)
        yes  conditionally_mask(I, f)
        yes  selective_transform(I, ..)
        yes  flatten(I)                     all as one tensor: "l2" is then "l2_global"
        yes  chain(tx, B, B2)               inside both balls
        yes  chain(tx, B, zero_nans())
        yes  chain(lookahead(tx), B)        the fast weights and the slow ones
        yes  chain(schedule_free(tx), B)    the weights trained; those evaluated: see below
        yes  chain(sam(tx), B)              also where the gradient is taken
        yes  chain(mechanize(tx), B)
        yes  chain(tx, apply_every(k), B)
        no   chain(B, tx)                   put B last
        no   chain(tx, B, link)             put B last: scale, decay, momentum, noise, apply_every
                                            leave; one that shortens every entry of a step, as
                                            scale(0.5) or clip, keeps "linf" but not the l2 balls
        no   lookahead(I, k, a)             chain(lookahead(tx), B); by a rounding, but with
                                            reset_state the center moves: by any distance
        no   schedule_free(I, ..)           chain(schedule_free(tx), B)
        no   schedule_free_eval_params      `project` them
        no   sam(I, ..)                     chain(sam(tx), B)
        no   mechanize(I)                   chain(mechanize(tx), B)
        no   partition of l2_global balls   each group within r, not all together: one B, last
        no   masked(I, mask)                the rest takes its raw gradient: partition, set_to_zero
        no   chain(tx, masked(B, mask))     only what is marked is held: partition
        no   conditionally_transform(B, f)  conditionally_mask(I, f)
        no   inject_hyperparams(B)(eps)     it rounds eps to nearest, and later changes of eps are
                                            without effect: round_toward_zero before, and new init
        no   flatten(I), unit='std'         the deviation is that of all entries: partition
        no   flatten(I), two dtypes         partition by dtype
        no   split_real_and_imaginary(I)    each part within r, |w - w_0| to 1.42 r: eps / sqrt(2)
        no   incremental_update             a mean of weights inside is out by a rounding: `project`

    Args:
        eps: Radius >= 0 in units of `unit`; inf is no ball. May be traced: then it must hold the
            value meant, see `round_toward_zero`.
        norm: "linf": every entry within r. "l2": every tensor within r in Euclidean norm.
            "l2_global": all tensors together. The l2 balls are exact, too: never more than all of
            the radius, and for float32 at least (1 - 2e-4) of it, as far as its numbers allow.
        unit: "absolute", or "std": eps counts standard deviations of the tensor at init
            (of all entries together for "l2_global").
        axis_name: Needed inside jax.shard_map, if norm is not "linf" or unit is "std": the axes
            over which every tensor is split, so that norms and deviations are those of the whole
            tensor; or () if every device has whole tensors. Of tensors that jax sees not to vary
            over one of the axes, each device has the whole. Without a shard_map it says nothing.

    Returns:
        An optax.GradientTransformation; its update needs the params.

    Raises:
        ValueError: If eps is negative or NaN, or norm or unit is unknown; from init and update,
            if weights or updates are not floats of 16, 32 or 64 bits (float8, complex, integers);
            from update, if updates or params are not like the weights at init; from both, if
            axis_name is missing where it is needed or is no axis of the shard_map.
    """
    _check(eps, norm, unit)

    def init(params: chex.ArrayTree) -> BallState:
        # A copy: the params' own buffers may be donated.
        center = jax.tree.map(jnp.copy, params)
        return BallState(center, radii(center, eps, unit, norm, axis_name))

    def update(
        updates: chex.ArrayTree, state: BallState, params: chex.ArrayTree | None = None
    ) -> tuple[chex.ArrayTree, BallState]:
        if params is None:
            raise ValueError("keep_in_ball needs params: call update(updates, state, params).")
        errors.check_tree("params", params, state.center)
        errors.check_tree("updates", updates, state.center)
        _check_floats("updates", updates)
        updates, targets = _targets(params, updates, norm)
        split = _split(axis_name, norm, "absolute", (state.center, targets))
        lows, highs = _box(state.center, targets, state.radii, norm, split)
        return jax.tree.map(_step_inside, updates, params, targets, lows, highs), state

    return optax.GradientTransformation(init, update)


def project(
    center: chex.ArrayTree,
    weights: chex.ArrayTree,
    eps: Eps,
    norm: Norm = "linf",
    unit: Unit = "absolute",
    axis_name: shards.AxisName | None = None,
) -> chex.ArrayTree:
    """The weights moved into the ball around center; those inside stay as they are.

    An infinity ends inside a finite ball. A NaN stays NaN, and all other entries end inside.

    Args:
        center: Tree of float arrays.
        weights: Tree like center.
        eps: See `keep_in_ball`.
        norm: See `keep_in_ball`.
        unit: See `keep_in_ball`; the standard deviation is center's.
        axis_name: See `keep_in_ball`.

    Returns:
        Tree like center.

    Raises:
        ValueError: If eps is negative or NaN, norm or unit is unknown, the trees differ, they
            are not floats of 16, 32 or 64 bits, or axis_name is missing or wrong.
    """
    errors.check_tree("weights", weights, center)
    _check_floats("weights", weights)
    split = _split(axis_name, norm, unit, (center, weights))
    lows, highs = _box(center, weights, radii(center, eps, unit, norm, axis_name), norm, split)
    return jax.tree.map(jnp.clip, weights, lows, highs)


def random_in_ball(
    key: jax.Array,
    center: chex.ArrayTree,
    eps: Eps,
    norm: Norm = "linf",
    unit: Unit = "absolute",
    shared: bool = False,
    axis_name: shards.AxisName | None = None,
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
        axis_name: As in `keep_in_ball`, but inside jax.shard_map always needed; the key is the
            same on every shard.

    Returns:
        Tree like center.

    Raises:
        ValueError: If eps is negative, NaN or infinite, shared is asked for an l2 ball, or
            axis_name is missing or wrong.
    """
    _check(eps, norm, unit)
    if not isinstance(eps, jax.core.Tracer) and not np.isfinite(eps):
        raise ValueError(f"A random point needs a finite ball, got eps={eps}.")
    if shared and norm != "linf":
        raise ValueError(f"shared needs norm='linf', got {norm!r}.")
    key_direction, key_length = jax.random.split(key)
    split = shards.axes(axis_name, center)
    bounds = radii(center, eps, unit, norm, axis_name)
    leaves, treedef = jax.tree.flatten(center)
    own = list(jax.random.split(key_direction, len(leaves)))
    over = [() if shared else shards.of(leaf, split) for leaf in leaves]
    own = [
        jax.random.fold_in(k, shards.place(a)) if a else k for k, a in zip(own, over, strict=True)
    ]
    keys = jax.tree.unflatten(treedef, own)
    if norm == "linf":
        shifts = jax.tree.map(
            lambda c, r, k: r * jax.random.uniform(k, () if shared else c.shape, c.dtype, -1, 1),
            *(center, bounds, keys),
        )
    else:
        normals = jax.tree.map(lambda c, k: jax.random.normal(k, c.shape, c.dtype), center, keys)
        lengths = _norms(normals, norm, split)
        # The volume grows as radius^n, so the n-th root of a uniform number is the length.
        sizes = [leaf.size * shards.count(a) for leaf, a in zip(leaves, over, strict=True)]
        drawn = jax.random.uniform(key_length, (len(leaves),))
        uniforms: Iterable[jax.Array] = drawn
        if norm == "l2_global":
            sizes, uniforms = [sum(sizes)] * len(leaves), [drawn[:1].sum()] * len(leaves)
        roots = [u ** (1 / max(n, 1)) for u, n in zip(uniforms, sizes, strict=True)]
        parts = jax.tree.unflatten(treedef, roots)
        shifts = jax.tree.map(
            lambda z, r, s, part: z * (r / s * part).astype(z.dtype),
            *(normals, bounds, lengths, parts),
        )
    moved = jax.tree.map(lambda c, s: rounding.rounded(c + s, c.dtype), center, shifts)
    lows, highs = _box(center, moved, bounds, norm, split)
    return jax.tree.map(jnp.clip, moved, lows, highs)


def radii(
    center: chex.ArrayTree,
    eps: Eps,
    unit: Unit = "absolute",
    norm: Norm = "linf",
    axis_name: shards.AxisName | None = None,
) -> chex.ArrayTree:
    """The radius of every tensor's ball, in its dtype, rounded toward zero.

    Args:
        center: Tree of float arrays.
        eps: See `keep_in_ball`.
        unit: "absolute" or "std"; a tensor of standard deviation 0, as a bias that
            starts at 0, has radius 0 and does not move: give such leaves a ball of their own.
        norm: See `keep_in_ball`; under "l2_global" all tensors share one radius.
        axis_name: See `keep_in_ball`.

    Returns:
        Tree like center of scalars.

    Raises:
        ValueError: If eps is negative or NaN, norm or unit is unknown, or axis_name is missing or
            wrong.
    """
    _check(eps, norm, unit)
    _check_floats("weights", center)
    if unit == "absolute":
        return jax.tree.map(lambda c: jnp.asarray(rounding.round_toward_zero(eps, c.dtype)), center)
    split = _split(axis_name, norm, unit, center)
    if norm == "l2_global" and jax.tree.leaves(center):
        together = rounding.deviation(jax.tree.leaves(center), split)

    def one(c: jax.Array) -> jax.Array:
        if norm == "l2_global":
            std = together
        else:
            std = rounding.deviation([c], split) if split else jnp.std(rounding.wide(c))
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
        ValueError: If structures or shapes differ, or an entry is no float64: complex, long
            double, or an integer beyond ±2^53.
    """
    errors.check_tree("weights", weights, center)

    def one(c: chex.Array, w: chex.Array) -> float:
        return float(np.max(np.abs(_float64(w) - _float64(c)), initial=0.0))

    return float(np.max(jax.tree.leaves(jax.tree.map(one, center, weights)), initial=0.0))


def _float64(x: chex.Array) -> npt.NDArray[np.float64]:
    """Casts what float64 holds exactly, and refuses the rest."""
    x = np.asarray(x)
    whole = x.dtype.kind in "iu"
    if np.iscomplexobj(x) or not (np.can_cast(x.dtype, np.float64) or whole):
        raise ValueError(f"A displacement is counted in float64, which {x.dtype} does not fit.")
    if whole and x.size and max(int(x.max()), -int(x.min())) > 2**53:
        raise ValueError("A displacement is counted in float64, which integers > 2^53 do not fit.")
    exact: npt.NDArray[np.float64] = x.astype(np.float64)
    return exact


def _check_floats(name: str, tree: chex.ArrayTree) -> None:
    """Raises a ValueError for float8, complex, long double or integer leaves."""
    for leaf in jax.tree.leaves(tree):
        dtype = jnp.asarray(leaf).dtype if not hasattr(leaf, "dtype") else leaf.dtype
        if not jnp.issubdtype(dtype, jnp.floating) or jnp.finfo(dtype).bits not in (16, 32, 64):
            raise ValueError(f"{name} must be floats of 16, 32 or 64 bits, got {dtype}.")


def _check(eps: Eps, norm: Norm, unit: Unit) -> None:
    if norm not in NORMS:
        raise ValueError(f"norm must be one of {NORMS}, got {norm!r}.")
    if unit not in UNITS:
        raise ValueError(f"unit must be one of {UNITS}, got {unit!r}.")
    # `not >=` catches NaN, too.
    if not isinstance(eps, jax.core.Tracer) and not np.all(rounding.on_host(eps) >= 0):
        raise ValueError(f"eps must be a number >= 0, got {eps!r}.")


def _split(
    axis_name: shards.AxisName | None, norm: Norm, unit: Unit, tree: chex.ArrayTree
) -> shards.Axes:
    """The axes that tensors are split over; a ball that is entrywise need not know of any."""
    if axis_name is None and norm == "linf" and unit == "absolute":
        return ()
    return shards.axes(axis_name, tree)


def _targets(
    params: chex.ArrayTree, updates: chex.ArrayTree, norm: Norm
) -> tuple[chex.ArrayTree, chex.ArrayTree]:
    """The updates, and where they lead: for an l2 norm as optax.apply_updates will round it."""
    if norm == "linf":  # Ends that are numbers of the weights' dtype hold however one rounds.
        return updates, jax.tree.map(jnp.add, params, updates)
    updates = jax.tree.map(lambda u: rounding.rounded(u, u.dtype), updates)

    def one(param: jax.Array, update: jax.Array) -> jax.Array:
        target = param + update
        return rounding.rounded(target, param.dtype).astype(target.dtype)

    return updates, jax.tree.map(one, params, updates)


def _step_inside(
    update: jax.Array, param: jax.Array, target: jax.Array, low: jax.Array, high: jax.Array
) -> jax.Array:
    """The update if it ends in [low, high], else the step to the nearest point in there."""
    param = lax.optimization_barrier(param)  # see rounding.ends
    step = jnp.clip(target, low, high) - param
    # param + step rounds once more and may end one unit outside: shorten the step by one.
    landed = param + step
    zero = jnp.where(jnp.isinf(step), 0, 0 * step)  # A step across a huge ball may overflow.
    step = jnp.where((low <= landed) & (landed <= high), step, jnp.nextafter(step, zero))
    return jnp.where((low <= target) & (target <= high), update, step)


def _box(
    center: chex.ArrayTree,
    targets: chex.ArrayTree,
    bounds: chex.ArrayTree,
    norm: Norm,
    split: shards.Axes,
) -> tuple[chex.ArrayTree, chex.ArrayTree]:
    """Entrywise ends of an interval inside the ball that holds the targets' projection."""
    if norm != "linf":
        moves = jax.tree.map(_move, targets, center)
        shrinks = _shrinks(moves, norm, split)
        moves = jax.tree.map(jnp.multiply, moves, shrinks)
        # Entry i may move by |t_i - w_0i| * r / length: with ends rounded inward the vector is
        # no longer than r. Inside, no entry is bounded.
        lengths = _norms(moves, norm, split)
        bounds = jax.tree.map(_entry_bounds, moves, bounds, lengths, shrinks)
    leaves, treedef = jax.tree.flatten(center)
    pairs = map(rounding.ends, leaves, jax.tree.leaves(bounds))
    lows, highs = zip(*pairs, strict=True) if leaves else ((), ())
    return jax.tree.unflatten(treedef, lows), jax.tree.unflatten(treedef, highs)


def _move(target: jax.Array, center: jax.Array) -> jax.Array:
    """Target - center; an infinity counts as the largest number, a NaN as no move."""
    move = rounding.wide(target) - rounding.wide(center)
    most = jnp.finfo(move.dtype).max
    return jnp.clip(jnp.where(jnp.isnan(move), 0, move), -most, most)


def _shrinks(moves: chex.ArrayTree, norm: Norm, split: shards.Axes) -> chex.ArrayTree:
    """A power of two per tensor, nearly always 1, that keeps norms and quotients in range."""

    def one(*parts: jax.Array) -> jax.Array:
        most = [shards.largest(jnp.max(jnp.abs(m), initial=0), shards.of(m, split)) for m in parts]
        largest = jnp.max(jnp.stack(most))
        return jnp.where(largest > 2.0**64, 2.0**-100, jnp.where(largest < 2.0**-96, 2.0**64, 1))

    if norm == "l2" or not jax.tree.leaves(moves):
        return jax.tree.map(lambda move: one(move).astype(move.dtype), moves)
    together = one(*jax.tree.leaves(moves))
    return jax.tree.map(lambda move: together.astype(move.dtype), moves)


def _entry_bounds(
    move: jax.Array, radius: jax.Array, length: jax.Array, shrink: jax.Array
) -> jax.Array:
    """How far each entry may move; `move` and `length` were multiplied by `shrink`."""
    wide = rounding.wide(radius)
    scale = wide / jnp.where(length > 0, length, 1) * (1 - rounding.NORM_ERROR)
    scaled = jnp.abs(move) * scale.astype(move.dtype)
    inside = length * (1 + rounding.NORM_ERROR) <= wide * shrink
    return jnp.where(inside, jnp.full_like(scaled, jnp.inf), scaled)


def _norms(tree: chex.ArrayTree, norm: Norm, split: shards.Axes) -> chex.ArrayTree:
    """The Euclidean norm of each tensor, or that of all together in each place."""
    lengths = jax.tree.map(lambda x: rounding.norm(x, split), tree)
    if norm == "l2" or not jax.tree.leaves(lengths):
        return lengths
    total = rounding.norm(jnp.stack(jax.tree.leaves(lengths)))
    return jax.tree.map(lambda _: total, lengths)
