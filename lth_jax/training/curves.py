"""What an epoch does to masks and scores: two numbers, for rows that are asked to hold them."""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp


class Curves(NamedTuple):
    """The numbers by epoch, NaN where not run, and the mask that the next one is compared with."""

    mask: chex.ArrayTree  # bool, None where a leaf is not pruned
    mask_change: jax.Array  # [epochs] share of the mask's entries that differ from an epoch before
    score_size: jax.Array  # [epochs] mean |score|


def begin(mask: chex.ArrayTree, epochs: int) -> Curves:
    """Nothing is known yet but the mask that a stage begins with.

    Args:
        mask: Of the scores before the first step.
        epochs: As many as a lane may have.
    """
    unknown = jnp.full((epochs,), jnp.nan, jnp.float32)
    return Curves(mask, unknown, unknown)


def record(
    curves: Curves, epoch: jax.Array, mask: chex.ArrayTree, scores: chex.ArrayTree
) -> Curves:
    """Adds an epoch.

    Args:
        curves: Of the epochs before.
        epoch: [] integer.
        mask: At the end of the epoch.
        scores: Likewise.
    """
    pairs = zip(jax.tree.leaves(mask), jax.tree.leaves(curves.mask), strict=True)
    changed = sum(jnp.sum(a != b) for a, b in pairs)
    sizes = [jnp.mean(jnp.abs(s)) * s.size for s in jax.tree.leaves(scores)]
    count = sum(s.size for s in jax.tree.leaves(scores))
    return Curves(
        mask,
        curves.mask_change.at[epoch].set(changed / count),
        curves.score_size.at[epoch].set(sum(sizes) / count),
    )
