"""What the paper's tables say, what ours say of the same cells, and what is true of ε.

    python -m experiments.paper --table=1,3 --preset=paper_code --scale=reduced --data_dir=FOLDER
    python -m experiments.paper --preset=fair --dataset=fashion_mnist --data_dir=FOLDER
    python -m experiments.paper --preset=fair --rows=FILE.jsonl.gz    # no data, no training

Trains what is missing in the folder, as experiments.mnist does, and prints and stores

  paper_code, paper  published.json: for each cell of the tables asked for what was published, ours,
                     the difference and its 95 % interval (none for one seed); --figure=3 draws them
  fair               hypotheses.json: the verdicts on H1 to H5 below, after Holm over the family

Scales: full is the paper's grid and epochs (fair: 5 ε, 3 sparsities, 7 methods, 12 seeds); reduced
is ε 0, .01, .1, s .1, .5, .8, E = P = 10 (fair: 2 ε, 2 sparsities, 6 seeds); smoke only shows that
all works. Table 1 is perturb_then_prune, 2 random_then_prune, 3 prune_then_perturb.

The hypotheses, written down on 2026-11-25, before the runs that test them. They are tested on each
data set and net by exact sign flips of differences in test accuracy, paired by seed, two-sided,
corrected by Holm (1979) over the five; sparsity and ε are chosen on the validation split, and a
claim of several parts holds if each part does (lth_jax/report/hypotheses.py is that reading). As H1
to H4 were seen on seeds 0 to 4 before, the runs use seeds 100 to 111.

  H1  perturb_then_prune at its best ε beats ε = 0.
  H2  It beats a random point of the ball of the same ε.
  H3  It beats pruning alone with equal gradient steps.
  H4  joint beats the baseline of H3 and both orders.
  H5  (random_mask_then_perturb − prune) / (joint − prune) at sparsity .5 is below one half.
"""

import dataclasses
import pathlib
import sys
from typing import Any, Literal

from experiments import cli
from experiments.cli import flags, image_flags, image_study
from experiments.published import beside, presets
from lth_jax import errors, files
from lth_jax.report import confirmatory, hypotheses, plots
from lth_jax.runs import archive

PRESETS: dict[str, dict[str, Any]] = {name: {} for name in presets.PRESETS}
Scale = Literal["full", "reduced", "smoke"]
_SMOKE = {"width": 0.04, "train_size": 256, "perturb_epochs": 1, "prune_epochs": 1}
_FAIR: dict[str, dict[str, Any]] = {
    "full": {},
    "reduced": {"eps": (0.5, 1.0), "sparsity": (0.5, 0.9), "seeds": 6},
    "smoke": {"eps": (0.5, 1.0), "sparsity": (0.5,), "seeds": 2, **_SMOKE},
}
_PAPER: dict[str, dict[str, Any]] = {
    "full": {},
    "reduced": {
        "eps": (0.0, 0.01, 0.1),
        "sparsity": (0.1, 0.5, 0.8),
        "perturb_epochs": 10,
        "prune_epochs": 10,
    },
    "smoke": {"eps": (0.0, 0.1), "sparsity": (0.5,), **_SMOKE},
}


@dataclasses.dataclass(frozen=True)
class Config:
    """What to run and compare."""

    preset: str = cli.setting("paper_code", f"One of {', '.join(PRESETS)}.")
    table: tuple[int, ...] = cli.setting((1, 3), "The paper's tables, of 1 to 3; not of fair.")
    figure: int = cli.setting(0, "3 also draws the tables beside the published ones.")
    scale: Scale = cli.setting("full", "full, reduced or smoke; see the text above.")
    dataset: Literal["mnist", "fashion_mnist"] = cli.setting("mnist", "mnist or fashion_mnist.")
    data_dir: str | None = cli.setting(None, "Folder with the data set's files.")
    offline: bool = cli.setting(False, "Never download anything.")
    seeds: int = cli.setting(0, "How many seeds; 0 is as many as the scale says.")
    rows: tuple[str, ...] = cli.setting((), "Archives of rows to take instead of training.")
    out: str | None = cli.setting(None, "The folder; runs/paper-PRESET-DATASET-SCALE if not given.")
    max_lanes: int = cli.setting(16, "Most lanes held in memory at once.")

    def __post_init__(self) -> None:
        if unknown := set(self.table) - set(beside.METHODS):
            raise ValueError(f"table must be of 1, 2 and 3, got {min(unknown)}.")
        if self.figure not in (0, 3):
            raise ValueError(f"figure must be 0 or 3, got {self.figure}.")
        if self.seeds < 0:
            raise ValueError(f"seeds must be at least 0, got {self.seeds}.")

    @property
    def folder(self) -> pathlib.Path:
        """Where rows and comparisons are."""
        name = f"runs/paper-{self.preset}-{self.dataset}-{self.scale}"
        return pathlib.Path(self.out or name)

    def study(self) -> image_flags.Config:
        """The image study that makes the rows.

        Raises:
            ValueError: If its checks refuse a value.
        """
        fair = self.preset == "fair"
        changed = presets.PRESETS[self.preset] | (_FAIR if fair else _PAPER)[self.scale]
        if not fair:
            changed["method"] = tuple(beside.METHODS[number] for number in self.table)
        if self.seeds:
            changed["seeds"] = self.seeds
        for name in ("dataset", "data_dir", "offline", "max_lanes"):
            changed[name] = getattr(self, name)
        return flags.replace(image_flags.Config(), **changed, out=str(self.folder))


def run(config: Config) -> None:
    """Trains what is missing, then compares.

    Raises:
        InputError: If the data, the folder or the rows are bad.
        RunError: If the run cannot go on.
    """
    if config.rows:
        rows = [row for file in config.rows for row in archive.load(file).rows]
        config.folder.mkdir(parents=True, exist_ok=True)
    else:
        rows = image_study.run(config.study(), "paper")
    if config.preset == "fair":
        _test(config, rows)
    else:
        _compare(config, rows)


def _test(config: Config, rows: list[dict[str, Any]]) -> None:
    try:
        verdicts = confirmatory.decide(hypotheses.of_rows(rows))
    except ValueError as error:
        raise errors.InputError(f"rows: {error}") from None
    print("\n".join(beside.verdict_lines(verdicts)))
    file = config.folder / "hypotheses.json"
    files.write_json(file, [beside.verdict_record(verdict) for verdict in verdicts])
    print(file)


def _compare(config: Config, rows: list[dict[str, Any]]) -> None:
    cells = [cell for number in config.table for cell in beside.compare(rows, number)]
    if not cells:
        raise errors.InputError("rows: none of a cell that the paper's tables have.")
    for number in config.table:
        print("\n".join(beside.lines(cells, number)))
    file = config.folder / "published.json"
    files.write_json(file, [cell.record() for cell in cells])
    print(file)
    if config.figure:
        plots.save(beside.picture(cells), config.folder / "figure3.png")
        print(config.folder / "figure3.png")


if __name__ == "__main__":
    sys.exit(cli.main(run, Config(), __doc__, presets=PRESETS))
