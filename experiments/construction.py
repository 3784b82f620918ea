"""How large is the random network that hides a given one, and how near does it come?

A network, a file's or one that is trained in the same command, built inside a random 2L-layer
network (theorem 2 of Xiong et al. 2023) for each ε, run, certified and stored:

    python -m experiments.construction
    64-32-10 on digits, certified to 1 % of the largest logit, one key: candidates per weight
    16.1 at ε = 0 and 11.0 at .1 with one width for all, 14.8 and 6.3 adaptive; 17 s, da86d5b

    python -m experiments.construction --target=FILE.npz --data_dir=DIR --keys=5 --eps=0.1
    784-500-10 on MNIST, 97.19 %: tickets 97.19 % (n = 5), 8.6 candidates per weight adaptive,
    11.6 with one width; 197 s on 2 busy cores, 9ed5478

The same command again adds what is missing; more ε or more keys add objects to the same folder.
"""

import functools
import sys
from typing import Any

from experiments import cli
from experiments.cli import in_order, theory_folder
from experiments.cli.construction import flags, objects, table
from lth_jax import errors, files, numerics, runs
from lth_jax.report import plots, plots_construction
from lth_jax.theory import targets
from lth_jax.theory.construction import problem

Config = flags.Config
# These change no object that is there: the axes, places and pace.
ASIDE = ("eps", "certified", "assignment", "keys", "seed", "target", "data_dir", "out", "lock")


def run(config: Config) -> list[dict[str, Any]]:
    """Adds to construction.json what is missing: tickets, their rows and the plot.

    Returns:
        The objects that were asked for.
    """
    weights, dataset = flags.source(config)
    facts = {"data_sha256": dataset.sha256, "target_sha256": weights and targets.digest(weights)}
    folder = theory_folder.own_folder("construction", config, ASIDE, facts, ("construction.json",))
    with folder as out:
        path = out / "construction.json"
        shown = table.of(config)
        known = files.read_json(path, shown.fields, list) or []
        there = {objects.cell_of(row): row for row in known}
        wanted = objects.cells(config)
        print(shown.head)
        for cell in wanted:
            if cell in there:
                print(shown.line(there[cell]), flush=True)
        failed = []
        if missing := [cell for cell in wanted if cell not in there]:
            key = numerics.key(config.target_seed)
            weights = weights or problem.trained_on(dataset, key, config.hidden, config.steps)
            given = problem.on_dataset(weights, dataset)
            make = functools.partial(objects.make, config, given, out)
            for cell, row in in_order.made(make, missing):
                if isinstance(row, errors.RunError):
                    failed.append(str(row))
                    continue
                there[cell] = row
                files.write_json(path, list(there.values()))
                print(shown.line(row), flush=True)
        if failed:
            raise errors.RunError(" ".join(failed))
        asked = [there[each] for each in wanted]
        print(shown.end(asked, runs.git_revision()))
        draw = plots_construction.sizes if config.eta is None else plots_construction.widths
        plots.save(draw(list(there.values()), config.delta), out / "construction.png")
        print(f"written to {out}")
    return asked


if __name__ == "__main__":
    sys.exit(cli.main(run, Config(), __doc__))
