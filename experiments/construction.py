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

import pathlib
import sys
import time
from typing import Any

import jax
import numpy as np

from experiments import cli
from experiments.cli import construction_flags, construction_table, theory_folder
from lth_jax import errors, files, runs, tickets
from lth_jax.masks import selection
from lth_jax.report import plots, plots_construction
from lth_jax.theory import construction, targets
from lth_jax.theory.construction import examination, problem
from lth_jax.theory.subset_sum import solvers

Config = construction_flags.Config
# These change no object that is there: the axes, places and pace.
ASIDE = ("eps", "keys", "seed", "target", "data_dir", "out", "lock")


def add(
    config: Config, given: problem.Problem, eps: float, seed: int, folder: pathlib.Path
) -> dict[str, Any]:
    """Builds, stores, runs and certifies one network, and returns its object of construction.json.

    Raises:
        RunError: If the certificate is refuted by an error that was found: a bug.
    """
    started = time.perf_counter()
    auto: solvers.Objective = "best" if eps > 0 else "first"
    built = construction.approximate(
        given.target,
        jax.random.key(seed),
        eps,
        config.eta,
        config.width,
        nonnegative_input=not config.full,
        candidates=config.candidates,
        objective=auto if config.objective == "auto" else config.objective,
        bits=config.bits,
    )
    found_at, path = time.perf_counter(), folder / f"eps-{eps}_seed-{seed}.ticket"
    size = tickets.save(
        path,
        built.candidates,
        built.weights,
        built.masks,
        tickets.ConstructionOrigin(seed, built.layout),
        bits=config.bits if eps > 0 else None,
        eps=eps,
        embed_weights=config.candidates != "uniform",
    )
    stored_at, pruned = time.perf_counter(), selection.apply_mask(built.weights, built.masks)
    accuracy = problem.accuracy(built.model, pruned, given)
    ran_at, rng = time.perf_counter(), np.random.default_rng(seed)
    seen = construction.examine(built, given.target, given.images, rng)
    if not seen.holds:
        raise errors.RunError(
            f"{path.name}: certified {seen.bound.value}, but found {seen.found.value}."
        )
    known = describe(config, given, built, seen, eps)
    return {
        "eps": eps,
        "eta": config.eta,
        "seed": seed,
        **known,
        "ticket_accuracy": accuracy,
        "ticket_bytes": size,
        "float32_bytes": 4 * known["candidates"],
        "target_sha256": targets.digest(given.target),
        "git": runs.git_revision(),
        "construct_seconds": found_at - started,
        "store_seconds": stored_at - found_at,
        "run_seconds": ran_at - stored_at,
        "certify_seconds": time.perf_counter() - ran_at,
        "seconds": time.perf_counter() - started,
    }


def describe(
    config: Config,
    given: problem.Problem,
    built: construction.Construction,
    seen: examination.Examination,
    eps: float,
) -> dict[str, Any]:
    """What is known of a network, by the names that it has in construction.json."""
    layout, bound = built.layout, seen.bound
    theory = construction.widths_by_theory(layout, given.target, eps, config.eta, config.delta)
    return {
        "n": max(layout.widths),
        "widths": list(layout.widths),
        **(theory._asdict() if theory else dict.fromkeys(examination.Widths._fields)),
        "halves": layout.halves,
        "scales": list(layout.scales),
        "not_found": int(sum((~found).sum() for found in built.found)),
        **construction.counts(built)._asdict(),
        "domain": seen.domain,
        "certificate": bound.value,
        "certificate_entrywise": bound.entrywise,
        "certificate_l2": bound.l2,
        "largest_error_found": seen.found.value,
        "largest_error_on_data": seen.found.data,
        "rounding": bound.rounding,
        "largest_logit": float(np.abs(given.logits).max()),
        "target_accuracy": float(np.mean(given.logits.argmax(axis=1) == given.labels)),
    }


def run(config: Config) -> list[dict[str, Any]]:
    """Adds to construction.json what is missing: tickets, their rows and the plot.

    Returns:
        The objects that were asked for.
    """
    weights, dataset = construction_flags.source(config)
    facts = {"data_sha256": dataset.sha256, "target_sha256": weights and targets.digest(weights)}
    folder = theory_folder.own_folder("construction", config, ASIDE, facts, ("construction.json",))
    with folder as out:
        path = out / "construction.json"
        rows = files.read_json(path, construction_table.FIELDS, list) or []
        there = {(row["eps"], row["seed"]): row for row in rows}
        seeds = range(config.seed, config.seed + config.keys)
        wanted = [(eps, seed) for eps in config.eps for seed in seeds]
        given = None
        print(construction_table.HEAD)
        for eps, seed in wanted:
            if (eps, seed) not in there:
                if given is None:
                    key = jax.random.key(config.target_seed)
                    weights = weights or problem.trained_on(
                        dataset, key, config.hidden, config.steps
                    )
                    given = problem.on_dataset(weights, dataset)
                there[eps, seed] = add(config, given, eps, seed, out)
                files.write_json(path, list(there.values()))
            print(construction_table.line(there[eps, seed]), flush=True)
        asked = [there[each] for each in wanted]
        logit = asked[0]["largest_logit"]
        print(f"largest logit {logit:.4g}; η {config.eta:g}; commit {runs.git_revision()}")
        rows = list(there.values())
        drawing = plots_construction.over_parameterization(rows, config.delta)
        plots.save(drawing, out / "construction.png")
        print(f"written to {out}")
    return asked


if __name__ == "__main__":
    sys.exit(cli.main(run, Config(), __doc__))
