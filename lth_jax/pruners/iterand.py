"""IteRand: pruned weights are drawn anew now and then (Chijiwa et al. 2021, 2106.09269).

So that a small network holds as many candidates as a wide one. A weight that was drawn anew has a
new w_0: from then on the centre of its ball is the new draw.
"""

import functools
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from lth_jax.masks import selection
from lth_jax.pruners import base, kernels
from lth_jax.pruners.edge_popup import ScoreBound, edge_popup


class IterandState(NamedTuple):
    """The selection of the present scores, and what draws are taken from."""

    mask: chex.ArrayTree
    thresholds: chex.ArrayTree  # where the next step's search starts
    pool: chex.ArrayTree  # the weights as the seed drew them, None where nothing is pruned


def iterand(
    scope: selection.Scope = "tensor",
    prunable: base.Prunable | None = None,
    score_bound: ScoreBound | None = None,
    kernel_axes: kernels.KernelAxes = kernels.kernel_axes,
    every: int = 300,
    chance: float = 0.1,
) -> base.Pruner:
    """Scores are trained through the mask of the top ones; every so often pruned weights change.

    After each `every` steps of a stage that trains scores every weight that is pruned then is drawn
    anew with probability `chance`. The gradient of a score is ∂L/∂v · w with v the network.

    Deviations: a draw is one of the tensor's own initial weights, any with the same probability, as
    a pruner does not know the initializer. The number of kept weights is exact. Weights may move in
    a ball: one that is drawn anew lies at its centre.

    Args:
        scope: See `edge_popup`.
        prunable: See `edge_popup`.
        score_bound: See `edge_popup`.
        kernel_axes: See `edge_popup`.
        every: Steps, at least 1.
        chance: In [0, 1].

    Returns:
        A Pruner.

    Raises:
        ValueError: If every or chance is out of range; see `edge_popup`.
    """
    if every < 1:
        raise ValueError(f"every must be at least 1, got {every!r}.")
    if not 0 <= chance <= 1:
        raise ValueError(f"chance must lie in [0, 1], got {chance!r}.")
    popup = edge_popup(scope, prunable, score_bound, kernel_axes)

    select = functools.partial(_select, scope)

    def mask(
        scores: chex.ArrayTree, kept: chex.ArrayTree, state: IterandState | None = None
    ) -> chex.ArrayTree:
        return state.mask if state else select(scores, kept)[0]

    def subnetwork(
        key: jax.Array,
        weights: chex.ArrayTree,
        scores: chex.ArrayTree,
        kept: chex.ArrayTree,
        state: IterandState | None = None,
    ) -> chex.ArrayTree:
        del key
        return selection.straight_through(weights, scores, mask(scores, kept, state))

    def init_state(
        key: jax.Array, weights: chex.ArrayTree, scores: chex.ArrayTree, kept: chex.ArrayTree
    ) -> IterandState:
        del key
        pool = jax.tree.map(jnp.copy, base.choose(weights, scores))
        return IterandState(*select(scores, kept), pool)

    def after_step(
        key: jax.Array,
        step: int | jax.Array,
        weights: chex.ArrayTree,
        scores: chex.ArrayTree,
        kept: chex.ArrayTree,
        state: IterandState,
    ) -> tuple[chex.ArrayTree, chex.ArrayTree, IterandState]:
        found, thresholds = select(scores, kept, state.thresholds)
        chosen = base.choose(weights, scores)
        given = (functools.partial(_redrawn, key, chance), lambda w, *_: w, chosen, found)
        new = jax.lax.cond((jnp.asarray(step) + 1) % every == 0, *given, state.pool)
        return base.merge(weights, new), scores, IterandState(found, thresholds, state.pool)

    return popup._replace(
        name="iterand",
        subnetwork=subnetwork,
        mask=mask,
        init_state=init_state,
        after_step=after_step,
        redraws=True,
    )


def _select(
    scope: selection.Scope,
    scores: chex.ArrayTree,
    kept: chex.ArrayTree,
    hints: chex.ArrayTree | None = None,
) -> tuple[chex.ArrayTree, chex.ArrayTree]:
    """The mask of the top scores, and the hints for the next search."""
    base.check_kept(scope, scores, kept)
    return selection.tree_topk_mask_and_thresholds(scores, kept, hints)


def _redrawn(
    key: jax.Array,
    chance: float,
    weights: chex.ArrayTree,
    mask: chex.ArrayTree,
    pool: chex.ArrayTree,
) -> chex.ArrayTree:
    """Weights, some of the pruned ones drawn anew from a pool."""
    leaves, treedef = jax.tree.flatten(weights)
    keys = jax.tree.unflatten(treedef, list(jax.random.split(key, len(leaves))))

    def one(w: jax.Array, m: jax.Array, p: jax.Array, k: jax.Array) -> jax.Array:
        key_where, key_which = jax.random.split(k)
        where = jax.random.bernoulli(key_where, chance, w.shape) & ~m
        return jnp.where(where, p.reshape(-1)[jax.random.randint(key_which, w.shape, 0, w.size)], w)

    found: chex.ArrayTree = jax.tree.map(one, weights, mask, pool, keys)
    return found
