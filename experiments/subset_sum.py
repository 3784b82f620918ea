"""Does an ε-perturbation reduce the candidates that a random subset sum needs?

Phase diagram of the minimal n over (η, ε), all z in [-1/2, 1/2]:

    python -m experiments.subset_sum
    n50 ≈ 1.15 lg(1/max(η,ε)) + 1.12, R² .92, 31 cells, 1,000 trials each; 51 s, 4790598

How loose the bounds are, each beside what a simulation needs:

    python -m experiments.subset_sum --bounds
    (.01, 0), one target: 7/10 at 50/90 % (1,000 trials), 11/18 proved, 6/7 necessary; 397,000
    weights at δ = .05: 51 proved, 23 necessary; 2.0 min on 2 busy cores, 58f9f6d

Figure 2 on the published 784-500-10 target (397,000 weights), 10 draws per cell:

    python -m experiments.subset_sum --figure2 --target=FILE.npz --sets=row
    26 of 36 cells within ±1 of the published n, 33 within ±2; 10.0 min on 2 CPU cores, baa136f
    --sets=weight --etas=0.01,0.001: 4 to 8 candidates more in every cell; 5.2 min, 4790598

Every weight of it once, searched and verified, a set for each weight:

    python -m experiments.subset_sum --solve --target=FILE.npz --n=21 --eta=0.01 --sets=weight
    396,999 found, 1 proved impossible; 1.7 s (HiGHS on 50 weights: 1,330 times slower), baa136f
    --objective=sparsest 2.8 s, --objective=best 23.4 s, --n=29 --eta=1e-5 27.0 s
"""

import dataclasses
import json
import pathlib
import sys
import time
from typing import Any, Literal

import jax

from experiments import cli
from experiments.cli import bounds_table, theory_folder
from lth_jax import files, numerics
from lth_jax.report import plots, plots_subset_sum
from lth_jax.theory import targets
from lth_jax.theory.subset_sum import candidate_sets, fit, looseness, phase, solvers
from lth_jax.theory.subset_sum import figure2 as published

setting = cli.setting
# Fields that change no number of a mode's: axes and places, and what only other modes read.
_PLACES, _FIGURE2 = ("target", "out", "lock"), ("etas", "ratios", "draws", "success")
_SOLVE, _PHASE = ("n", "eta", "eps", "objective", "highs"), ("phase_etas", "phase_eps", "trials")
_FILES = ("figure2.json", "solve.json", "phase.json", "bounds.json")
_ASIDE = {
    "figure2": (*_PLACES, *_SOLVE, *_PHASE, "etas", "ratios"),
    "solve": (*_PLACES, *_FIGURE2, *_PHASE),
    "phase": (*_PLACES, *_FIGURE2, *_SOLVE, "sets"),
    "bounds": (*_PLACES, *_FIGURE2, *_SOLVE, "sets"),
}


@dataclasses.dataclass(frozen=True)
class Config:
    """The settings; without --figure2, --solve or --bounds the phase diagram is simulated."""

    figure2: bool = setting(False, "Regenerate figure 2 of Xiong et al. (2023).")
    solve: bool = setting(False, "Fit every weight of the target once.")
    bounds: bool = setting(False, "How loose the bounds are, over --phase_etas and --phase_eps.")
    target: str | None = setting(None, "An .npz of weight matrices; none trains one on digits.")
    sets: candidate_sets.Sharing = setting("row", "A candidate set per output row or per weight.")
    n: int = setting(21, "With --solve: candidates per set.")
    eta: float = setting(0.01, "With --solve: largest error of a weight.")
    eps: float = setting(0.0, "With --solve: largest perturbation of a candidate.")
    objective: solvers.Objective = setting("first", "With --solve: first, best or sparsest.")
    highs: int = setting(50, "With --solve: weights that HiGHS is timed on; 0 for none.")
    etas: tuple[float, ...] = setting(published.ETAS, "With --figure2: values of η.")
    ratios: tuple[float, ...] = setting(published.RATIOS, "With --figure2: values of ε/η.")
    draws: int = setting(10, "With --figure2: draws per cell.")
    success: float = setting(0.8, "With --figure2: fraction of the draws that must succeed.")
    phase_etas: tuple[float, ...] = setting((1e-2, 1e-3, 1e-4, 0.0), "Phase diagram: values of η.")
    phase_eps: tuple[float, ...] = setting(
        (0.0, 1e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3), "Phase diagram: values of ε."
    )
    trials: int = setting(1000, "Phase diagram: random candidate sets per ε.")
    seed: int = setting(0, "Seed of every draw.")
    out: str | None = setting(None, "Folder for the results; runs/subset_sum-ID if not given.")
    lock: Literal["leave", "wait"] = setting(
        "leave", "If another process has the folder: leave, or wait for it."
    )

    def __post_init__(self) -> None:
        if self.figure2 + self.solve + self.bounds > 1:
            raise ValueError("expected one of --figure2, --solve and --bounds.")
        if not 0 <= self.n <= solvers.MAX_CANDIDATES:
            raise ValueError(f"expected 0 <= n <= {solvers.MAX_CANDIDATES}, got {self.n}.")
        finite = (self.eta, self.eps, *self.etas, *self.ratios, *self.phase_etas, *self.phase_eps)
        if not all(0 <= value < 1e100 for value in finite):
            raise ValueError("expected finite eta, eps and ratios >= 0.")
        if max(*self.phase_etas, *self.phase_eps) == 0:
            raise ValueError("expected a --phase_etas or a --phase_eps above 0.")
        if not 0 < self.success <= 1:
            raise ValueError(f"expected 0 < success <= 1, got {self.success}.")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"expected a seed of 0 to 2^32 - 1, got {self.seed}.")
        if min(self.draws, self.trials) < 1 or self.highs < 0:
            raise ValueError("expected draws, trials >= 1 and highs >= 0.")


