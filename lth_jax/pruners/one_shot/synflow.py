"""SynFlow: data-free and iterative, no layer collapses (Tanaka et al. 2020, 2006.05467)."""

import chex
import jax
import jax.numpy as jnp

from lth_jax.masks import selection
from lth_jax.pruners import base, kernels
from lth_jax.pruners.one_shot import network, saliency


def flow(
    model: network.Model, weights: chex.ArrayTree, shape: tuple[int, ...]
) -> tuple[chex.ArrayTree, jax.Array]:
    """|w| · ∂R/∂|w| of every entry, and R: the sum of outputs of |w| for an input of ones.

    Args:
        model: As `lth_jax.Model`; in evaluation mode.
        weights: Tree of arrays.
        shape: Of one input.

    Returns:
        (Tree like weights, []). Over the entries of any one bias-free linear layer between ReLUs
        the saliencies sum to R.
    """
    state = network.state_of(model)
    ones = jnp.ones((1, *shape), jnp.float32)

    def total(sizes: chex.ArrayTree) -> jax.Array:
        return jnp.sum(model.apply(sizes, state, ones, train=False)[0])

    sizes = jax.tree.map(jnp.abs, weights)
    value, gradient = jax.value_and_grad(total)(sizes)
    return jax.tree.map(jnp.multiply, sizes, gradient), value


def synflow_saliency(
    model: network.Model,
    shape: tuple[int, ...],
    weights: chex.ArrayTree,
    scores: chex.ArrayTree,
    sparsity: float,
    rounds: int = 100,
    scope: selection.Scope = "global",
) -> chex.ArrayTree:
    """Ranks what is pruned round by round: the later, the higher.

    After round i of N the share kept is (1 - sparsity)^(i/N), the top of the flow through what was
    kept before. What goes in round i, from 1 on, gets a saliency in [i - 1, i), what stays one of
    at least N: within a round by the share of its flow in the largest. So the top n·(1 - sparsity)
    are what N rounds keep.

    Args:
        model: See `flow`.
        shape: Of one input.
        weights: Tree of arrays.
        scores: Tree like weights, None where nothing is pruned; not read.
        sparsity: In (0, 1), to which the rounds lead.
        rounds: N, at least 1.
        scope: "global" or "tensor".

    Returns:
        Tree like scores.
    """
    n = sum(leaf.size for leaf in jax.tree.leaves(scores))
    logarithm = jnp.log(jnp.float32(1 - sparsity))

    def count(size: int, i: jax.Array) -> jax.Array:
        share = jnp.exp(logarithm * (i + 1) / rounds)
        # The last count is the exact one; float32 serves the others.
        exact = selection.kept_count(size, sparsity)
        between = jnp.clip(jnp.ceil(size * share).astype(jnp.int32), exact, size)
        return jnp.where(i == rounds - 1, exact, between)

    def one_round(
        i: jax.Array, so_far: tuple[chex.ArrayTree, chex.ArrayTree]
    ) -> tuple[chex.ArrayTree, chex.ArrayTree]:
        ranks, mask = so_far
        through = base.choose(flow(model, selection.apply_mask(weights, mask), shape)[0], scores)
        # What was pruned before never comes back, also where the flow of what is left is 0.
        ranked = jax.tree.map(lambda f, m: jnp.where(m, f, -1), through, mask)
        counts = (
            count(n, i) if scope == "global" else jax.tree.map(lambda s: count(s.size, i), scores)
        )
        kept = selection.tree_topk_mask(ranked, counts)
        top = jnp.max(jnp.stack([jnp.max(f) for f in jax.tree.leaves(ranked)]))
        largest = jnp.maximum(top, jnp.finfo(jnp.float32).tiny)

        def rank(old: jax.Array, f: jax.Array, before: jax.Array, after: jax.Array) -> jax.Array:
            within = 0.999 * jnp.clip(f / largest, 0, 1)
            stays = jnp.where(after, rounds + within, i + within)
            return jnp.where(before, stays, old)

        return jax.tree.map(rank, ranks, ranked, mask, kept), kept

    start = (
        jax.tree.map(jnp.zeros_like, scores),
        jax.tree.map(lambda s: jnp.ones(s.shape, bool), scores),
    )
    found: chex.ArrayTree = jax.lax.fori_loop(0, rounds, one_round, start)[0]
    return found


def synflow(
    model: network.Model,
    shape: tuple[int, ...],
    sparsity: float,
    rounds: int = 100,
    scope: selection.Scope = "global",
    prunable: base.Prunable | None = None,
    kernel_axes: kernels.KernelAxes = kernels.kernel_axes,
) -> base.Pruner:
    """Keeps what an all-ones input flows through, in `rounds` rounds of an exponential schedule.

    Deviations: the rounds lead to one sparsity; at others the ranks of the rounds are followed, so
    that lanes of several sparsities share one schedule. The state beside weights is the initial
    one. In float32 the flow of deep networks may overflow, where the paper takes float64.

    Args:
        model: See `flow`.
        shape: Of one input.
        sparsity: In (0, 1), to which the rounds lead.
        rounds: At least 1; the paper's 100.
        scope: "global" as in the paper, or "tensor".
        prunable: See `edge_popup`.
        kernel_axes: See `edge_popup`.

    Returns:
        A Pruner; it cannot be named on the command line, as it needs the model.

    Raises:
        ValueError: If sparsity or rounds are out of range; see `edge_popup`.
    """
    if not 0 < sparsity < 1:
        raise ValueError(f"sparsity must lie in (0, 1), got {sparsity!r}.")
    if rounds < 1:
        raise ValueError(f"rounds must be at least 1, got {rounds!r}.")

    def found(key: jax.Array, weights: chex.ArrayTree, scores: chex.ArrayTree) -> chex.ArrayTree:
        del key
        return synflow_saliency(model, shape, weights, scores, sparsity, rounds, scope)

    return saliency.by_saliency("synflow", found, scope, prunable, kernel_axes)
