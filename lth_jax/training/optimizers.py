"""The optimizers of a stage: SGD with momentum, and for the weights the ball as its last link."""

import jax
import jax.numpy as jnp
import optax

from lth_jax.perturb import ball
from lth_jax.training import config as train_config
from lth_jax.training import methods


def optimizers(
    config: train_config.TrainConfig,
    kind: methods.StageKind,
    eps: jax.Array,
    total: int | jax.Array,
    steps_per_epoch: int,
) -> dict[methods.Part, optax.GradientTransformation]:
    """The optimizers of a stage, by what it moves.

    Weight decay is torch's: added to the gradient, toward 0, before momentum and projection.

    Args:
        config: Rates, schedules and the ball's norm and unit.
        kind: Of the stage.
        eps: [] radius, may be traced.
        total: [] steps of the whole stage, may be traced.
        steps_per_epoch: Batches of an epoch.

    Returns:
        Transformations for "weights" and "scores", as far as the kind moves them.
    """

    def sgd(
        lr: float, decay: float, schedule: train_config.ScheduleName
    ) -> list[optax.GradientTransformation]:
        def rate(step: jax.Array) -> jax.Array:
            if config.schedule_per == "epoch":
                step = step // steps_per_epoch * steps_per_epoch
            return lr * train_config.SCHEDULES[schedule](step / jnp.maximum(total, 1))

        decays = [optax.add_decayed_weights(decay)] if decay else []
        return [*decays, optax.sgd(rate, config.momentum or None)]

    # Once per epoch the stage itself projects: no step from far outside ends inside exactly.
    fenced = kind.in_ball and config.project_per == "step"
    fences = [ball.keep_in_ball(eps, config.norm, config.eps_unit)] if fenced else []
    perturb = sgd(config.perturb_lr, config.perturb_decay, config.perturb_schedule)
    prune = sgd(config.prune_lr, config.prune_decay, config.prune_schedule)
    both: dict[methods.Part, optax.GradientTransformation] = {
        "weights": optax.chain(*perturb, *fences),
        "scores": optax.chain(*prune),
    }
    return {name: both[name] for name in kind.moves}
