"""What a model is: two pure functions of its weights and its other state."""

from typing import NamedTuple, Protocol

import chex
import jax

from lth_jax.pruners import kernels


class Init(Protocol):
    """Draws a model's weights, and the state that goes with them."""

    def __call__(self, key: jax.Array) -> tuple[chex.ArrayTree, chex.ArrayTree]:
        """Returns (weights, state)."""


class Apply(Protocol):
    """Maps inputs [b, ...] to logits [b, classes], and the state to the state afterwards."""

    def __call__(
        self, weights: chex.ArrayTree, state: chex.ArrayTree, x: jax.Array, train: bool = False
    ) -> tuple[jax.Array, chex.ArrayTree]:
        """Returns (logits, state)."""


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
    are kernels, and over which axes each one sums; the default goes by names.
    """

    init: Init
    apply: Apply
    architecture: Architecture | None = None
    name: str = "own"
    kernel_axes: kernels.KernelAxes = kernels.kernel_axes
