"""The statistics that BatchNorm takes of one batch, in any flax.linen network."""

from typing import Any

import chex
import flax.linen as nn
import jax

from lth_jax.models import base

_COLLECTION = "batch_stats"


def of_one_batch(apply: base.Apply) -> base.BatchState:
    """A network's `batch_state`, see Model: its running statistics, had they no past.

    Args:
        apply: Of a Model that calls a linen module, draws nothing, and has state that `check`
            does not refuse.
    """

    def batch_state(weights: chex.ArrayTree, state: chex.ArrayTree, x: jax.Array) -> chex.ArrayTree:
        with nn.intercept_methods(_forget):
            return apply(weights, state, x, train=True)[1]

    return batch_state


def check(model: base.Model) -> None:
    """Refuses a network for which `of_one_batch` is not enough; traces its init.

    Raises:
        ValueError: If it has other state than statistics, or none, or draws random numbers.
    """
    _, state = jax.eval_shape(lambda: model.init(jax.random.key(0)))
    if set(state) != {_COLLECTION}:
        raise ValueError(
            f"final_statistics: {model.name} must have state in {_COLLECTION!r} alone, got "
            f"{', '.join(map(repr, state)) or 'none'}."
        )
    if base.takes_key(model.apply):
        raise ValueError(f"final_statistics: {model.name} draws random numbers in training.")


def _forget(call: Any, args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
    """Calls a BatchNorm with a momentum of 0, which leaves nothing of the statistics before."""
    module = context.module
    if not isinstance(module, nn.BatchNorm) or context.method_name != "__call__":
        return call(*args, **kwargs)
    momentum = module.momentum
    # Bound modules are frozen; the field is put back, so the user's module is left as it was.
    object.__setattr__(module, "momentum", 0.0)
    try:
        return call(*args, **kwargs)
    finally:
        object.__setattr__(module, "momentum", momentum)
