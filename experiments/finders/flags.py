"""The flags of the comparison of finders, and the run that each finder has."""

import dataclasses
import itertools
import pathlib
import typing
from typing import Literal

from experiments import cli
from experiments.cli import flags, image_flags
from experiments.finders import one_shots, table
from lth_jax import pruners, training
from lth_jax.report import confirmatory

_NAMED = typing.get_args(pruners.PrunerName)
FINDERS = tuple(name for name in _NAMED if pruners.PRUNERS[name]().learns)
_BASELINES = tuple(name for name in _NAMED if name not in FINDERS)
_ALL = (*FINDERS, *_BASELINES, *one_shots.NAMES)
_SMOKE = {"width": 0.04, "train_size": 256, "perturb_epochs": 1, "prune_epochs": 1}


@dataclasses.dataclass(frozen=True)
class Config:
    """What to run and compare; the flags of `train` have the names of its fields."""

    pruner: tuple[str, ...] = cli.setting(_ALL, f"List of {', '.join(_ALL)}.")
    scale: Literal["full", "smoke"] = cli.setting(
        "full", "full, or smoke: only shows that all works."
    )
    dataset: str = cli.setting("fashion_mnist", "fashion_mnist, mnist or digits.")
    data_dir: str | None = cli.setting(None, "Folder with the data set's files.")
    offline: bool = cli.setting(False, "Never download anything.")
    eps: tuple[float, ...] = cli.setting((0.02, 0.05, 0.1), "Radii above 0 to choose from.")
    sparsity: tuple[float, ...] = cli.setting((0.5, 0.9), "List of fractions to remove, in (0, 1).")
    rates: tuple[float, ...] = cli.setting(
        (0.1, 1.0, 10.0, 100.0, 1000.0), "Rates of scores to choose from."
    )
    decays: tuple[float, ...] = cli.setting(
        (1e-4, 0.0), "Weight decays of scores to choose from, each with each rate."
    )
    seeds: int = cli.setting(10, "How many seeds, at most 20.")
    seed: int = cli.setting(200, "The first seed; rates are chosen on the one after the last.")
    train: training.TrainConfig = training.TrainConfig()
    keep_tickets: bool = cli.setting(False, "Also write every lane's network, as a ticket file.")
    out: str | None = cli.setting(None, "The folder; runs/finders-DATASET-SCALE if not given.")
    max_lanes: int = cli.setting(16, "Most lanes held in memory at once.")
    rows: tuple[str, ...] = cli.setting((), "Archives of rows to compare instead of training.")

    def __post_init__(self) -> None:
        unknown = [name for name in self.pruner if name not in _ALL]
        if unknown or table.REFERENCE not in self.pruner:
            raise ValueError(
                f"pruner must be of {', '.join(_ALL)} with {table.REFERENCE}, which all are "
                f"compared with, got {','.join(self.pruner)}."
            )
        if not all(value > 0 for value in self.eps):
            raise ValueError(f"eps must be above 0, which is run in any case, got {self.eps}.")
        if not 1 <= self.seeds <= confirmatory.MOST_PAIRS:
            most = confirmatory.MOST_PAIRS
            raise ValueError(f"seeds must lie in [1, {most}], got {self.seeds}.")
        if not all(0 < value < 1 for value in self.sparsity):
            raise ValueError(f"sparsity must lie in (0, 1), got {self.sparsity}.")
        for name in ("rates", "decays"):
            values = getattr(self, name)
            if not values or not all(0 <= value < float("inf") for value in values):
                raise ValueError(f"{name} must be finite and at least 0, got {values}.")
        for name, given in (("prune_lr", "rates"), ("prune_decay", "decays")):
            if getattr(self.train, name) != getattr(training.TrainConfig, name):
                raise ValueError(f"{name} is chosen here, give {given}.")
        self.study(table.REFERENCE, self.scores[0], "any")  # Its checks come before any work.

    @property
    def scores(self) -> list[table.Scores]:
        """What rate and decay of the scores are chosen from."""
        return list(map(table.Scores._make, itertools.product(self.rates, self.decays)))

    @property
    def folder(self) -> pathlib.Path:
        """Where runs and the table are."""
        return pathlib.Path(self.out or f"runs/finders-{self.dataset}-{self.scale}")

    def study(self, name: str, scores: table.Scores, place: str) -> image_flags.Config:
        """The image study of a pruner.

        Raises:
            ValueError: If its checks refuse a value.
        """
        learns = name in FINDERS
        changed = {
            field.name: getattr(self.train, field.name) for field in dataclasses.fields(self.train)
        }
        if self.scale == "smoke":
            changed |= _SMOKE
        changed |= {
            "method": ("prune_longer", "joint") if learns else ("random_mask_then_perturb",),
            "eps": self.eps if learns else (0.0, *self.eps),
            "scope": "global" if name in one_shots.NAMES else "tensor",
            "prune_lr": scores.rate,
            "prune_decay": scores.decay,
            "out": str(self.folder / place),
        }
        for same in ("dataset", "data_dir", "offline", "sparsity", "seeds", "seed", "max_lanes"):
            changed[same] = getattr(self, same)
        changed["keep_tickets"] = self.keep_tickets
        return flags.replace(image_flags.Config(), pruner=name, **changed)
