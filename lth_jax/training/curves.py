"""What epochs do to masks and scores: a few numbers of each, for rows that are to hold them."""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from lth_jax.masks import selection

# epoch_change, step_change: the share of the mask's entries that differ after an epoch, and after
# its last step. score_mean, score_median: of |score| over all scores. A row's field is NAME_curve.
NAMES = ("epoch_change", "step_change", "score_mean", "score_median")


class Curves(NamedTuple):
    """Numbers by name and epoch, NaN where not run, and what the next epoch is compared with."""

    mask: chex.ArrayTree  # bool, None where a leaf is not pruned
    values: jax.Array  # [names, epochs] float32


def begin(mask: chex.ArrayTree, epochs: int) -> Curves:
    """Nothing is known yet but the mask that a stage begins with.

    Args:
        mask: Of the scores before the first step.
        epochs: As many as a lane may have.
    """
    return Curves(mask, jnp.full((len(NAMES), epochs), jnp.nan, jnp.float32))


def record(
    curves: Curves,
    epoch: jax.Array,
    before: chex.ArrayTree,
    mask: chex.ArrayTree,
    scores: chex.ArrayTree,
) -> Curves:
    """Adds an epoch.

    Args:
        curves: Of the epochs before.
        epoch: [] integer.
        before: The mask before the epoch's last step.
        mask: The mask at its end.
        scores: Likewise.
    """
    sizes = jnp.concatenate([jnp.ravel(jnp.abs(s)) for s in jax.tree.leaves(scores)])
    found = (
        _share_that_differs(curves.mask, mask),
        _share_that_differs(before, mask),
        jnp.mean(sizes),
        selection.kth_largest(sizes, (len(sizes) + 1) // 2),
    )
    return Curves(mask, curves.values.at[:, epoch].set(jnp.stack(found).astype(jnp.float32)))


def _share_that_differs(before: chex.ArrayTree, after: chex.ArrayTree) -> jax.Array:
    pairs = list(zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True))
    differ = jnp.sum(jnp.stack([jnp.sum(a != b) for a, b in pairs]))
    share: jax.Array = differ / sum(a.size for a, _ in pairs)
    return share