def regenerate(
    config: Config, key: jax.Array, weights: targets.Weights, out: pathlib.Path
) -> list[dict[str, Any]]:
    """All cells of figure 2; those already in figure2.json are kept."""
    fields = ("eta", "ratio", "n", "draws", "published")
    cells: list[dict[str, Any]] = files.read_json(out / "figure2.json", fields, list) or []
    done = {(cell["eta"], cell["ratio"]) for cell in cells}
    for eta in config.etas:
        for ratio in config.ratios:
            if (eta, ratio) in done:
                continue
            start = time.perf_counter()
            cell = published.cell(
                key, weights, config.sets, eta, ratio, config.draws, config.success
            )
            cells.append(cell)
            files.write_json(out / "figure2.json", cells)
            took = time.perf_counter() - start
            print(f"η {eta:g}  ε/η {ratio:g}  n {cell['n']}  {took:.1f} s", file=sys.stderr)
    print("  η      ε/η   n  published  draws")
    for c in cells:
        spread = " ".join(map(str, c["draws"]))
        print(f"{c['eta']:7g} {c['ratio']:5g} {c['n']!s:>4} {c['published']!s:>8}    {spread}")
    compared = sum(cell["published"] is not None for cell in cells)
    for distance in (1, 2):
        print(f"within ±{distance}: {published.within(cells, distance)} of {compared} cells")
    plots.save(plots_subset_sum.figure2(cells), out / "figure2.png")
    return cells


def diagram(config: Config, key: jax.Array, out: pathlib.Path) -> dict[str, Any]:
    """The phase diagram with its bounds, fit and plots."""
    result: dict[str, Any] | None = files.read_json(out / "phase.json", ("fit", "cells"))
    if result is None:
        rows = phase.cells(key, config.phase_etas, config.phase_eps, config.trials)
        result = {"fit": phase.fit(rows), "cells": rows}
        files.write_json(out / "phase.json", result)
    rows = result["cells"]
    print("  η       ε      n50/n90   suffices 50/90   necessary 50/90")
    for r in rows:
        print(
            f"{r['eta']:7g} {r['eps']:7g}   {r['n50']}/{r['n90']}   "
            f"{r['sufficient50']}/{r['sufficient90']}   {r['necessary50']}/{r['necessary90']}"
        )
    f = result["fit"]
    if f is None:
        print("no line: fewer than two values of max(η, ε) that have an n50")
    else:
        r2 = "" if f["r2"] is None else f", R² {f['r2']:.2f}"
        sign, offset = "-" if f["intercept"] < 0 else "+", abs(f["intercept"])
        print(f"n50 ≈ {f['slope']:.2f} lg(1/max(η,ε)) {sign} {offset:.2f}{r2}")
    plots.save(plots_subset_sum.phase_map(rows), out / "phase_map.png")
    plots.save(plots_subset_sum.phase_curves(rows), out / "phase_curves.png")
    return result


def compare_bounds(config: Config, key: jax.Array, out: pathlib.Path) -> dict[str, Any]:
    """The object of bounds.json; one that is there is kept."""
    result: dict[str, Any] | None = files.read_json(out / "bounds.json", ("targets", "sizes"))
    if result is None:
        asked = (config.phase_etas, config.phase_eps, config.trials)
        key_targets, key_sizes = jax.random.split(key)
        result = {
            "targets": looseness.target_rows(key_targets, *asked),
            "sizes": looseness.size_rows(key_sizes, *asked),
        }
        files.write_json(out / "bounds.json", result)
    print("\n".join([bounds_table.ONE, *map(bounds_table.target_line, result["targets"])]))
    print("\n".join([bounds_table.SIZE, *map(bounds_table.size_line, result["sizes"])]))
    return result


def solve(
    config: Config, key: jax.Array, weights: targets.Weights, out: pathlib.Path
) -> dict[str, Any]:
    """The object of solve.json; one that is there is kept."""
    result: dict[str, Any] | None = files.read_json(out / "solve.json")
    if result is None:
        args = (config.n, config.eta, config.eps, config.sets, config.objective, config.highs)
        result = fit.fit(key, weights, *args)
        files.write_json(out / "solve.json", result)
    print(json.dumps(result, indent=1))
    return result


def run(config: Config) -> dict[str, Any] | list[dict[str, Any]]:
    """Runs what the flags ask for and is not there; returns the content of its file."""
    key = numerics.key(config.seed)
    asked = [mode for mode in ("figure2", "solve", "bounds") if getattr(config, mode)]
    mode = asked[0] if asked else "phase"
    weights: targets.Weights = []
    if mode in ("figure2", "solve"):
        key_target, key = jax.random.split(key)
        weights = (
            targets.load(config.target) if config.target else targets.digits_target(key_target)
        )
    facts = {"target_sha256": targets.digest(weights) if weights else None}
    result: dict[str, Any] | list[dict[str, Any]]
    with theory_folder.own_folder("subset_sum", config, _ASIDE[mode], facts, _FILES) as out:
        if mode == "phase":
            result = diagram(config, key, out)
        elif mode == "bounds":
            result = compare_bounds(config, key, out)
        elif mode == "figure2":
            result = regenerate(config, key, weights, out)
        else:
            result = solve(config, key, weights, out)
        print(f"written to {out}")
    return result


if __name__ == "__main__":
    sys.exit(cli.main(run, Config(), __doc__))
