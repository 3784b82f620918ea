"""Bias-free ReLU networks of dense layers: LeNet-300-100, and the paper's redundant blocks."""

import math
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from lth_jax.models import initializers


class MLP(nn.Module):
    """Dense layers with ReLU between them and no biases; LeNet-300-100 is `(300, 100, 10)`.

    Attributes:
        widths: Units of each layer, the last one the number of classes.
        kernel_init: Initializer of every kernel.
    """

    widths: Sequence[int]
    kernel_init: jax.nn.initializers.Initializer = initializers.kaiming_normal

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [b, ...] inputs to [b, classes] logits."""
        x = x.reshape(len(x), -1)
        for width in self.widths[:-1]:
            x = nn.relu(nn.Dense(width, use_bias=False, kernel_init=self.kernel_init)(x))
        return nn.Dense(self.widths[-1], use_bias=False, kernel_init=self.kernel_init)(x)


class RedundantBlock(nn.Module):
    """A layer as in the paper's construction: r scaled copies of each input, ReLU, dense."""

    width: int
    copies: int
    kernel_init: jax.nn.initializers.Initializer

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [b, in] to [b, width]; `weight1` is [r, in], `weight2` is [r*in, width]."""
        weight1 = self.param("weight1", self.kernel_init, (self.copies, x.shape[-1]))
        hidden = nn.relu(x[:, None, :] * weight1[None])
        size = self.copies * x.shape[-1]
        weight2 = self.param("weight2", self.kernel_init, (size, self.width))
        return jnp.reshape(hidden, (len(x), size)) @ weight2


class AssignedBlock(nn.Module):
    """A layer of the construction where each input has as many copies as it was given.

    Attributes:
        width: Outputs.
        units: Copies of each input, [in].
        kernel_init: Initializer of every weight.
    """

    width: int
    units: Sequence[int]
    kernel_init: jax.nn.initializers.Initializer

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [b, in] to [b, width]; `weight1` is [units in all], `weight2` [same, width]."""
        inputs = np.repeat(np.arange(len(self.units)), self.units)  # Whose copy each unit is.
        weight1 = self.param("weight1", self.kernel_init, inputs.shape)
        hidden = nn.relu(x[:, inputs] * weight1[None])
        return hidden @ self.param("weight2", self.kernel_init, (len(inputs), self.width))


class RedundantMLP(nn.Module):
    """The net behind the paper's tables 1 to 3: `(500, 500, 500, 10)`, r = 5, U[-1/2, 1/2].

    Attributes:
        widths: Units of each block.
        copies: r, how often each input is repeated.
        kernel_init: Initializer of every weight.
    """

    widths: Sequence[int]
    copies: int = 5
    kernel_init: jax.nn.initializers.Initializer = initializers.uniform

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [b, ...] inputs to [b, classes] logits."""
        x = x.reshape(len(x), -1)
        for index, width in enumerate(self.widths):
            x = RedundantBlock(width, self.copies, self.kernel_init)(x)
            x = nn.relu(x) if index < len(self.widths) - 1 else x
        return x


def redundant_score_bound(path: tuple[Any, ...], leaf: jax.Array, copies: int = 5) -> float:
    """Bound of edge-popup's initial scores in the paper: √2 for weight1, √(2/in) for weight2.

    Args:
        path: Of the leaf, ending in its name.
        leaf: [r, in] or [r*in, out].
        copies: r.

    Returns:
        b, for scores from U(-b, b).
    """
    if path[-1].key == "weight1":
        return math.sqrt(2)
    return math.sqrt(2 * copies / leaf.shape[0])
