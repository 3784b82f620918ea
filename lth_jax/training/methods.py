"""The methods that are compared, as lists of stages, and the recipe by which stages train.

Sources: the paper's algorithm 1 and its tables 1 to 3 (arXiv 2210.16589); `joint` is ours.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from lth_jax.perturb import ball


class Stage(NamedTuple):
    """One leg of a method; it lasts the perturb epochs, the prune epochs, both or neither."""

    kind: str  # one of MOVES
    perturb_epochs: bool
    prune_epochs: bool


# What each kind of stage trains. "randomize" has no steps: it starts at a random point of the ball.
MOVES = {
    "randomize": (),
    "perturb": ("weights",),  # through the all-ones mask
    "prune": ("scores",),
    "perturb_masked": ("weights",),  # through the fixed mask of the scores
    "joint": ("weights", "scores"),
}
IN_BALL = ("randomize", "perturb", "perturb_masked", "joint")
MASKED = ("prune", "perturb_masked", "joint")
METHODS = {
    "prune": (Stage("prune", False, True),),
    "prune_longer": (Stage("prune", True, True),),
    "perturb_then_prune": (Stage("perturb", True, False), Stage("prune", False, True)),
    "random_then_prune": (Stage("randomize", False, False), Stage("prune", False, True)),
    "prune_then_perturb": (Stage("prune", False, True), Stage("perturb_masked", True, False)),
    "joint": (Stage("joint", True, True),),
    "random_mask_then_perturb": (Stage("perturb_masked", True, True),),
    "dense": (Stage("perturb", True, True),),
}


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How every stage trains: static, the same for all lanes of a run."""

    perturb_epochs: int = 2
    prune_epochs: int = 3
    batch_size: int = 128
    microbatch: int = 0  # images per gradient, 0 for the whole batch; changes memory, not the sum
    momentum: float = 0.9
    perturb_lr: float = 0.01
    perturb_decay: float = 0.0
    perturb_schedule: str = "cosine"
    prune_lr: float = 0.1
    prune_decay: float = 1e-4
    prune_schedule: str = "cosine"
    norm: str = "linf"
    unit: str = "absolute"
    project_per: str = "step"  # or "epoch", as in the published code
    shared_shift: bool = False  # one random shift per tensor, as in the published code
    augment: bool = False
    scale_init: bool = False  # prunable weights at init times 1/√(kept fraction)

    def __post_init__(self):
        for name in ("perturb_epochs", "prune_epochs", "microbatch"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}.")
        for name in ("perturb_lr", "prune_lr", "perturb_decay", "prune_decay"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}.")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum must lie in [0, 1), got {self.momentum}.")
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {self.batch_size}.")
        if self.microbatch and self.batch_size % self.microbatch:
            raise ValueError(
                f"microbatch must divide batch_size={self.batch_size}, got {self.microbatch}."
            )
        for name, known in (
            ("perturb_schedule", SCHEDULES),
            ("prune_schedule", SCHEDULES),
            ("norm", ball.NORMS),
            ("unit", ball.UNITS),
            ("project_per", ("step", "epoch")),
        ):
            if getattr(self, name) not in known:
                raise ValueError(
                    f"{name} must be one of {', '.join(known)}, got {getattr(self, name)!r}."
                )

    def epochs(self, stage: Stage) -> int:
        """Number of epochs that a stage lasts."""
        return self.perturb_epochs * stage.perturb_epochs + self.prune_epochs * stage.prune_epochs


SCHEDULES = {
    "cosine": lambda progress: 0.5 * (1 + jnp.cos(jnp.pi * progress)),
    "step": lambda progress: jnp.where(progress < 0.5, 1.0, 0.1),  # the paper's stage 1
    "constant": lambda progress: jnp.ones_like(progress),
}


def optimizers(
    recipe: Recipe, kind: str, eps: jax.Array, total: jax.Array
) -> dict[str, optax.GradientTransformation]:
    """The optimizers of a stage, by what it moves: SGD, and for weights the ball after it.

    Weight decay is torch's: added to the gradient, toward 0, before momentum and projection.

    Args:
        recipe: Rates, schedules and the ball's norm and unit.
        kind: One of MOVES.
        eps: [] radius, may be traced.
        total: [] steps of the whole stage, may be traced.

    Returns:
        Transformations for "weights" and "scores", as far as the kind moves them.
    """

    def sgd(lr, decay, schedule):
        def rate(step):
            return lr * SCHEDULES[schedule](step / jnp.maximum(total, 1))

        decays = [optax.add_decayed_weights(decay)] if decay else []
        return [*decays, optax.sgd(rate, recipe.momentum or None)]

    # Once per epoch the stage itself projects: no step from far outside ends inside exactly.
    fences = [ball.keep_in_ball(eps, recipe.norm, recipe.unit)]
    fences = fences if recipe.project_per == "step" else []
    perturb = sgd(recipe.perturb_lr, recipe.perturb_decay, recipe.perturb_schedule)
    prune = sgd(recipe.prune_lr, recipe.prune_decay, recipe.prune_schedule)
    both = {"weights": optax.chain(*perturb, *fences), "scores": optax.chain(*prune)}
    return {name: both[name] for name in MOVES[kind]}
