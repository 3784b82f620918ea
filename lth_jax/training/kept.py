"""How many weights stay after each step of a stage: a count that may fall to its end."""

import functools

import chex
import jax
import jax.numpy as jnp

from lth_jax.masks import selection
from lth_jax.training import config as train_config


def after(
    schedule: train_config.KeptSchedule,
    scores: chex.ArrayTree,
    kept: chex.ArrayTree,
    step: int | jax.Array,
    total: int | jax.Array,
) -> chex.ArrayTree:
    """The numbers to keep after so many steps of a stage that trains scores.

    With n entries, k of which stay in the end: "linear" keeps n − (n − k)·t/T after t of T steps,
    "exponential" n·(k/n)^(t/T), both rounded up in float32, and exactly k after the last step.

    Args:
        schedule: One of config's names; "constant" returns `kept` itself.
        scores: Tree of arrays or shapes, None where nothing is pruned.
        kept: k: a tree of integers like the scores, or one for all; may be traced. Floors stay what
            they are in the end.
        step: [] steps taken, may be traced.
        total: [] steps of the whole stage, may be traced.

    Returns:
        Like `kept`, int32.
    """
    if schedule == "constant":
        return kept
    count = functools.partial(_count, schedule, step=step, total=total)
    if isinstance(kept, selection.Floored):
        return kept._replace(total=after(schedule, scores, kept.total, step, total))
    if selection.is_global(kept):
        return count(sum(leaf.size for leaf in jax.tree.leaves(scores)), kept)
    return jax.tree.map(lambda leaf, k: count(leaf.size, k), scores, kept)


def _count(
    schedule: train_config.KeptSchedule,
    n: int,
    kept: int | jax.Array,
    step: int | jax.Array,
    total: int | jax.Array,
) -> jax.Array:
    kept = jnp.asarray(kept, jnp.int32)
    done = jnp.asarray(step, jnp.float32) / jnp.maximum(total, 1)
    if schedule == "linear":
        wanted = n - (n - kept) * done
    else:
        wanted = n * jnp.exp(done * jnp.log(jnp.maximum(kept, 1) / n))
    # Float32 holds no count above 2^24 exactly: what it makes of one stays between the ends.
    falling = jnp.clip(jnp.ceil(wanted).astype(jnp.int32), kept, n)
    return jnp.where(step >= total, kept, jnp.where(step == 0, jnp.int32(n), falling))
