"""The flags of an image study: the grid, the data, the network, and how stages train."""

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any, Literal

from experiments import cli
from experiments.cli import display, plugins
from lth_jax import datasets, errors, models, pruners, study, sweep, training
from lth_jax.runs import engines
from lth_jax.sweep import fits

setting = cli.setting
Table = Literal["auto", "wide", "narrow", "csv"]
_STUDY = {name: p.default for name, p in inspect.signature(study.Study).parameters.items()}


def _of_study(name: str, about: str | Callable[[], str]) -> Any:
    """A flag with the default that lth_jax.Study has."""
    return setting(_STUDY[name], about)


@dataclasses.dataclass(frozen=True)
class Config:
    """The flags of an image study; those of `train` have the names of its fields."""

    preset: str = setting("", "A named set of defaults, where the text above names any.")
    plugin: tuple[str, ...] = setting((), plugins.HELP)
    dataset: str = setting("digits", lambda: f"One of {datasets.DATASETS.names()}.")
    data_dir: str | None = setting(None, "Folder with the data set's files.")
    mirror: str | None = setting(None, "HTTPS address to download the data set from instead.")
    offline: bool = setting(False, "Never download anything.")
    train_size: int = setting(0, "Train on the first so many images; 0 takes them all.")
    hold_out: bool = setting(
        True, "Hold images out for validation; if not, the test split is scored after every epoch."
    )
    model: str = setting("lenet", lambda: f"One of {models.MODELS.names()}.")
    width: float = setting(1.0, "Factor of the model's hidden units or channels.")
    init: str = setting("kaiming_normal", f"One of {', '.join(models.INITIALIZERS)}.")
    pruner: str = _of_study("pruner", lambda: f"One of {pruners.PRUNERS.names()}.")
    scope: str = _of_study(
        "scope",
        "Prune every tensor alike (tensor), rank all (global), or keep more of small ones (erk).",
    )
    exclude: tuple[str, ...] = setting(
        (), "List of patterns of names that are not pruned, as Dense_2/*; see --show_pruned."
    )
    method: tuple[str, ...] = setting(
        ("perturb_then_prune",), lambda: f"List of {training.METHODS.names()}."
    )
    eps: tuple[float, ...] = setting((0.0, 0.01), "List of radii, at least 0; inf trains freely.")
    sparsity: tuple[float, ...] = setting((0.5,), "List of fractions to remove, in [0, 1).")
    seeds: int = setting(5, "How many seeds.")
    seed: int = setting(0, "The first seed.")
    train: training.TrainConfig = training.TrainConfig()
    strategy: str = _of_study(
        "strategy", "map (bit-exact, CPUs), vmap, hybrid (accelerators) or auto."
    )
    out: str | None = setting(None, "The run's folder; runs/STUDY-ID if not given.")
    keep_tickets: bool = _of_study(
        "keep_tickets", "Also write every lane's network, as a ticket file."
    )
    ticket_bits: int = _of_study(
        "ticket_bits",
        "Bits per kept weight for its perturbation, 2 to 16; 0 stores the weights exactly.",
    )
    max_lanes: int = _of_study(
        "max_lanes", "Most lanes held in memory at once, by each accelerator or by the CPU."
    )
    checkpoint_minutes: float = _of_study(
        "checkpoint_minutes",
        "Save the running stage so often; 0 after every slice, inf only when interrupted.",
    )
    lock: str = _of_study("lock", "If another process has the folder: leave, or wait for it.")
    engine: engines.Engine = engines.Engine()
    table: Table = setting(
        "auto",
        "What to print at the end: what fits the terminal (80 columns without one), wide, narrow "
        "(80), or csv, which leaves standard output to it alone.",
    )
    progress: display.Mode = setting(
        "auto",
        "What to show meanwhile: auto is a bar on a terminal, and a line every 10 s where there is "
        "none; plain is the lines; quiet nothing but warnings.",
    )
    tensorboard: bool = _of_study(
        "tensorboard", "Also write curves for TensorBoard; needs the extra `tensorboard`."
    )
    show_pruned: bool = setting(False, "Print what is pruned, and its fan-in; run nothing.")

    def __post_init__(self) -> None:
        if self.seeds < 1:
            raise ValueError(f"seeds must be at least 1, got {self.seeds}.")
        if self.seed < 0 or self.seed + self.seeds > 2**32:
            raise ValueError(f"seed must lie in [0, 2^32 - seeds], got {self.seed}.")
        if self.train_size < 0:
            raise ValueError(f"train_size must be at least 0, got {self.train_size}.")
        self.lanes()
        datasets.DATASETS.find(self.dataset)
        models.MODELS.find(self.model)
        # Of any shape: so that names and the width are refused before data are read. A model that
        # somebody registered may not take just any.
        known = self.model if models.MODELS.is_built_in(self.model) else "lenet"
        model = models.build_model(known, (32, 32, 3), 10, self.init, self.width)
        fits.check(study.pruner_for(model, self.pruner, self.scope), self.train, self.method)
        study.check_choices(
            self.strategy,
            self.max_lanes,
            self.ticket_bits,
            self.checkpoint_minutes,
            self.lock,
            self.tensorboard,
        )

    def lanes(self) -> list[sweep.Lane]:
        """The grid.

        Raises:
            ValueError: If a method is unknown or a value lies outside its range.
        """
        seeds = range(self.seed, self.seed + self.seeds)
        return sweep.lanes(self.method, self.eps, self.sparsity, seeds)

    def make_study(self, name: str, tell: study.Tell) -> study.Study:
        """Reads the data and checks how everything fits.

        Args:
            name: Of the experiment, for its folder.
            tell: Gets lines of warning.

        Raises:
            InputError: If the data, the folder or a combination of settings is bad.
        """
        dataset = datasets.load(
            self.dataset,
            self.data_dir,
            self.train_size or None,
            mirror=self.mirror,
            offline=self.offline,
            hold_out=self.hold_out,
        )
        shape = dataset.train.images.shape[1:]
        try:
            model = models.build_model(self.model, shape, dataset.classes, self.init, self.width)
        except ValueError as error:
            raise errors.InputError(str(error)) from None
        made = study.Study(
            model,
            dataset,
            self.pruner,
            self.train,
            self.out,
            name=name,
            scope=self.scope,
            exclude=self.exclude,
            strategy=self.strategy,
            max_lanes=self.max_lanes,
            keep_tickets=self.keep_tickets,
            ticket_bits=self.ticket_bits,
            checkpoint_minutes=self.checkpoint_minutes,
            lock=self.lock,
            tensorboard=self.tensorboard,
            plugins=self.plugin,
            engine=self.engine,
            tell=tell,
        )
        seeds = range(self.seed, self.seed + self.seeds)
        made.lanes(self.method, seeds, self.eps, self.sparsity)  # What the network's sizes refuse.
        return made
