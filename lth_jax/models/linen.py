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

# Arguments that tell training from evaluation, and their value in training.
SWITCHES = {
    "train": True,
    "training": True,
    "is_training": True,
    "deterministic": False,
    "use_running_average": False,
}


def from_flax(
    module: nn.Module,
    example: jax.Array | npt.NDArray[np.generic] | jax.ShapeDtypeStruct,
    switch: str | None = None,
) -> base.Model:
    """Wraps a flax.linen module; its convolutions become the ones that train fast in loops.

    Args:
        module: Called as `module(x)`, with every argument of `SWITCHES` that it has.
            It may have BatchNorm, but nothing stochastic such as Dropout: there is no key for it.
        example: [b, ...] an array or jax.ShapeDtypeStruct; only its shape and dtype are used.
        switch: Name of the argument that is true in training, if it is called otherwise; for one
            that is true in evaluation, "not NAME".

    Returns:
        A Model whose weights are the collection "params" and whose state is every other one; its
        name is the module's class, its kernels are told by the modules that they belong to.
        Its `init` raises a ValueError for a module with running statistics and no switch: it would
        be trained in evaluation mode, and they would never move.

    Raises:
        ValueError: If the module has no argument of the name that `switch` gives.
    """
    switches = _switches(module, switch)

    def init(key: jax.Array) -> tuple[chex.ArrayTree, chex.ArrayTree]:
        extra: dict[str, Any] = {name: not value for name, value in switches.items()}
        x = jnp.zeros(example.shape, example.dtype)
        state: dict[str, Any] = dict(module.init(key, x, **extra))
        if "batch_stats" in state and not switches:
            raise ValueError(
                f"{type(module).__name__}: it has running statistics, but none of the arguments "
                f"{', '.join(SWITCHES)}; name the one it has with switch=."
            )
        return state.pop("params", {}), state

    def apply(
        weights: chex.ArrayTree, state: chex.ArrayTree, x: jax.Array, train: bool = False
    ) -> tuple[jax.Array, chex.ArrayTree]:
        extra: dict[str, Any] = {name: value == train for name, value in switches.items()}
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


def _switches(module: nn.Module, switch: str | None) -> dict[str, bool]:
    """The arguments that tell training from evaluation, and their value in training."""
    arguments = inspect.signature(type(module).__call__).parameters
    if switch is None:
        return {name: value for name, value in SWITCHES.items() if name in arguments}
    name = switch.removeprefix("not ")
    if name not in arguments:
        raise ValueError(f"switch: {type(module).__name__} has no argument {name!r}.")
    return {name: name == switch}
