"""A model is a pair of pure functions; `from_flax` makes one of any flax.linen module."""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from lth_jax.models import convolution

PyTree = Any


class Model(NamedTuple):
    """A network as pure functions.

    `state` holds what is neither trained nor pruned ({} without BatchNorm): training steps return
    it changed, nothing masks, decays or projects it.
    """

    init: Callable[[jax.Array], tuple[PyTree, PyTree]]  # key -> (weights, state)
    apply: Callable[..., tuple[jax.Array, PyTree]]  # (weights, state, x, train) -> (logits, state)


def from_flax(module: nn.Module, example: jax.Array | jax.ShapeDtypeStruct) -> Model:
    """Wraps a flax.linen module; its convolutions become the ones that train fast in loops.

    Args:
        module: Called as `module(x)`, or `module(x, train=...)` if it has such an argument.
            It may have BatchNorm, but nothing stochastic such as Dropout: there is no key for it.
        example: [b, ...] an array or jax.ShapeDtypeStruct; only its shape and dtype are used.

    Returns:
        A Model whose weights are the collection "params" and whose state is every other one.
    """
    takes_train = "train" in inspect.signature(type(module).__call__).parameters

    def init(key):
        extra = {"train": False} if takes_train else {}
        x = jnp.zeros(example.shape, example.dtype)
        state = dict(module.init(key, x, **extra))
        return state.pop("params"), state

    def apply(weights, state, x, train=False):
        extra = {"train": train} if takes_train else {}
        with convolution.fast_convolutions():
            if train and state:
                logits, state = module.apply(
                    {"params": weights, **state}, x, mutable=list(state), **extra
                )
                return logits, dict(state)
            return module.apply({"params": weights, **state}, x, **extra), state

    return Model(init, apply)
