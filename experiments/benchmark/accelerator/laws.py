"""The laws that an accelerator has to keep before its times mean anything, in README's words."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import optax

from experiments.benchmark.accelerator import lane_laws, sizes
from lth_jax.masks import selection
from lth_jax.perturb import ball, shards

_CHUNK = 2**24  # entries of a ball that the host certifies at once


def _hostile(random: np.random.Generator, shape: tuple[int, int]) -> npt.NDArray[np.float32]:
    """[lanes, n] scores of every kind that is easily lost."""
    tied = random.integers(-3, 4, shape).astype(np.float32)
    special = np.float32([0.0, -0.0, np.inf, -np.inf, np.nan, 1e-45, -1e-45, 1e-39, 3e-39, 1.2e-38])
    found = np.where(random.random(shape) < 0.5, tied, random.choice(special, shape))
    # A lane of denormal numbers alone, and one without two equal ones.
    found[0] = random.integers(1, 2**20, shape[1]).astype(np.uint32).view(np.float32)
    found[-1] = random.permutation(shape[1]).astype(np.float32)
    return found


def by_sorting(scores: npt.NDArray[np.float32], kept: int) -> npt.NDArray[np.bool_]:
    """The first `kept` of a stable sort: NaN first, then by falling value, then by index."""
    value = np.where(np.isnan(scores), 0.0, scores).astype(np.float64)
    order = np.lexsort((np.arange(scores.size), -value, ~np.isnan(scores)))
    mask = np.zeros(scores.size, bool)
    mask[order[:kept]] = True
    return mask


def exact_selection(size: sizes.Sizes) -> dict[str, Any]:
    """Ties, both zeros, infinities, denormals and NaN, lanes together, with and without a hint."""
    random = np.random.default_rng(0)
    lanes, n = size.selection
    scores = _hostile(random, size.selection)
    wrong = 0
    for counts in (np.full(lanes, n // 2), random.integers(0, n + 1, lanes)):
        kept = counts.astype(np.int32)
        expected = np.stack([by_sorting(*one) for one in zip(scores, kept, strict=True)])
        for axis in (None, shards.TOGETHER):  # Each lane's own search, and one for all.
            search = jax.jit(jax.vmap(selection.topk_mask_and_threshold, axis_name=axis))
            alone, hint = search(scores, kept)
            hinted, _ = search(scores, kept, hint)
            wrong += sum(int(np.sum(np.asarray(found) != expected)) for found in (alone, hinted))
    return {"holds": wrong == 0, "entries": 8 * lanes * n, "wrong": wrong}


def exact_ball(size: sizes.Sizes) -> dict[str, Any]:
    """Steps that end within a few units in the last place of the ball's end, in all norms, units.

    Certified by the host, in float64.
    """
    cases = [(norm, unit) for norm in ball.NORMS for unit in ball.UNITS]
    each = size.ball_entries // len(cases)
    outside, counted, fullest = 0, 0, 0.0
    for case, (norm, unit) in enumerate(cases):
        step = jax.jit(_near_the_end(norm, unit), static_argnums=1)
        for chunk, first in enumerate(range(0, each, _CHUNK)):
            n = min(_CHUNK, each - first)
            drawn = jax.device_get(step(jax.random.key(1000 * case + chunk), n))
            counted += n
            for length, radius in _lengths(*drawn, norm):
                outside += length > radius
                fullest = max(fullest, length / radius)
    # A step that never went as far would stay inside, too.
    holds = outside == 0 and fullest > 0.999
    return {"holds": holds, "entries": counted, "balls_left": outside, "fullest": fullest}


def _near_the_end(norm: ball.Norm, unit: ball.Unit) -> Callable[[jax.Array, int], Any]:
    """(key, n) -> centre, weights after a step, radii; of two tensors, n entries in all."""

    def step(key: jax.Array, n: int) -> Any:
        keys = jax.random.split(key, 4)
        drawn = jax.random.normal(keys[0], (n,)) * 2.0 ** jax.random.randint(keys[1], (n,), -12, 3)
        center = {"a": drawn[: n // 3], "b": drawn[n // 3 :]}
        tx = ball.keep_in_ball(0.0371, norm, unit)
        state = tx.init(center)
        radii = state.radii
        # In the max norm every entry goes to its end, else each tensor as a whole.
        way = jnp.sign(jax.random.normal(keys[2], (n,)))
        few = 1 + jax.random.randint(keys[3], (n,), -4, 5) * 2.0**-23
        ends = {"a": (way * few)[: n // 3], "b": (way * few)[n // 3 :]}
        lengths = {
            name: jnp.float32(1 if norm == "linf" else e.size**0.5) for name, e in ends.items()
        }
        if norm == "l2_global":
            lengths = dict.fromkeys(ends, jnp.float32(n**0.5))

        def at(share: float) -> Any:
            return jax.tree.map(
                lambda c, e, r, length: c + share * e * (r / length), center, ends, radii, lengths
            )

        begin = ball.project(center, at(0.6), 0.0371, norm, unit)
        # Rounding keeps a sum of squares below its end: a step that has to be shortened goes on.
        updates = jax.tree.map(jnp.subtract, at(1.0 if norm == "linf" else 1.0005), begin)
        held, _ = tx.update(updates, state, begin)
        return center, optax.apply_updates(begin, held), radii

    return step


def _lengths(center: Any, moved: Any, radii: Any, norm: ball.Norm) -> list[tuple[float, float]]:
    """How far the weights of each ball moved, and its radius, in float64."""
    pairs = {k: np.abs(moved[k].astype(np.float64) - center[k].astype(np.float64)) for k in center}
    if norm == "linf":
        return [(float(np.max(pair)), float(radii[name])) for name, pair in pairs.items()]
    squares = {name: float(np.sum(np.square(pair))) for name, pair in pairs.items()}
    if norm == "l2":
        return [(square**0.5, float(radii[name])) for name, square in squares.items()]
    return [(sum(squares.values()) ** 0.5, float(next(iter(radii.values()))))]


LAWS: dict[str, Callable[[sizes.Sizes], dict[str, Any]]] = {
    "exact selection": exact_selection,
    "exact ball": exact_ball,
    "pairs are pairs": lane_laws.weights_of_the_host,
    "lanes agree": lane_laws.lanes_agree,
    "exact resume": lane_laws.slices_and_resume,
}


def check(size: sizes.Sizes) -> Iterator[dict[str, Any]]:
    """Checks one law after the other.

    Yields:
        name, holds, seconds, and what was counted.
    """
    for name, law in LAWS.items():
        begun = time.perf_counter()
        found = law(size)
        yield {"name": name, **found, "seconds": round(time.perf_counter() - begun, 1)}
