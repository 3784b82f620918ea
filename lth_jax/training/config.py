"""How stages train: rates, schedules, epochs, and the ball; the same for all lanes of a run."""

import dataclasses
import math
import typing
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp

from lth_jax.perturb import ball

ScheduleName = Literal["cosine", "step", "constant"]
Period = Literal["step", "epoch"]
KeptSchedule = Literal["constant", "linear", "exponential"]  # See training/kept.py.

# From the fraction of a stage that is done to a factor of its rate.
SCHEDULES: dict[str, Callable[[jax.Array], jax.Array]] = {
    "cosine": lambda progress: 0.5 * (1 + jnp.cos(jnp.pi * progress)),
    "step": lambda progress: jnp.where(progress < 0.5, 1.0, 0.1),  # the paper's stage 1
    "constant": lambda progress: jnp.ones_like(progress),
}
_MOST_EPOCHS = 100_000


def _setting(default: Any, about: str) -> Any:
    """A field with its default and what it is, which a command line may show."""
    return dataclasses.field(default=default, metadata={"help": about})


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """How every stage trains. Weights are perturbed with SGD, scores are pruned with SGD.

    Raises:
        ValueError: If a value is outside its range; the message begins with the field's name.
    """

    perturb_epochs: int = _setting(2, "E: epochs of perturbing.")
    prune_epochs: int = _setting(3, "P: epochs of pruning.")
    batch_size: int = _setting(128, "Images per step.")
    last_batch: bool = _setting(False, "Also take the smaller batch that an epoch ends with.")
    microbatch: int = _setting(0, "Images per gradient, summed to a batch; 0 is the whole batch.")
    momentum: float = _setting(0.9, "Of SGD.")
    perturb_lr: float = _setting(0.01, "Learning rate of the weights.")
    perturb_decay: float = _setting(0.0, "Weight decay of the weights, toward 0.")
    perturb_schedule: ScheduleName = _setting("cosine", f"One of {', '.join(SCHEDULES)}.")
    prune_lr: float = _setting(0.1, "Learning rate of the scores.")
    prune_decay: float = _setting(1e-4, "Weight decay of the scores.")
    prune_schedule: ScheduleName = _setting("cosine", f"One of {', '.join(SCHEDULES)}.")
    kept_schedule: KeptSchedule = _setting(
        "constant", "While scores train: constant, or linear or exponential from all to the end."
    )
    schedule_per: Period = _setting("step", "Rates follow it every step, or every epoch.")
    norm: ball.Norm = _setting("linf", "Of the ball: linf, l2 (per tensor) or l2_global.")
    eps_unit: ball.Unit = _setting("absolute", "absolute, or std: of each tensor at init.")
    project_per: Period = _setting("step", "Project after every step, or every epoch.")
    shared_shift: bool = _setting(False, "random_then_prune shifts each tensor by one number.")
    shift_share: float = _setting(1.0, "Of the radius, within which random_then_prune shifts.")
    augment: bool = _setting(False, "Random crops (padding 4) and horizontal flips.")
    scale_init: bool = _setting(False, "Multiply the weights at init by 1/√(kept fraction).")
    skip_at_zero: bool = _setting(False, "At eps 0 leave out stages that move only weights.")
    curves: bool = _setting(False, "Rows also say how masks and scores changed by epoch.")

    def __post_init__(self) -> None:
        for name in ("perturb_epochs", "prune_epochs", "batch_size", "microbatch"):
            self._check(name, type(getattr(self, name)) is int, "a whole number")
        for name in ("perturb_epochs", "prune_epochs"):
            self._check(name, 0 <= getattr(self, name) <= _MOST_EPOCHS, f"in [0, {_MOST_EPOCHS}]")
        for name in ("perturb_lr", "prune_lr", "perturb_decay", "prune_decay"):
            self._check(name, 0 <= getattr(self, name) < math.inf, "finite and at least 0")
        self._check("momentum", 0 <= self.momentum < 1, "in [0, 1)")
        self._check("batch_size", self.batch_size >= 1, "at least 1")
        self._check("microbatch", self.microbatch >= 0, "at least 0")
        if self.microbatch and self.batch_size % self.microbatch:
            raise ValueError(
                f"microbatch must divide batch_size={self.batch_size}, got {self.microbatch}."
            )
        if self.microbatch and self.last_batch:
            raise ValueError("microbatch must be 0 with last_batch=true.")
        self._check("shift_share", 0 <= self.shift_share <= 1, "in [0, 1]")
        for name, known in (
            ("perturb_schedule", tuple(SCHEDULES)),
            ("prune_schedule", tuple(SCHEDULES)),
            ("kept_schedule", typing.get_args(KeptSchedule)),
            ("norm", ball.NORMS),
            ("eps_unit", ball.UNITS),
            ("project_per", typing.get_args(Period)),
            ("schedule_per", typing.get_args(Period)),
        ):
            self._check(name, getattr(self, name) in known, f"one of {', '.join(known)}")

    def steps_per_epoch(self, images: int) -> int:
        """Batches of an epoch of so many images: the smaller last one counts if it is taken."""
        return -(-images // self.batch_size) if self.last_batch else images // self.batch_size

    def _check(self, name: str, holds: bool, what: str) -> None:
        if not holds:  # A comparison with NaN is false, so that NaN is refused, too.
            raise ValueError(f"{name} must be {what}, got {getattr(self, name)!r}.")
