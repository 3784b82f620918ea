"""What a saliency needs of a network: any `lth_jax.Model` has it."""

from typing import NamedTuple, Protocol

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax

from lth_jax import numerics


class Model(Protocol):
    """A network as pure functions, as models.Model is."""

    @property
    def init(self) -> "Init":
        """(key) -> (weights, state)."""

    @property
    def apply(self) -> "Apply":
        """(weights, state, x, train) -> (outputs, state)."""


class Init(Protocol):
    """Draws weights; only the state beside them is used."""

    def __call__(self, key: jax.Array, /) -> tuple[chex.ArrayTree, chex.ArrayTree]:
        """Returns (weights, state)."""


class Apply(Protocol):
    """Runs the network."""

    def __call__(
        self, weights: chex.ArrayTree, state: chex.ArrayTree, x: jax.Array, /, *, train: bool
    ) -> tuple[jax.Array, chex.ArrayTree]:
        """Returns (outputs, state)."""


class Batch(NamedTuple):
    """Inputs as the network takes them, normalized, and classes."""

    images: np.ndarray | jax.Array  # [b, ...] float
    labels: np.ndarray | jax.Array  # [b] integers


def state_of(model: Model) -> chex.ArrayTree:
    """The model's state at the beginning, which does not depend on the key as a rule."""
    return model.init(numerics.key(0))[1]


def loss(
    model: Model, weights: chex.ArrayTree, batch: Batch, temperature: float = 1.0
) -> jax.Array:
    """The mean cross-entropy of a batch, in training mode, as it is at initialization.

    Args:
        model: A model without random numbers in training.
        weights: Its weights.
        batch: Inputs and classes.
        temperature: What logits are divided by.

    Returns:
        [] float.
    """
    logits, _ = model.apply(weights, state_of(model), jnp.asarray(batch.images), train=True)
    labels = jnp.asarray(batch.labels)
    losses = optax.losses.softmax_cross_entropy_with_integer_labels(logits / temperature, labels)
    return jnp.mean(losses)
