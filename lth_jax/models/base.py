"""What a model is: two pure functions of its weights and its other state."""

import inspect
from typing import Any, NamedTuple, Protocol

import chex
import jax

from lth_jax.pruners import kernels


class Init(Protocol):
    """Draws a model's weights, and the state that goes with them."""

    def __call__(self, key: jax.Array) -> tuple[chex.ArrayTree, chex.ArrayTree]:
        """Returns (weights, state)."""


class Apply(Protocol):
    """Maps inputs [b, ...] to logits [b, classes], and the state to the state afterwards.

    One that draws random numbers in training, such as for Dropout, has an argument `key`: a typed
    key in training, None in evaluation, which draws nothing. Others need none.
    """

    def __call__(
        self,
        weights: chex.ArrayTree,
        state: chex.ArrayTree,
        x: jax.Array,
        train: bool = False,
        *more: Any,  # So that functions with and without a key are of this type.
        **named: Any,
    ) -> tuple[jax.Array, chex.ArrayTree]:
        """Returns (logits, state)."""


class BatchState(Protocol):
    """Maps weights and training inputs [b, ...] to the state that they alone give."""

    def __call__(
        self, weights: chex.ArrayTree, state: chex.ArrayTree, x: jax.Array
    ) -> chex.ArrayTree:
        """Returns floats like `state`, such as the batch's means and variances."""


class Architecture(NamedTuple):
    """What `build_model` was asked for; it suffices to build the model again.

    shape: Of one input, (h, w, c). classes: Number of outputs. init: Name of the initializer.
    width: Factor of the hidden units or channels.
    """

    name: str
    shape: tuple[int, ...]
    classes: int
    init: str
    width: float


class Model(NamedTuple):
    """A network as pure functions.

    `state` holds what is neither trained nor pruned ({} without BatchNorm): training steps return
    it changed; nothing masks, decays or projects it. `architecture` is None for a model of your
    own, which goes by its `name` in rows and tables. `kernel_axes` says which leaves of the weights
    are kernels, and over which axes each one sums; the default goes by names. With `batch_state`
    the final network is scored with a state of its own: the mean over batches of training inputs;
    without it, with the state that the last training step left.
    """

    init: Init
    apply: Apply
    architecture: Architecture | None = None
    name: str = "own"
    kernel_axes: kernels.KernelAxes = kernels.kernel_axes
    batch_state: BatchState | None = None


def takes_key(apply: Apply) -> bool:
    """Whether a model's `apply` is to be given a key in training.

    Args:
        apply: Of a Model.

    Returns:
        What its attribute `draws` says, a function without arguments, as wrapped modules have it;
        else whether it has an argument `key`.
    """
    draws = getattr(apply, "draws", None)
    if draws is not None:
        return bool(draws())
    try:
        return "key" in inspect.signature(apply).parameters
    except (TypeError, ValueError):  # It is written in another language.
        return False


def in_training(
    model: Model,
    weights: chex.ArrayTree,
    state: chex.ArrayTree,
    x: jax.Array,
    key: jax.Array | None,
) -> tuple[jax.Array, chex.ArrayTree]:
    """Applies a model as a training step does.

    Args:
        model: The model.
        weights: Tree of its (pruned) weights.
        state: Its other state.
        x: [b, ...] inputs.
        key: Typed key; None for a model that takes none.

    Returns:
        Logits [b, classes], and the state afterwards.
    """
    if key is None:
        return model.apply(weights, state, x, train=True)
    return model.apply(weights, state, x, train=True, key=key)


def in_evaluation(
    model: Model, weights: chex.ArrayTree, state: chex.ArrayTree, x: jax.Array
) -> jax.Array:
    """Logits [b, classes] of a model that draws nothing and changes nothing."""
    if takes_key(model.apply):
        return model.apply(weights, state, x, train=False, key=None)[0]
    return model.apply(weights, state, x, train=False)[0]
