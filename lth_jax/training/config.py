"""How stages train: optimizers, rates, epochs, and the ball; the same for all lanes of a run."""

import dataclasses
import functools
import sys
import typing
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp

from lth_jax import numerics
from lth_jax.perturb import ball

OptimizerName = Literal["sgd", "adam", "adamw", "lion"]
OPTIMIZERS: tuple[OptimizerName, ...] = typing.get_args(OptimizerName)
# From the learning rate, a function of the step, to an optax.GradientTransformation.
Optimizer = Callable[..., Any]
ScheduleName = Literal["cosine", "linear", "step", "constant"]
# From the fraction of a stage that is done to a factor of its rate.
Schedule = Callable[[jax.Array], jax.Array]
Period = Literal["step", "epoch"]
KeptSchedule = Literal["constant", "linear", "exponential"]  # See training/kept.py.
KEPT_SCHEDULES: tuple[KeptSchedule, ...] = typing.get_args(KeptSchedule)

SCHEDULES: dict[str, Schedule] = {
    "cosine": lambda progress: 0.5 * (1 + jnp.cos(jnp.pi * progress)),
    "linear": lambda progress: 1 - progress,
    "step": lambda progress: jnp.where(progress < 0.5, 1.0, 0.1),  # the paper's stage 1
    "constant": lambda progress: jnp.ones_like(progress),
}
_MOST_EPOCHS = 100_000
_ON_CPU = 16  # Images whose intermediate results a core's cache holds; an accelerator wants all.
# Fields that are a name of these or a function.
_OR_A_FUNCTION: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("perturb_optimizer", "prune_optimizer"), OPTIMIZERS),
    **dict.fromkeys(("perturb_schedule", "prune_schedule"), tuple(SCHEDULES)),
}


