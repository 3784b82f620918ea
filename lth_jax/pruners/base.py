"""What a pruning algorithm is: a tuple of pure functions over trees of weights and scores.

In all of them `scores` is a tree like the weights with None where a leaf is not pruned, and `kept`
a tree of integers like the scores (scopes "tensor" and "erk"), or one integer or a
selection.Floored (scope "global"). `state` is whatever the algorithm carries from step to step; it
must belong to the scores it comes with.
"""

import inspect
from typing import Any, NamedTuple, Protocol

import chex
import jax

from lth_jax import errors
from lth_jax.masks import selection
from lth_jax.pruners import kernels


class Prunable(Protocol):
    """Chooses the leaves that get scores."""

    def __call__(self, path: kernels.Path, leaf: jax.Array, /) -> bool:
        """Returns whether the leaf is pruned."""


class Init(Protocol):
    """Draws the initial scores."""

    def __call__(self, key: jax.Array, weights: chex.ArrayTree) -> chex.ArrayTree:
        """Returns the scores, None where a leaf is not pruned."""


class Subnetwork(Protocol):
    """The network of a training step; differentiable by weights and scores."""

    def __call__(
        self,
        key: jax.Array,
        weights: chex.ArrayTree,
        scores: chex.ArrayTree,
        kept: chex.ArrayTree,
        state: chex.ArrayTree | None = None,
    ) -> chex.ArrayTree:
        """Returns the pruned weights."""


class Mask(Protocol):
    """The final mask; deterministic, with exactly `kept` ones."""

    def __call__(
        self, scores: chex.ArrayTree, kept: chex.ArrayTree, state: chex.ArrayTree | None = None
    ) -> chex.ArrayTree:
        """Returns a tree of bool arrays like the scores."""


class Apply(Protocol):
    """Prunes by a mask and scores that are fixed; differentiable by weights."""

    def __call__(
        self, weights: chex.ArrayTree, scores: chex.ArrayTree, mask: chex.ArrayTree
    ) -> chex.ArrayTree:
        """Returns the pruned weights: the final network, where the mask is the final one."""


class InitState(Protocol):
    """Builds the state of the first step."""

    def __call__(
        self,
        key: jax.Array,
        weights: chex.ArrayTree,
        scores: chex.ArrayTree,
        kept: chex.ArrayTree,
    ) -> chex.ArrayTree:
        """Returns the state."""


class AfterStep(Protocol):
    """What happens between steps, such as drawing weights anew."""

    def __call__(
        self,
        key: jax.Array,
        step: int | jax.Array,
        weights: chex.ArrayTree,
        scores: chex.ArrayTree,
        kept: chex.ArrayTree,
        state: chex.ArrayTree,
    ) -> tuple[chex.ArrayTree, chex.ArrayTree, chex.ArrayTree]:
        """Returns weights, scores and state."""


class Counts(Protocol):
    """How many entries are kept at a sparsity."""

    def __call__(
        self, scores: chex.ArrayTree, sparsity: Any, scope: selection.Scope, /
    ) -> chex.ArrayTree:
        """Returns a tree of integers like the scores ("tensor", "erk"), or one ("global")."""


class Penalty(Protocol):
    """What the scores add to the loss; differentiable."""

    def __call__(self, scores: chex.ArrayTree, kept: chex.ArrayTree) -> jax.Array | float:
        """Returns a scalar."""


# The default choice of what is pruned: kernels, as `kernel_axes` knows them by name.
prunable: Prunable = kernels.choice(kernels.kernel_axes)


def choose(weights: chex.ArrayTree, scores: chex.ArrayTree) -> chex.ArrayTree:
    """The weights that have scores; None in place of the others.

    Args:
        weights: Tree of arrays.
        scores: The same tree with None where a leaf is not pruned.

    Returns:
        Tree like `scores`, of weights.
    """
    return jax.tree.map(lambda w, s: None if s is None else w, weights, scores)


def merge(weights: chex.ArrayTree, chosen: chex.ArrayTree) -> chex.ArrayTree:
    """The inverse of `choose`: `weights` with the leaves that `chosen` has put back."""
    return jax.tree.map(lambda w, c: w if c is None else c, weights, chosen)


