"""Which finder finds the best strong ticket, and what does ε give each? (LeNet-300-100)

    python -m experiments.finders --data_dir=FOLDER
    python -m experiments.finders --rows=FILE.jsonl.gz,...    # no data, no training

Every finder trains scores for E + P epochs: alone (prune_longer, ε = 0), and with weights in the
ball (joint). Baselines, whose masks are found at initialization, are the untrained network at
ε = 0 and weights in the ball for as many epochs (random_mask_then_perturb). SNIP, GraSP and SynFlow
rank all tensors together, as their papers do; the others rank each. Of --eps the one that validates
best, for each pruner and sparsity; of --rates and --decays the ones of the scores that validate
best on a seed of its own, for each finder. Accuracies are compared with edge-popup's by exact sign
flips of differences paired by seed, corrected by Holm over all that are compared with the same one
of its entries (a sparsity, weights that move or not): ten seeds could not decide the whole table,
as no p is below 2 / 2^10.

OUT/PRUNER are runs of their own, which the same command continues; OUT/finders.json has the table.
With --keep_tickets `python -m experiments.ablate --run=OUT/PRUNER` goes on from there. What
ten seeds on Fashion-MNIST say stands in experiments/README.md; 80 lanes took 3 to 7 minutes on 2
CPU cores.
"""

import sys
from typing import Any

import rich.console

from experiments import cli
from experiments.cli import flags as all_flags
from experiments.cli import image_study
from experiments.finders import flags, one_shots, table
from lth_jax import errors, files
from lth_jax.report import statistics


def best(config: flags.Config, name: str, console: rich.console.Console) -> table.Scores:
    """What validates best, over the sparsities, on a seed of its own."""
    if len(config.scores) == 1 or name not in flags.FINDERS:
        return config.scores[0]
    found = {}
    for scores in config.scores:
        study = config.study(name, scores, f"rates/{name}-{scores.rate:g}-{scores.decay:g}")
        alone = {"method": ("prune_longer",), "seeds": 1, "seed": config.seed + config.seeds}
        rows = image_study.run(all_flags.replace(study, **alone), "finders", console)
        fine = [row["val_accuracy"] for row in rows if row["diverged"] is None]
        found[scores] = statistics.mean(fine).mean if len(fine) == len(rows) else -1.0
    return max(found, key=lambda scores: found[scores])


def run(config: flags.Config) -> list[dict[str, Any]]:
    """Trains what is missing, and compares.

    Returns:
        All rows.

    Raises:
        InputError: If the data or a folder is bad.
        RunError: If a run cannot go on.
    """
    found = table.stored(config.rows) if config.rows else _trained(config)
    try:
        entries = table.entries(found)
    except ValueError as error:
        raise errors.InputError(f"rows: {error}") from None
    file = config.folder / "finders.json"
    try:
        config.folder.mkdir(parents=True, exist_ok=True)
        files.write_json(file, [entry.record() for entry in entries])
    except OSError as error:
        raise errors.RunError(f"{file}: {error.strerror or error}.") from None
    print("\n".join(table.lines(entries)))
    print(file)
    return found


def _trained(config: flags.Config) -> list[dict[str, Any]]:
    console, found = rich.console.Console(stderr=True), []
    if {*config.pruner} & {*one_shots.NAMES}:
        one_shots.register(config.study(table.REFERENCE, config.scores[0], "any"))
    for name in config.pruner:
        scores = best(config, name, console)
        rows = image_study.run(config.study(name, scores, name), "finders", console)
        found += [row | scores._asdict() for row in rows]
    return found


if __name__ == "__main__":
    sys.exit(cli.main(run, flags.Config(), __doc__))
