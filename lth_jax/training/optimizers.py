"""The optimizers of a stage: by name or of one's own, and for the weights the ball as last link."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax

from lth_jax.perturb import ball
from lth_jax.training import config as train_config
from lth_jax.training import methods

Rate = Callable[[jax.Array], jax.Array]  # from a step to a learning rate
_Links = Sequence[optax.GradientTransformation]


def _with_decay_in_gradient(decay: float, optimizer: optax.GradientTransformation) -> _Links:
    """As torch's SGD and Adam have it: toward 0, before momentum and moments."""
    return [*([optax.add_decayed_weights(decay)] if decay else []), optimizer]


# From a rate, the momentum of SGD and a weight decay to the links of a chain.
_NAMED: dict[train_config.OptimizerName, Callable[[Rate, float, float], _Links]] = {
    "sgd": lambda rate, momentum, decay: _with_decay_in_gradient(
        decay, optax.sgd(rate, momentum or None)
    ),
    "adam": lambda rate, momentum, decay: _with_decay_in_gradient(decay, optax.adam(rate)),
    "adamw": lambda rate, momentum, decay: [optax.adamw(rate, weight_decay=decay)],
    "lion": lambda rate, momentum, decay: [optax.lion(rate, weight_decay=decay)],
}


class Optimizer(NamedTuple):
    """The links of a chain, and the ball behind them where there is one."""

    links: _Links
    ball: optax.GradientTransformation | None

    def init(self, moving: chex.ArrayTree, center: chex.ArrayTree) -> chex.ArrayTree:
        """The state at the first step.

        Args:
            moving: What moves, where the stage begins.
            center: Of the ball: w_0, wherever that is.
        """
        states = tuple(link.init(moving) for link in self.links)
        return states if self.ball is None else (*states, self.ball.init(center))

    def update(
        self, gradients: chex.ArrayTree, state: chex.ArrayTree, moving: chex.ArrayTree
    ) -> tuple[chex.ArrayTree, chex.ArrayTree]:
        """The updates and the next state."""
        chain = optax.chain(*self.links, *([] if self.ball is None else [self.ball]))
        updates, state = chain.update(gradients, state, moving)
        return updates, state


def optimizers(
    config: train_config.TrainConfig,
    kind: methods.StageKind,
    eps: jax.Array,
    key: Callable[[], jax.Array],
    total: int | jax.Array,
    steps_per_epoch: int,
) -> dict[methods.Part, Optimizer]:
    """The optimizers of a stage, by what it moves.

    Args:
        config: Optimizers, rates, schedules and the ball's norm and unit.
        kind: Of the stage.
        eps: [] radius, may be traced.
        key: Gives a typed key of the lane, for optimizers of one's own that take one.
        total: [] steps of the whole stage, may be traced.
        steps_per_epoch: Batches of an epoch.

    Returns:
        Optimizers for "weights" and "scores", as far as the kind moves them.

    Raises:
        ValueError: If a function of one's own gives something else than it has to.
    """

    def links(part: str, number: int) -> _Links:
        chosen = getattr(config, f"{part}_optimizer")
        rate = _rate(config, part, total, steps_per_epoch)
        if not callable(chosen):
            return _NAMED[chosen](rate, config.momentum, getattr(config, f"{part}_decay"))
        keys = {"key": jax.random.fold_in(key(), number)} if _takes_key(chosen) else {}
        made = chosen(rate, **keys)
        if not isinstance(made, optax.GradientTransformation):
            raise ValueError(
                f"{part}_optimizer must give an optax.GradientTransformation, got "
                f"{type(made).__name__}."
            )
        return [made]

    # Once per epoch the stage itself projects: no step from far outside ends inside exactly.
    fenced = kind.in_ball and config.project_per == "step"
    fence = ball.keep_in_ball(eps, config.norm, config.eps_unit) if fenced else None
    both: dict[methods.Part, Optimizer] = {}
    if "weights" in kind.moves:
        both["weights"] = Optimizer(links("perturb", 0), fence)
    if "scores" in kind.moves:
        both["scores"] = Optimizer(links("prune", 1), None)
    return both


def _rate(
    config: train_config.TrainConfig, part: str, total: int | jax.Array, steps_per_epoch: int
) -> Rate:
    """The learning rate by step."""
    lr, chosen = getattr(config, f"{part}_lr"), getattr(config, f"{part}_schedule")
    schedule = chosen if callable(chosen) else train_config.SCHEDULES[chosen]

    def rate(step: jax.Array) -> jax.Array:
        if config.schedule_per == "epoch":
            step = step // steps_per_epoch * steps_per_epoch
        factor = schedule(step / jnp.maximum(total, 1))
        if np.shape(factor) != ():
            raise ValueError(f"{part}_schedule must give a number, got shape {np.shape(factor)}.")
        changed: jax.Array = lr * factor
        return changed

    return rate


def _takes_key(function: Callable[..., Any]) -> bool:
    """Whether a function has an argument called key; some callables do not say what they have."""
    try:
        return "key" in inspect.signature(function).parameters
    except (TypeError, ValueError):
        return False
