"""The flags of an image study, and what each may be."""

import dataclasses
import math
from typing import Any

from experiments import cli
from lth_jax import datasets, models, pruners
from lth_jax.sweep import programs
from lth_jax.training import methods

_MOST_EPOCHS, _MOST_LANES, _MOST_PROCESSES = 100_000, 1_000_000, 4096
setting = cli.setting


@dataclasses.dataclass(frozen=True)
class Config:
    """The flags of an image study."""

    preset: str = setting("", "A named set of defaults; see the text above.")
    dataset: str = setting("digits", f"One of {', '.join(datasets.DATASETS)}.")
    data_dir: str | None = setting(None, "Folder with the data set's files.")
    mirror: str | None = setting(None, "HTTPS address to download the data set from instead.")
    offline: bool = setting(False, "Never download anything.")
    train_size: int = setting(0, "Train on the first so many images; 0 takes them all.")
    model: str = setting("lenet", f"One of {', '.join(models.MODELS)}.")
    width: float = setting(1.0, "Factor of the model's hidden units or channels.")
    init: str = setting("kaiming_normal", f"One of {', '.join(models.INITIALIZERS)}.")
    scale_init: bool = setting(False, "Multiply the weights at init by 1/√(kept fraction).")
    pruner: str = setting("edge_popup", f"One of {', '.join(pruners.PRUNERS)}.")
    scope: str = setting("tensor", "Prune every tensor alike (tensor), or rank all (global).")
    method: tuple[str, ...] = setting(
        ("perturb_then_prune",), f"List of {', '.join(methods.METHODS)}."
    )
    eps: tuple[float, ...] = setting((0.0, 0.01), "List of radii, at least 0; inf trains freely.")
    eps_unit: str = setting("absolute", "absolute, or std: of each tensor at init.")
    norm: str = setting("linf", "Of the ball: linf, l2 (per tensor) or l2_global.")
    sparsity: tuple[float, ...] = setting((0.5,), "List of fractions to remove, in [0, 1).")
    seeds: int = setting(5, "How many seeds.")
    seed: int = setting(0, "The first seed.")
    perturb_epochs: int = setting(2, "E: epochs of perturbing.")
    prune_epochs: int = setting(3, "P: epochs of pruning.")
    perturb_lr: float = setting(0.01, "Learning rate of the weights.")
    prune_lr: float = setting(0.1, "Learning rate of the scores.")
    perturb_decay: float = setting(0.0, "Weight decay of the weights, toward 0.")
    prune_decay: float = setting(1e-4, "Weight decay of the scores.")
    perturb_schedule: str = setting("cosine", f"One of {', '.join(methods.SCHEDULES)}.")
    prune_schedule: str = setting("cosine", f"One of {', '.join(methods.SCHEDULES)}.")
    momentum: float = setting(0.9, "Of SGD.")
    batch_size: int = setting(128, "Images per step.")
    microbatch: int = setting(0, "Images per gradient, summed to a batch; 0 is the whole batch.")
    augment: bool = setting(False, "Random crops (padding 4) and horizontal flips.")
    project_per: str = setting("step", "Project after every step, or every epoch.")
    shared_shift: bool = setting(False, "random_then_prune shifts each tensor by one number.")
    strategy: str = setting("auto", "map (bit-exact, for CPUs), vmap (for accelerators) or auto.")
    out: str | None = setting(None, "The run's folder; runs/STUDY-ID if not given.")
    keep_tickets: bool = setting(False, "Also write every lane's network, as a ticket file.")
    ticket_bits: int = setting(
        0, "Bits per kept weight for its perturbation, 2 to 16; 0 stores the weights exactly."
    )
    max_lanes: int = setting(16, "Most lanes held in memory at once.")
    checkpoint_minutes: float = setting(
        5.0, "Save the running stage so often; 0 after every slice, inf only when interrupted."
    )
    lock: str = setting("leave", "If another process has the folder: leave, or wait for it.")
    distributed: bool = setting(
        False, "One of many processes on one folder, found by jax's cluster detection or named by:"
    )
    coordinator: str | None = setting(None, "HOST:PORT of process 0, the same for all processes.")
    processes: int | None = setting(None, "How many processes there are.")
    process: int | None = setting(None, "Which one this is, from 0.")
    progress: bool = setting(True, "Show a progress bar.")

    def __post_init__(self):
        known = {
            "dataset": datasets.DATASETS,
            "model": models.MODELS,
            "init": models.INITIALIZERS,
            "pruner": pruners.PRUNERS,
            "scope": ("tensor", "global"),
            "method": methods.METHODS,
            "strategy": programs.STRATEGIES,
        }
        for name, names in known.items():
            given = getattr(self, name)
            for value in given if isinstance(given, tuple) else (given,):
                if value not in names:
                    raise ValueError(f"--{name} must be one of {', '.join(names)}, got {value!r}.")
        for name in ("eps", "sparsity", "method"):
            if not getattr(self, name):
                raise ValueError(f"--{name} must not be an empty list.")
        for value in self.eps:
            if not value >= 0:
                raise ValueError(f"--eps must be at least 0, got {value}.")
        for value in self.sparsity:
            if not 0 <= value < 1:
                raise ValueError(f"--sparsity must lie in [0, 1), got {value}.")
        for name in ("seeds", "max_lanes"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name} must be at least 1, got {getattr(self, name)}.")
        if self.seed < 0 or self.seed + self.seeds > 2**32:
            raise ValueError(f"--seed must lie in [0, 2^32 - seeds], got {self.seed}.")
        if self.train_size < 0:
            raise ValueError(f"--train_size must be at least 0, got {self.train_size}.")
        if not 0 < self.width < math.inf:
            raise ValueError(f"--width must be positive, got {self.width}.")
        for name in ("perturb_epochs", "prune_epochs"):
            if getattr(self, name) > _MOST_EPOCHS:
                raise ValueError(
                    f"--{name} must be at most {_MOST_EPOCHS}, got {getattr(self, name)}."
                )
        count = len(self.method) * len(self.eps) * len(self.sparsity) * self.seeds
        if count > _MOST_LANES:
            raise ValueError(f"--seeds: a grid of {count} lanes is more than {_MOST_LANES}.")
        if self.ticket_bits and not 2 <= self.ticket_bits <= 16:
            raise ValueError(f"--ticket_bits must be 0 or 2 to 16, got {self.ticket_bits}.")
        if not self.checkpoint_minutes >= 0:
            raise ValueError(
                f"--checkpoint_minutes must be at least 0, got {self.checkpoint_minutes}."
            )
        if self.lock not in ("leave", "wait"):
            raise ValueError(f"--lock must be leave or wait, got {self.lock!r}.")
        self._check_processes()
        self.recipe()

    def _check_processes(self):
        given = [self.coordinator, self.processes, self.process]
        if not self.distributed and given != [None] * 3:
            raise ValueError("--coordinator, --processes and --process need --distributed.")
        if given == [None] * 3:
            return
        if None in given:
            raise ValueError("--coordinator, --processes and --process go together.")
        host, _, port = self.coordinator.rpartition(":")
        if not host or not (port.isascii() and port.isdecimal() and 0 < int(port) < 2**16):
            raise ValueError(f"--coordinator must be HOST:PORT, got {self.coordinator!r}.")
        if not 1 <= self.processes <= _MOST_PROCESSES:
            raise ValueError(
                f"--processes must lie in [1, {_MOST_PROCESSES}], got {self.processes}."
            )
        if not 0 <= self.process < self.processes:
            raise ValueError(f"--process must lie in [0, processes), got {self.process}.")

    def recipe(self) -> methods.Recipe:
        """How its stages train."""
        named = {field.name: field.name for field in dataclasses.fields(methods.Recipe)}
        named["unit"] = "eps_unit"
        return methods.Recipe(**{name: getattr(self, own) for name, own in named.items()})


# These do not change a lane's numbers: the axes of the grid, places and pace.
AXES = ("method", "eps", "sparsity", "seeds", "seed")
PLACES = (
    "preset",
    "data_dir",
    "mirror",
    "offline",
    "out",
    "keep_tickets",
    "ticket_bits",
    "max_lanes",
    "checkpoint_minutes",
    "lock",
    "distributed",
    "coordinator",
    "processes",
    "process",
    "progress",
)


def of_lanes(config: Config, strategy: str) -> dict[str, Any]:
    """The settings that change a lane's numbers: what a folder's name and config.json are made of.

    Args:
        config: All settings.
        strategy: What its own stands for on this machine: "map" or "vmap".

    Returns:
        By name.
    """
    found = dataclasses.asdict(config) | {"strategy": strategy}
    return {name: value for name, value in found.items() if name not in AXES + PLACES}
