"""Does SGD in the ε-ball find as good a ticket as one that is known to exist?

    python -m experiments.planted --odd=given --task=circle
    no: joint 61 % right at ε = 0.01, density 0.125, loss 0.42 ± 0.26 above the planted ticket's
    0.405 (91 %); masks overlap by 12 % (by chance 12); n = 5 random networks, commit f734e48

planted.json keeps what was asked for once; the same command adds what is missing.
"""

import sys
from typing import Any

from experiments import cli
from experiments.cli import theory_folder
from experiments.planted import flags, picture, rows, table, tasks
from lth_jax import files, runs
from lth_jax.report import plots

Config = flags.Config
# These change no object that is there: the axes, places and pace.
ASIDE = ("task", "odd", "count", "method", "eps", "kept", "seeds", "seed", "max_lanes")
ASIDE += ("out", "lock")


def run(config: Config) -> list[dict[str, Any]]:
    """Adds to planted.json what is missing, and writes the table and the plots.

    Returns:
        The objects that were asked for.
    """
    own = theory_folder.own_folder("planted", config, ASIDE, {}, ("planted.json",))
    with own as out:
        path = out / "planted.json"
        known = files.read_json(path, table.FIELDS, list) or []
        there = {rows.cell_of(row): row for row in known}
        asked = []
        for name in config.task:
            task = tasks.load(name, config.steps, config.target_seed)
            for odd in config.odd:
                for count in config.count:
                    variant = rows.Variant(name, odd, count)
                    asked += rows.add(config, task, variant, out, there)
                    files.write_json(path, list(there.values()))
                    print(f"{' '.join(variant)}: done", flush=True)
        found = [there[cell] for cell in dict.fromkeys(asked)]
        print(table.table(found, runs.git_revision()))
        for odd in config.odd:
            for count in config.count:
                mine = [r for r in found if r["odd"] == odd and r["count"] in (None, count)]
                title = f"odd layers {odd}, {count} count"
                plots.save(picture.losses(mine, title), out / f"planted_{odd}_{count}.png")
        print(f"written to {out}")
    return found


if __name__ == "__main__":
    sys.exit(cli.main(run, Config(), __doc__))
