"""Random numbers for finders that sample their masks in training."""

import chex
import jax


def logistic(key: jax.Array, scores: chex.ArrayTree) -> chex.ArrayTree:
    """Standard logistic draws: score + draw is above 0 with probability sigmoid(score).

    Args:
        key: Typed key.
        scores: Tree of float arrays, None where nothing is pruned.

    Returns:
        Tree like scores, independent draws.
    """
    leaves, treedef = jax.tree.flatten(scores)
    keys = jax.random.split(key, max(len(leaves), 1))
    drawn = [jax.random.logistic(k, s.shape, s.dtype) for k, s in zip(keys, leaves, strict=False)]
    return jax.tree.unflatten(treedef, drawn)