def no_state(
    key: jax.Array, weights: chex.ArrayTree, scores: chex.ArrayTree, kept: chex.ArrayTree
) -> chex.ArrayTree:
    """The `init_state` of a pruner that carries nothing from step to step."""
    del key, weights, scores, kept
    return ()


def same_after_step(
    key: jax.Array,
    step: int | jax.Array,
    weights: chex.ArrayTree,
    scores: chex.ArrayTree,
    kept: chex.ArrayTree,
    state: chex.ArrayTree,
) -> tuple[chex.ArrayTree, chex.ArrayTree, chex.ArrayTree]:
    """The `after_step` of a pruner that changes nothing between steps."""
    del key, step, kept
    return weights, scores, state


def no_penalty(scores: chex.ArrayTree, kept: chex.ArrayTree) -> float:
    """The `penalty` of a pruner that adds nothing to the loss."""
    del scores, kept
    return 0.0


def masked(weights: chex.ArrayTree, scores: chex.ArrayTree, mask: chex.ArrayTree) -> chex.ArrayTree:
    """The `apply` of a pruner that keeps weights as they are: 0 where the mask is False."""
    del scores
    return selection.apply_mask(weights, mask)


class Pruner(NamedTuple):
    """A pruning algorithm. `name` is what rows and config.json call it.

    `kernel_axes` is what it takes for kernels and their fan-in, for tables of what is pruned.
    `state` may be left out everywhere but in `after_step`; with it, work is shared between steps.
    `counts` turns a sparsity into `kept`, for one that keeps another share of some leaves.
    `learns` is false of one whose mask no step of its scores changes. `redraws` is true of one
    whose `after_step` gives pruned weights new values, which are then centres of their balls; its
    `init_state` gets the weights as the seed drew them.
    """

    name: str
    scope: selection.Scope
    init: Init
    subnetwork: Subnetwork
    mask: Mask
    apply: Apply = masked
    init_state: InitState = no_state
    after_step: AfterStep = same_after_step
    penalty: Penalty = no_penalty
    kernel_axes: kernels.KernelAxes = kernels.kernel_axes
    counts: Counts = selection.tree_kept
    learns: bool = True
    redraws: bool = False


def changes_weights(pruner: Pruner) -> bool:
    """Whether the final network's kept weights may differ from the trained ones."""
    return pruner.apply is not masked


def opposite(pruner: Pruner, scores: chex.ArrayTree, mask: chex.ArrayTree) -> chex.ArrayTree:
    """A mask with as many ones as another: where the scores are the least.

    Args:
        pruner: Whose scores they are.
        scores: Tree of arrays, None where nothing is pruned.
        mask: Tree of bool NumPy arrays like scores.

    Returns:
        Tree of bool arrays. In the scope "global" as many of all tensors together.
    """
    pruned: chex.ArrayTree = jax.tree.map(lambda m: int(m.size - m.sum()), mask)
    others = sum(jax.tree.leaves(pruned)) if pruner.scope == "global" else pruned
    found: chex.ArrayTree = jax.tree.map(lambda m: ~m, pruner.mask(scores, others, None))
    return found


def check(pruner: Pruner) -> None:
    """Refuses a pruner whose `apply` is of the contract before scores were an argument of it.

    Raises:
        ValueError: If `apply` does not take three arguments.
    """
    try:
        inspect.signature(pruner.apply).bind("weights", "scores", "mask")
    except TypeError:
        raise ValueError(
            f"pruner: apply of {pruner.name!r} must take (weights, scores, mask)."
        ) from None


def check_trees(weights: chex.ArrayTree, scores: chex.ArrayTree, mask: chex.ArrayTree) -> None:
    """Raises a ValueError if scores or masks differ from the weights in structure or shapes."""
    errors.check_tree("scores", scores, weights, gaps=True)
    errors.check_tree("mask", mask, weights, gaps=True)


def check_kept(scope: selection.Scope, scores: chex.ArrayTree, kept: chex.ArrayTree) -> None:
    """Raises a ValueError if the numbers to keep are those of the other scope."""
    if selection.is_global(kept) != (scope == "global") and not selection.is_global(scores):
        expected = "one integer" if scope == "global" else "a tree of integers like the scores"
        raise ValueError(f"expected {expected} for kept with scope {scope!r}, got {kept!r}.")
