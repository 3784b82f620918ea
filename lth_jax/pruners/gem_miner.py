"""Gem-Miner: scores in [0, 1] that are rounded in the forward pass (Sreenivasan et al. 2022).

"Rare Gems: Finding Lottery Tickets at Initialization", 2202.12002.
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from lth_jax.masks import selection, surrogate
from lth_jax.pruners import base, kernels
from lth_jax.pruners.edge_popup import edge_popup


class GemState(NamedTuple):
    """What is still there, and the selection of the present scores."""

    alive: chex.ArrayTree  # bool; False where a falling count pruned for good
    kept: chex.ArrayTree  # the count before
    mask: chex.ArrayTree


def gem_miner(
    scope: selection.Scope = "tensor",
    prunable: base.Prunable | None = None,
    kernel_axes: kernels.KernelAxes = kernels.kernel_axes,
) -> base.Pruner:
    """Scores of at least 1/2 are kept in training, but at most the top ones that the count allows.

    The gradient of a score is ∂L/∂v · w with v the network, also where it is rounded to 0. After a
    step scores are clipped to [0, 1]. Where the count falls, as `kept_schedule` says, what is not
    among the top scores is pruned for good: its score stays 0. The L2 penalty on scores is the
    config's `prune_decay`.

    Deviations: the paper freezes every few epochs, at its own counts; here every step of the
    schedule does, and under a constant one nothing is frozen. The final mask has exactly the number
    asked for, also of scores below 1/2; in training there may be fewer. Scores start from U(0, 1).

    Args:
        scope: See `edge_popup`.
        prunable: See `edge_popup`.
        kernel_axes: See `edge_popup`.

    Returns:
        A Pruner.

    Raises:
        ValueError: See `edge_popup`.
    """
    popup = edge_popup(scope, prunable, lambda path, leaf: 1.0, kernel_axes)

    def init(key: jax.Array, weights: chex.ArrayTree) -> chex.ArrayTree:
        return jax.tree.map(jnp.abs, popup.init(key, weights))

    def mask(
        scores: chex.ArrayTree, kept: chex.ArrayTree, state: GemState | None = None
    ) -> chex.ArrayTree:
        base.check_kept(scope, scores, kept)
        return state.mask if state else selection.tree_topk_mask(scores, kept)

    def subnetwork(
        key: jax.Array,
        weights: chex.ArrayTree,
        scores: chex.ArrayTree,
        kept: chex.ArrayTree,
        state: GemState | None = None,
    ) -> chex.ArrayTree:
        del key
        allowed = mask(scores, kept, state)
        base.check_trees(weights, scores, allowed)
        return jax.tree.map(_rounded, weights, scores, allowed)

    def init_state(
        key: jax.Array, weights: chex.ArrayTree, scores: chex.ArrayTree, kept: chex.ArrayTree
    ) -> GemState:
        del key, weights
        alive = jax.tree.map(lambda s: jnp.ones(s.shape, bool), scores)
        return GemState(alive, _counts(kept), mask(scores, kept))

    def after_step(
        key: jax.Array,
        step: int | jax.Array,
        weights: chex.ArrayTree,
        scores: chex.ArrayTree,
        kept: chex.ArrayTree,
        state: GemState,
    ) -> tuple[chex.ArrayTree, chex.ArrayTree, GemState]:
        del key, step
        scores = _within(scores, state.alive)
        top = mask(scores, kept)
        alive = _still_alive(state, top, _counts(kept))
        return weights, _within(scores, alive), GemState(alive, _counts(kept), top)

    return popup._replace(
        name="gem_miner",
        init=init,
        subnetwork=subnetwork,
        mask=mask,
        init_state=init_state,
        after_step=after_step,
    )


def _rounded(w: jax.Array, s: jax.Array | None, allowed: jax.Array) -> jax.Array:
    """A leaf of the network in training."""
    if s is None:
        return w
    stays = allowed & (s >= 0.5)
    value = jnp.where(stays, w, jnp.zeros_like(w))
    return surrogate.surrogate(value, (w, s), (stays.astype(w.dtype), w))


def _counts(kept: chex.ArrayTree) -> chex.ArrayTree:
    found: chex.ArrayTree = jax.tree.map(lambda k: jnp.asarray(k, jnp.int32), kept)
    return found


def _still_alive(state: GemState, top: chex.ArrayTree, counts: chex.ArrayTree) -> chex.ArrayTree:
    """Where the count fell, only what is among the top."""
    fell = jax.tree.map(lambda new, old: new < old, counts, state.kept)
    if isinstance(fell, selection.Floored):  # Floors do not fall.
        fell = fell.total
    if selection.is_global(counts):
        fell = jax.tree.map(lambda m: fell, top)
    found: chex.ArrayTree = jax.tree.map(lambda a, m, f: a & (m | ~f), state.alive, top, fell)
    return found


def _within(scores: chex.ArrayTree, alive: chex.ArrayTree) -> chex.ArrayTree:
    """Scores clipped to [0, 1], and 0 for what is pruned for good."""
    return jax.tree.map(
        lambda s, a: jnp.where(a, jnp.clip(s, 0, 1), jnp.zeros_like(s)), scores, alive
    )
