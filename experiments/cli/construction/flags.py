"""The flags of the construction study, and the files that they name."""

import dataclasses
from typing import Literal

from experiments.cli import flags
from lth_jax import datasets, errors
from lth_jax.theory import construction, targets
from lth_jax.theory.construction import problem, random_network
from lth_jax.theory.subset_sum import solvers

setting = flags.setting


@dataclasses.dataclass(frozen=True)
class Config:
    """The settings."""

    target: str | None = setting(None, "An .npz of matrices [out, in]; none trains a network.")
    hidden: tuple[int, ...] = setting((32,), "Without --target: hidden units of each layer.")
    steps: int = setting(5000, "Without --target: Adam steps of 128 images.")
    target_seed: int = setting(0, "Without --target: seed of its initial weights and batches.")
    dataset: datasets.DatasetName | None = setting(
        None,
        f"One of {', '.join(datasets.DATASETS)}; none: mnist with a file of yours, else digits.",
    )
    data_dir: str | None = setting(None, "Folder with the data; none downloads what is needed.")
    eps: tuple[float, ...] = setting((0.0, 1e-3, 1e-2, 1e-1), "Values of ε.")
    certified: tuple[float, ...] = setting(
        (0.01,), "Largest certified errors, as parts of the largest logit; the least size for each."
    )
    assignment: tuple[construction.Assignment, ...] = setting(
        construction.ASSIGNMENTS, "uniform: one width per layer; adaptive: units as inputs need."
    )
    eta: float | None = setting(
        None, "Largest error of a target weight: the least width for that, and no --certified."
    )
    keys: int = setting(1, "Random networks per ε; one object each.")
    full: bool = setting(False, "Full width, certified for inputs of either sign; default half.")
    candidates: random_network.Kind = setting(
        "uniform", f"One of {', '.join(random_network.KINDS)}."
    )
    objective: solvers.Objective = setting(
        "best", "With --eta: first, best or sparsest of the subsets within it, for every ε."
    )
    width: int | None = setting(None, "Candidates per target weight; none finds the least.")
    bits: int = setting(16, "Bits of a stored perturbation, 2 to 16.")
    delta: float = setting(0.05, "Failure probability of the proved width.")
    seed: int = setting(0, "Seed of the first key.")
    out: str | None = setting(None, "Folder for the results; runs/construction-ID if not given.")
    lock: Literal["leave", "wait"] = setting(
        "leave", "If another process has the folder: leave, or wait for it."
    )

    def __post_init__(self) -> None:
        if not all(0 <= value < 1e30 for value in (self.eta or 0.0, *self.eps)):
            raise ValueError("expected finite eta and eps >= 0.")
        if self.width is None and self.eta is not None and self.eta + min(self.eps) == 0:
            raise ValueError("expected eta + eps > 0, or a --width.")
        if not all(0 < value < 1e30 for value in self.certified):
            raise ValueError("certified must be parts of the largest logit, > 0.")
        if self.eta is None:
            self._check_certified()
        if self.keys < 1 or not (self.width is None or 1 <= self.width <= 1000):
            raise ValueError("expected keys >= 1 and a width of 1 to 1000.")
        if not 0 <= self.seed <= 2**32 - self.keys or not 0 <= self.target_seed < 2**32:
            raise ValueError("expected seeds of 0 to 2^32 - 1.")
        if not all(1 <= units <= 10**5 for units in self.hidden) or not 1 <= self.steps <= 10**7:
            raise ValueError("expected hidden layers of 1 to 100000 units, 1 to 10^7 steps.")
        if not 2 <= self.bits <= 16 or not 0 < self.delta < 1:
            raise ValueError("expected 2 to 16 bits and 0 < delta < 1.")

    def _check_certified(self) -> None:
        if self.full:
            raise ValueError("full needs eta=…: certificates are for inputs in [0, 1].")
        if self.width is not None and (self.assignment != ("uniform",) or self.width > 40):
            raise ValueError("width needs assignment=uniform, and at most 40 candidates.")


def source(config: Config) -> tuple[targets.Weights | None, datasets.Dataset]:
    """The matrices of --target (None: train some) and the data set, as the flags say.

    Raises:
        InputError: If a file is missing or damaged, or they do not fit one another.
    """
    weights = None
    if config.target is not None:
        weights = targets.load(config.target)
        try:
            construction.checked_target(weights)
        except ValueError as error:
            raise errors.InputError(f"target {config.target}: {error}") from None
    given = config.target is not None or config.data_dir is not None
    dataset = datasets.load(config.dataset or ("mnist" if given else "digits"), config.data_dir)
    if weights is not None:
        try:
            problem.check_fits(weights, dataset)
        except ValueError as error:
            raise errors.InputError(f"--target: {error}") from None
    return weights, dataset