def _setting(default: Any, about: str) -> Any:
    """A field with its default and what it is, which a command line may show."""
    return dataclasses.field(default=default, metadata={"help": about})


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """How every stage trains: weights are perturbed and scores are pruned, with SGD by default.

    An optimizer of your own is a function that gets the learning rate, itself a function of the
    step, and gives an optax.GradientTransformation, as optax.adam does. If one of its arguments is
    called `key` it also gets a typed key of the lane's seed, as optax.noisy_sgd does. Its decay and
    momentum are its own: those of the config are not used. The ball comes behind whatever it does.

    A schedule of your own is a function from the fraction of the stage that is done, in [0, 1), to
    a factor of the rate.

    Raises:
        ValueError: If a value is outside its range; the message begins with the field's name.
    """

    perturb_epochs: int = _setting(2, "E: epochs of perturbing.")
    prune_epochs: int = _setting(3, "P: epochs of pruning.")
    batch_size: int = _setting(128, "Images per step.")
    last_batch: bool = _setting(False, "Also take the smaller batch that an epoch ends with.")
    microbatch: int = _setting(
        0,
        "Images per gradient, summed to a batch; 0 is the whole batch, -1 is chosen by the "
        f"platform: {_ON_CPU} on a CPU, else the whole batch.",
    )
    momentum: float = _setting(0.9, "Of sgd.")
    perturb_optimizer: OptimizerName | Optimizer = _setting(
        "sgd", f"Of the weights: one of {', '.join(OPTIMIZERS)}."
    )
    perturb_lr: float = _setting(0.01, "Learning rate of the weights.")
    perturb_decay: float = _setting(
        0.0,
        "Weight decay of the weights, toward 0; sgd and adam add it to the gradient, adamw and "
        "lion have it apart.",
    )
    perturb_schedule: ScheduleName | Schedule = _setting(
        "cosine", f"One of {', '.join(SCHEDULES)}."
    )
    prune_optimizer: OptimizerName | Optimizer = _setting(
        "sgd", f"Of the scores: one of {', '.join(OPTIMIZERS)}."
    )
    prune_lr: float = _setting(0.1, "Learning rate of the scores.")
    prune_decay: float = _setting(1e-4, "Weight decay of the scores.")
    prune_schedule: ScheduleName | Schedule = _setting("cosine", f"One of {', '.join(SCHEDULES)}.")
    kept_schedule: KeptSchedule = _setting(
        "constant", "While scores train: constant, or linear or exponential from all to the end."
    )
    floor: float = _setting(
        0.0,
        "Of scope global: each tensor keeps at least this share of what it would keep if all were "
        "pruned alike, and one weight; 0 is no floor.",
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
    precision: numerics.Precision = _setting(
        "highest",
        "Of factors in products of matrices and convolutions on a GPU or TPU: highest (float32), "
        "tf32, or bf16 (tf32 in a GPU's convolutions). A CPU always has float32.",
    )
    curves: bool = _setting(False, "Rows also say how masks and scores changed by epoch.")

    def __post_init__(self) -> None:
        for name in ("perturb_epochs", "prune_epochs", "batch_size", "microbatch"):
            self._check(name, type(getattr(self, name)) is int, "a whole number")
        for name, kind in typing.get_type_hints(type(self)).items():
            is_bool = isinstance(value := getattr(self, name), bool)
            if kind is bool:
                self._check(name, is_bool, "True or False")
            elif kind is float:
                self._check(name, isinstance(value, int | float) and not is_bool, "a number")
        for name in ("perturb_epochs", "prune_epochs"):
            self._check(name, 0 <= getattr(self, name) <= _MOST_EPOCHS, f"in [0, {_MOST_EPOCHS}]")
        for name in ("perturb_lr", "prune_lr", "perturb_decay", "prune_decay"):
            value = getattr(self, name)
            self._check(name, 0 <= value <= sys.float_info.max, "finite and at least 0")
        self._check("momentum", 0 <= self.momentum < 1, "in [0, 1)")
        self._check("batch_size", self.batch_size >= 1, "at least 1")
        self._check("microbatch", self.microbatch >= -1, "at least -1")
        if self.microbatch > 0 and self.batch_size % self.microbatch:
            raise ValueError(
                f"microbatch must divide batch_size={self.batch_size}, got {self.microbatch}."
            )
        if self.microbatch > 0 and self.last_batch:
            raise ValueError("microbatch must be 0 with last_batch=true.")
        self._check("floor", 0 <= self.floor <= 1, "in [0, 1]")
        self._check("shift_share", 0 <= self.shift_share <= 1, "in [0, 1]")
        self._check_choices()

    def _check_choices(self) -> None:
        for name, known in (
            ("kept_schedule", KEPT_SCHEDULES),
            ("norm", ball.NORMS),
            ("eps_unit", ball.UNITS),
            ("project_per", typing.get_args(Period)),
            ("schedule_per", typing.get_args(Period)),
            ("precision", numerics.PRECISIONS),
        ):
            self._check(name, getattr(self, name) in known, f"one of {', '.join(known)}")
        for name, known in _OR_A_FUNCTION.items():
            value = getattr(self, name)
            fits = callable(value) or value in known
            own = " of the rate, as optax.adam" if known is OPTIMIZERS else ""
            self._check(name, fits, f"one of {', '.join(known)}, or a function{own}")
        defaults = {field.name: field.default for field in dataclasses.fields(self)}
        for name, optimizer in self._own_decays().items():
            unused = getattr(self, name) == defaults[name]
            self._check(name, unused, f"left alone: {optimizer} is a function and has its own")

    def on(self, platform: str) -> "TrainConfig":
        """The config with what it leaves to the platform: a microbatch of -1 is chosen.

        Args:
            platform: That trains, as "cpu", "gpu" or "tpu".
        """
        if self.microbatch >= 0:
            return self
        fits = platform == "cpu" and not self.last_batch and self.batch_size % _ON_CPU == 0
        return dataclasses.replace(self, microbatch=_ON_CPU if fits else 0)

    @property
    def has_functions(self) -> bool:
        """Whether an optimizer or a schedule is a function, which its name does not tell apart."""
        return any(callable(getattr(self, name)) for name in _OR_A_FUNCTION)

    def settings(self) -> dict[str, Any]:
        """The fields as JSON has them: functions by name, None for a decay that is not used."""
        found = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        for name in _OR_A_FUNCTION:
            if callable(found[name]):
                found[name] = f"own: {_name(found[name])}"
        return found | dict.fromkeys(self._own_decays())

    def _own_decays(self) -> dict[str, str]:
        """The decays that are not used, each with the optimizer that has its own."""
        pairs = {"perturb_decay": "perturb_optimizer", "prune_decay": "prune_optimizer"}
        return {name: of for name, of in pairs.items() if callable(getattr(self, of))}

    def steps_per_epoch(self, images: int) -> int:
        """Batches of an epoch of so many images: the smaller last one counts if it is taken."""
        return -(-images // self.batch_size) if self.last_batch else images // self.batch_size

    def _check(self, name: str, holds: bool, what: str) -> None:
        if not holds:  # A comparison with NaN is false, so that NaN is refused, too.
            raise ValueError(f"{name} must be {what}, got {getattr(self, name)!r}.")


def _name(function: Callable[..., Any]) -> str:
    while isinstance(function, functools.partial):
        function = function.func
    return getattr(function, "__name__", type(function).__name__)
