"""Models out of flax.linen modules."""

import inspect
from typing import Any, cast

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from lth_jax.models import base, convolution, linen_kernels


def from_flax(
    module: nn.Module, example: jax.Array | npt.NDArray[np.generic] | jax.ShapeDtypeStruct
) -> base.Model:
    """Wraps a flax.linen module; its convolutions become the ones that train fast in loops.

    Args:
        module: Called as `module(x)`, or `module(x, train=...)` if it has such an argument.
            It may have BatchNorm, but nothing stochastic such as Dropout: there is no key for it.
        example: [b, ...] an array or jax.ShapeDtypeStruct; only its shape and dtype are used.

    Returns:
        A Model whose weights are the collection "params" and whose state is every other one; its
        name is the module's class, its kernels are told by the modules that they belong to.
    """
    takes_train = "train" in inspect.signature(type(module).__call__).parameters

    def init(key: jax.Array) -> tuple[chex.ArrayTree, chex.ArrayTree]:
        extra: dict[str, Any] = {"train": False} if takes_train else {}
        x = jnp.zeros(example.shape, example.dtype)
        state: dict[str, Any] = dict(module.init(key, x, **extra))
        return state.pop("params"), state

    def apply(
        weights: chex.ArrayTree, state: chex.ArrayTree, x: jax.Array, train: bool = False
    ) -> tuple[jax.Array, chex.ArrayTree]:
        extra: dict[str, Any] = {"train": train} if takes_train else {}
        with convolution.fast_convolutions():
            if train and state:
                logits, state = module.apply(
                    {"params": weights, **state}, x, mutable=list(state), **extra
                )
                return cast(jax.Array, logits), dict(state)
            logits = module.apply({"params": weights, **state}, x, **extra)
            return cast(jax.Array, logits), state

    axes = linen_kernels.axes_of(init)
    return base.Model(init, apply, name=type(module).__name__, kernel_axes=axes)
