"""Models out of flax.linen modules."""

import dataclasses
import functools
import inspect
from typing import Any, cast

import chex
import flax.errors
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from lth_jax.models import base, convolution, linen_kernels, linen_statistics

# Arguments that tell training from evaluation, and their value in training.
SWITCHES = {
    "train": True,
    "training": True,
    "is_training": True,
    "deterministic": False,
    "use_running_average": False,
}
Example = jax.Array | npt.NDArray[np.generic] | jax.ShapeDtypeStruct


def from_flax(
    module: nn.Module,
    example: Example,
    switch: str | None = None,
    final_statistics: bool = False,
) -> base.Model:
    """Wraps a flax.linen module; its convolutions become the ones that train fast in loops.

    Args:
        module: Called as `module(x)`, with every argument of `SWITCHES` that it has.
            It may have BatchNorm and Dropout; what it draws in training comes from the key that
            the model's `apply` is given, in evaluation it must draw nothing.
        example: [b, ...] an array or jax.ShapeDtypeStruct; only its shape and dtype are used.
        switch: Name of the argument that is true in training, if it is called otherwise; for one
            that is true in evaluation, "not NAME".
        final_statistics: Whether the final network is scored with statistics of BatchNorm that are
            its own, see `Model.batch_state`; if not, with those that training left, which may be of
            other masks.

    Returns:
        A Model whose weights are the collection "params" and whose state is every other one; its
        name is the module's class, its kernels are told by the modules that they belong to.
        Its `init` raises a ValueError for a module with running statistics or Dropout and no
        switch: it would be trained in evaluation mode, they would never move and it would not drop.

    Raises:
        ValueError: If the module is none of flax.linen or has no argument of the name that `switch`
            gives, or the example has no shape and dtype; with final_statistics also if the module
            has no state or other than BatchNorm's, or draws numbers.
    """
    _check_types(module, example)
    switches = switches_of(module, switch)
    init = functools.partial(_init, module, example, switches)
    apply = _Apply(module, switches, example)
    axes = linen_kernels.axes_of(init)
    model = base.Model(init, apply, name=type(module).__name__, kernel_axes=axes)
    if not final_statistics:
        return model
    linen_statistics.check(model)
    return model._replace(batch_state=linen_statistics.of_one_batch(apply))


def _check_types(module: Any, example: Any) -> None:
    """Refuses what flax would fail on much later, in words of its own."""
    if not isinstance(module, nn.Module):
        got = f"the class {module.__name__}" if isinstance(module, type) else type(module).__name__
        raise ValueError(f"module must be a flax.linen module, as Net() is, got {got}.")
    if not (hasattr(example, "shape") and hasattr(example, "dtype")):
        raise ValueError(f"example must be an array or a jax.ShapeDtypeStruct, got {example!r}.")


def switches_of(module: Any, switch: str | None) -> dict[str, bool]:
    """The arguments that tell training from evaluation, and their value in training.

    Raises:
        ValueError: If the module has no argument of the name that `switch` gives.
    """
    arguments = inspect.signature(type(module).__call__).parameters
    if switch is None:
        return {name: value for name, value in SWITCHES.items() if name in arguments}
    name = switch.removeprefix("not ")
    if name not in arguments:
        raise ValueError(f"switch: {type(module).__name__} has no argument {name!r}.")
    return {name: name == switch}


def _init(
    module: nn.Module, example: Example, switches: dict[str, bool], key: jax.Array
) -> tuple[chex.ArrayTree, chex.ArrayTree]:
    """Weights and state of a module."""
    extra: dict[str, Any] = {name: not value for name, value in switches.items()}
    has_dropout = False

    def look(call: Any, args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
        nonlocal has_dropout
        has_dropout |= isinstance(context.module, nn.Dropout) and context.module.rate > 0
        return call(*args, **kwargs)

    with nn.intercept_methods(look):
        state: dict[str, Any] = dict(
            module.init(key, jnp.zeros(example.shape, example.dtype), **extra)
        )
    if ("batch_stats" in state or has_dropout) and not switches:
        what = "running statistics" if "batch_stats" in state else "Dropout"
        raise ValueError(
            f"{type(module).__name__}: it has {what}, but none of the arguments "
            f"{', '.join(SWITCHES)}; name the one it has with switch=."
        )
    return state.pop("params", {}), state


@dataclasses.dataclass(frozen=True, eq=False)
class _Apply:
    """The `apply` of a module; it takes a key if the module draws in training."""

    module: nn.Module
    switches: dict[str, bool]
    example: Example

    def __call__(
        self,
        weights: chex.ArrayTree,
        state: chex.ArrayTree,
        x: jax.Array,
        train: bool = False,
        key: jax.Array | None = None,
    ) -> tuple[jax.Array, chex.ArrayTree]:
        extra: dict[str, Any] = {name: value == train for name, value in self.switches.items()}
        if train and key is not None:
            # A stream of another name than dropout is taken from "params" by flax.
            extra["rngs"] = {"dropout": key, "params": jax.random.fold_in(key, 0)}
        variables = {"params": weights, **state}
        try:
            with convolution.fast_convolutions():
                if train and state:
                    logits, after = self.module.apply(variables, x, mutable=list(state), **extra)
                    return cast(jax.Array, logits), dict(after)
                logits = self.module.apply(variables, x, **extra)
                return cast(jax.Array, logits), state
        except flax.errors.InvalidRngError as error:
            raise self._no_key(train) from error

    def draws(self) -> bool:
        """Whether the module draws random numbers in training."""
        return self._draws

    @functools.cached_property
    def _draws(self) -> bool:
        def train(x: jax.Array) -> Any:
            weights, state = _init(self.module, self.example, self.switches, jax.random.key(0))
            return self(weights, state, x, train=True)

        try:
            jax.eval_shape(train, jax.ShapeDtypeStruct(self.example.shape, self.example.dtype))
        except _NoKeyError:
            return True
        return False

    def _no_key(self, train: bool) -> "_NoKeyError":
        name = type(self.module).__name__
        if train:
            return _NoKeyError(f"{name} draws random numbers in training: apply needs key=.")
        return _NoKeyError(
            f"{name} draws random numbers in evaluation, too: it needs one of the arguments "
            f"{', '.join(SWITCHES)}, or switch=."
        )


class _NoKeyError(ValueError):
    """Random numbers are drawn where there is no key."""
