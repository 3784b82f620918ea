"""A run, or several, as one HTML page that needs nothing else: no network, no script.

    python -m experiments.report RUN...

A RUN is the folder of an image study, or an archive of its rows (experiments/results). The page is
report.html in the first folder; what was published stands beside it, from experiments/published.
"""

import dataclasses
import pathlib
import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from experiments import cli
from experiments.cli import flags, image_flags
from experiments.published import tables
from lth_jax import errors, files, runs, sweep, training
from lth_jax.report.page import document, heat, sources

NAME = "report.html"
# Whose settings are flags, by the study that a folder names: experiments.paper runs another one.
_STUDIES = {"digits": "digits", "mnist": "mnist", "cifar": "cifar", "paper": "mnist"}


@dataclasses.dataclass(frozen=True)
class Config:
    """What to show, and where."""

    runs: tuple[str, ...] = cli.setting((), "Folders of runs, or archives.", positional=True)
    out: str | None = cli.setting(None, f"Folder for {NAME}; the first RUN that is a folder.")

    def __post_init__(self) -> None:
        if self.out is not None and self.out.endswith(".html"):
            raise ValueError(f"out must be a folder, which gets {NAME}, got {self.out!r}.")


def commands(source: sources.Source) -> list[str]:
    """Commands that give a folder's rows, with every setting as a flag; none if they are not known.

    The rows are a grid if one command gave them; else there is a command per method or per cell.
    """
    study = _STUDIES.get(str(source.config.get("study")))
    if study is None:
        return []
    known = flags.of([image_flags.Config()])
    there = {name: source.config[name] for name in known if name in source.config}
    # A list that is empty, as of plugins, is what it is without its flag.
    settings = [f"--{name}={_typed(value)}" for name, value in there.items() if value != []]
    lanes = [runs.lane_of(row) for row in source.rows]
    return [
        shlex.join(["python", "-m", f"experiments.{study}", *grid, *settings])
        for grid in _grids(lanes)
    ]


def _typed(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _grids(lanes: Sequence[sweep.Lane]) -> list[list[str]]:
    """The flags of the axes, for as few commands as are found to give just these lanes."""
    if (whole := _grid(lanes)) is not None:
        return [whole]
    found = []
    for method in dict.fromkeys(lane.method for lane in lanes):
        own = [lane for lane in lanes if lane.method == method]
        grid = _grid(own)
        found += [grid] if grid is not None else _by_cell(own)
    return found


def _by_cell(lanes: Sequence[sweep.Lane]) -> list[list[str]]:
    """A command per cell and run of seeds."""
    found = []
    for cell in dict.fromkeys(lane[:3] for lane in lanes):
        runs_of_seeds: list[list[sweep.Lane]] = []
        for lane in sorted(lane for lane in lanes if lane[:3] == cell):
            if runs_of_seeds and runs_of_seeds[-1][-1].seed + 1 == lane.seed:
                runs_of_seeds[-1].append(lane)
            else:
                runs_of_seeds.append([lane])
        found += [grid for some in runs_of_seeds if (grid := _grid(some)) is not None]
    return found


def _grid(lanes: Sequence[sweep.Lane]) -> list[str] | None:
    """The flags of the grid that these lanes are, or None if they are none."""
    methods = list(dict.fromkeys(lane.method for lane in lanes))
    free = {method for method in methods if not training.METHODS[method].takes_eps}
    eps = sorted({x.eps for x in lanes if x.eps is not None and x.method not in free})
    sparsity = sorted({x.sparsity for x in lanes if x.sparsity is not None})
    seeds = sorted({lane.seed for lane in lanes})
    try:
        whole = sweep.lanes(methods, eps, sparsity, range(seeds[0], seeds[-1] + 1))
    except ValueError:
        return None
    if set(whole) != set(lanes):
        return None
    axes = {"method": methods, "eps": eps, "sparsity": sparsity}
    given = [f"--{name}={','.join(map(str, axis))}" for name, axis in axes.items() if axis]
    return [*given, f"--seeds={len(seeds)}", f"--seed={seeds[0]}"]


def _published() -> tuple[Mapping[str, heat.Published], str]:
    """The paper's tables by method, and where they are from."""
    paper = tables.paper()
    by_method = {
        table.method: heat.Published(f"table {table.number} of the paper", table.cells)
        for table in paper.tables.values()
    }
    return by_method, f"{paper.source}. {paper.note}"


def run(config: Config) -> pathlib.Path:
    """Writes the page and prints where it is.

    Raises:
        InputError: If there is no run, or one cannot be read.
        RunError: If the page cannot be written.
    """
    if not config.runs:
        raise errors.InputError("expected a RUN: the folder of a run, or an archive of its rows.")
    read = [sources.read(path) for path in config.runs]
    folders = [source.folder for source in read if source.folder is not None]
    if config.out is None and not folders:
        raise errors.InputError("out must be given, for no RUN is a folder.")
    place = pathlib.Path(config.out) if config.out is not None else folders[0]
    some = sources.together(read)
    tables, about = _published()
    known = {source.name: commands(source) for source in some}
    page = document.make(some, tables, about, known)
    try:
        place.mkdir(parents=True, exist_ok=True)
        files.write(place / NAME, page)
    except OSError as error:
        where = error.filename or place / NAME
        raise errors.InputError(f"{where}: {error.strerror or error}.") from None
    print(place / NAME)
    return place / NAME


if __name__ == "__main__":
    sys.exit(cli.main(run, Config(), __doc__))
