"""How large is the random network that hides a given one, and how near does it come?

A network, a file's or one that is trained in the same command, built inside a random 2L-layer
network (theorem 2 of Xiong et al. 2023) for each ε, run, certified and stored:

    python -m experiments.construction
    64-32-10 on digits: 19 and 16 candidates per weight at ε = 0, 11 and 11 at .1; 8 s, aa9bbf6

    python -m experiments.construction --target=FILE.npz --data_dir=DIR --keys=5 --eps=0
    784-500-10 on MNIST, 97.19 %: tickets 97.19 % (97.11 to 97.26, n = 5); 21 s on 2 cores, aa9bbf6

    python -m experiments.construction --data_dir=DIR --hidden=100,100,100
    98.04 %: tickets 98.01 % at ε = 0, 98.04 % at .001; 19 s, aa9bbf6

The same command again adds what is missing; more ε or more keys add objects to the same folder.
"""

import dataclasses
import sys

from experiments import cli
from experiments.cli import construction_row, theory_folder
from lth_jax import datasets, files, runs
from lth_jax.report import plots, plots_construction
from lth_jax.theory.construction import random_network
from lth_jax.theory.subset_sum import solvers, targets

setting = cli.setting
FILES = ("construction.json",)
# These change no object that is there: the axes, places and pace.
ASIDE = ("eps", "keys", "seed", "target", "data_dir", "out", "lock")


@dataclasses.dataclass(frozen=True)
class Config:
    """The settings."""

    target: str | None = setting(None, "An .npz of matrices [out, in]; none trains a network.")
    hidden: tuple[int, ...] = setting((32,), "Without --target: hidden units of each layer.")
    steps: int = setting(5000, "Without --target: Adam steps of 128 images.")
    target_seed: int = setting(0, "Without --target: seed of its initial weights and batches.")
    dataset: str | None = setting(
        None,
        f"One of {', '.join(datasets.DATASETS)}; none: mnist with a file of yours, else digits.",
    )
    data_dir: str | None = setting(None, "Folder with the data; none downloads what is needed.")
    eps: tuple[float, ...] = setting((0.0, 1e-3, 1e-2, 1e-1), "Values of ε.")
    eta: float = setting(0.01, "Largest error of a target weight.")
    keys: int = setting(1, "Random networks per ε; one object each.")
    full: bool = setting(False, "Full width, certified for inputs of either sign; default half.")
    candidates: str = setting("uniform", f"One of {', '.join(random_network.KINDS)}.")
    objective: str = setting("auto", "first, best, sparsest; auto: best where ε > 0, else first.")
    width: int | None = setting(None, "Candidates per target weight; none finds the least.")
    bits: int = setting(16, "Bits of a stored perturbation, 2 to 16.")
    delta: float = setting(0.05, "Failure probability of the proved width.")
    seed: int = setting(0, "Seed of the first key.")
    out: str | None = setting(None, "Folder for the results; runs/construction-ID if not given.")
    lock: str = setting("leave", "If another process has the folder: leave, or wait for it.")

    def __post_init__(self):
        if not all(0 <= value < 1e30 for value in (self.eta, *self.eps)):
            raise ValueError("expected finite eta and eps >= 0.")
        if self.width is None and self.eta + min(self.eps) == 0:
            raise ValueError("expected eta + eps > 0, or a --width.")
        if self.keys < 1 or not (self.width is None or 1 <= self.width <= 1000):
            raise ValueError("expected keys >= 1 and a width of 1 to 1000.")
        if not 0 <= self.seed <= 2**32 - self.keys or not 0 <= self.target_seed < 2**32:
            raise ValueError("expected seeds of 0 to 2^32 - 1.")
        if not all(1 <= units <= 10**5 for units in self.hidden) or not 1 <= self.steps <= 10**7:
            raise ValueError("expected hidden layers of 1 to 100000 units, 1 to 10^7 steps.")
        if not 2 <= self.bits <= 16 or not 0 < self.delta < 1:
            raise ValueError("expected 2 to 16 bits and 0 < delta < 1.")
        for name, value, known in (
            ("candidates", self.candidates, random_network.KINDS),
            ("objective", self.objective, ("auto", *solvers.OBJECTIVES)),
            ("dataset", self.dataset, (None, *datasets.DATASETS)),
            ("lock", self.lock, ("leave", "wait")),
        ):
            if value not in known:
                raise ValueError(f"expected --{name} of {', '.join(map(str, known))}, got {value}.")


def show(row: dict) -> None:
    """Prints one line of the table."""
    sizes = [",".join(map(str, row[n])) if row[n] else "-" for n in ("widths", "proved_widths")]
    print(
        f"{row['eps']:7g} {row['seed']:4d}  {sizes[0]:>14} {sizes[1]:>18} {row['kept']:9d} "
        f"{row['certificate']:11.4g} {row['largest_error_found']:9.4g}  "
        f"{row['ticket_accuracy']:.4f} ({row['target_accuracy']:.4f}) {row['ticket_bytes']:9d} "
        f"{100 * row['ticket_bytes'] / row['float32_bytes']:6.1f} % {row['seconds']:6.1f}",
        flush=True,
    )


def run(config: Config) -> list[dict]:
    """Adds to construction.json what is missing: tickets, their rows and the plot.

    Returns:
        The objects that were asked for.
    """
    weights, found = construction_row.source(config)
    facts = {"data_sha256": found.sha256, "target_sha256": weights and targets.digest(weights)}
    with theory_folder.held("construction", config, ASIDE, facts, FILES) as out:
        path = out / "construction.json"
        rows = files.read_json(path, construction_row.FIELDS, list) or []
        there = {(row["eps"], row["seed"]): row for row in rows}
        given = None
        print("      ε  key    n per layer     proved to do it      kept certificate     found"
              "  accuracy (target)   bytes, of float32    s")  # fmt: skip
        asked = []
        for eps in config.eps:
            for seed in range(config.seed, config.seed + config.keys):
                if (eps, seed) not in there:
                    given = given or construction_row.problem(config, weights, found)
                    row = construction_row.build(config, given, eps, seed, out)
                    there[eps, seed] = row
                    files.write_json(path, list(there.values()))
                asked.append(there[eps, seed])
                show(asked[-1])
        logit = asked[0]["largest_logit"]
        print(f"largest logit {logit:.4g}; η {config.eta:g}; commit {runs.git_revision()}")
        rows = list(there.values())
        drawing = plots_construction.over_parameterization(rows, config.delta)
        plots.save(drawing, out / "construction.png")
        print(f"written to {out}")
    return asked


if __name__ == "__main__":
    sys.exit(cli.main(run, Config(), __doc__))
