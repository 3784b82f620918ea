"""The flags of the planted study."""

import dataclasses
from typing import Literal

from experiments import cli
from experiments.planted import tasks
from lth_jax import study, sweep, training
from lth_jax.theory import planting
from lth_jax.training import config as train_config

setting = cli.setting
# With searched odd layers, or a count that falls, only these: what the others do was seen without.
_SEARCHES = ("prune_longer", "perturb_then_prune", "joint")
_METHODS = (*_SEARCHES, "random_then_prune", "random_mask_then_perturb", "dense")


@dataclasses.dataclass(frozen=True)
class Config:
    """The settings; those of `train` have the names of its fields."""

    task: tuple[tasks.TaskName, ...] = setting(tasks.TASKS, f"List of {', '.join(tasks.TASKS)}.")
    odd: tuple[planting.Odd, ...] = setting(
        planting.ODD, "Masks of the odd layers: given, searched, or both."
    )
    count: tuple[train_config.KeptSchedule, ...] = setting(
        ("constant", "exponential"), "How the kept count gets to its end, a list."
    )
    method: tuple[str, ...] = setting(
        _METHODS,
        f"List of {', '.join(training.METHODS)}; but for given odd layers and a constant count "
        f"only those of {', '.join(_SEARCHES)}.",
    )
    eps: tuple[float, ...] = setting((0.01, 0.1), "Values of ε; tickets are planted at 0, too.")
    kept: tuple[int, ...] = setting(
        (2, 4), "Candidates kept per weight of the target: the density is that of --copies."
    )
    copies: int = setting(16, "Candidates per weight of the target, 2 to 40.")
    seeds: int = setting(5, "Random networks; each is searched with an order of data of its own.")
    seed: int = setting(0, "The first seed.")
    steps: int = setting(10_000, "Adam steps of the network that is hidden, 128 points each.")
    target_seed: int = setting(0, "Seed of its initial weights and batches.")
    train: training.TrainConfig = training.TrainConfig(
        perturb_epochs=20,
        prune_epochs=20,
        batch_size=64,
        perturb_optimizer="adam",
        perturb_lr=3e-4,
        prune_optimizer="adam",
        prune_lr=1e-4,
        prune_decay=0.0,
    )
    strategy: sweep.Strategy = setting("vmap", "As of the image studies.")
    max_lanes: int = setting(60, "Most lanes held in memory at once.")
    out: str | None = setting(None, "Folder for the results; runs/planted-ID if not given.")
    lock: Literal["leave", "wait"] = setting(
        "leave", "If another process has the folder: leave, or wait for it."
    )

    def __post_init__(self) -> None:
        for name, known in (
            ("task", tasks.TASKS),
            ("odd", planting.ODD),
            ("count", train_config.KEPT_SCHEDULES),
            ("method", tuple(training.METHODS)),
        ):
            asked = getattr(self, name)
            if not asked or not {*asked} <= {*known}:
                raise ValueError(f"{name} must be of {', '.join(known)}, got {','.join(asked)!r}.")
        if not self.eps or not all(0 <= value <= 1e6 for value in self.eps):
            raise ValueError(f"eps must be radii of 0 to 1e6, got {self.eps}.")
        if not 2 <= self.copies <= 40:
            raise ValueError(f"copies must lie in [2, 40], got {self.copies}.")
        if not self.kept or not all(1 <= k < self.copies for k in self.kept):
            raise ValueError(f"kept must lie in [1, copies), got {self.kept}.")
        if self.seeds < 1:
            raise ValueError(f"seeds must be at least 1, got {self.seeds}.")
        if not 0 <= self.seed <= 2**32 - self.seeds:
            raise ValueError(f"seed must lie in [0, 2^32 - seeds], got {self.seed}.")
        if not 1 <= self.steps <= 10**6:
            raise ValueError(f"steps must lie in [1, 10^6], got {self.steps}.")
        if not 0 <= self.target_seed < 2**32:
            raise ValueError(f"target_seed must lie in [0, 2^32), got {self.target_seed}.")
        if self.train.kept_schedule != "constant":
            raise ValueError("kept_schedule must be constant here: count is a list of them.")
        if self.train.scale_init:
            raise ValueError("scale_init must be false: the planted ticket is of weights as drawn.")
        study.check_choices(self.strategy, self.max_lanes, 0, 5.0, self.lock)

    def methods(self, odd: planting.Odd, count: train_config.KeptSchedule) -> list[str]:
        """Those that a variant is searched with."""
        if odd == "given" and count == "constant":
            return list(self.method)
        return [method for method in self.method if method in _SEARCHES]
