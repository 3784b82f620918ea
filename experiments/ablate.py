"""Does it matter which weights a ticket keeps, what they are, and where? Destroys one at a time.

    python -m experiments.ablate --run=FOLDER      # every ticket of a run with --keep_tickets
    python -m experiments.ablate --ticket=FILE

For each ticket the test accuracy of its network, and of four others that are not trained either:

  shuffled  the mask is shuffled within each tensor, which keeps its number of weights
  redrawn   the mask is the ticket's, the weights are those of another seed
  inverted  as many weights as the ticket keeps, those with the least scores
  random    as many weights as the ticket keeps, drawn from all tensors together

Where weights moved in a ball, those that the ticket does not keep are the initial ones. Also says
whether a tensor has collapsed, that is, keeps nothing, and how many units of a layer have no kept
weight. Writes ablations.json, a row for each ticket, and prints means with 95 % intervals and
differences paired by seed. The test split chooses nothing here.
"""

import dataclasses
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from experiments import cli
from lth_jax import datasets, errors, files, pruners, runs, tickets
from lth_jax.report import statistics
from lth_jax.runs import results
from lth_jax.tickets import ablations
from lth_jax.tickets import lane as lane_tickets
from lth_jax.tickets import origin as origins

_AXES = ("method", "eps", "sparsity", "seed")
Row = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Config:
    """Which tickets, and where their data are."""

    run: str = cli.setting("", "A run's folder with tickets.")
    ticket: str = cli.setting("", "A ticket's file, in place of a run.")
    draws: int = cli.setting(5, "How often to draw what is random.")
    data_dir: str | None = cli.setting(None, "Folder with the data set's files.")
    offline: bool = cli.setting(False, "Never download anything.")
    to: str = cli.setting("", "The file to write; RUN/ablations.json or TICKET.json if not given.")

    def __post_init__(self) -> None:
        if self.draws < 1:
            raise ValueError(f"draws must be at least 1, got {self.draws}.")

    @property
    def file(self) -> pathlib.Path:
        """Where rows go."""
        name = f"{self.run}/ablations.json" if self.run else f"{self.ticket}.json"
        return pathlib.Path(self.to or name)


def found(config: Config) -> dict[pathlib.Path, Row]:
    """The tickets' files, each with its lane's method, eps, sparsity and seed where they are known.

    Raises:
        InputError: If there are none.
    """
    if bool(config.run) == bool(config.ticket):
        raise errors.InputError("run or ticket must be given, and not both.")
    if config.ticket:
        return {pathlib.Path(config.ticket): {}}
    rows, _ = results.read(pathlib.Path(config.run) / results.RESULTS)
    places = {lane_tickets.place(pathlib.Path(config.run), runs.lane_of(row)): row for row in rows}
    there = {
        place: {name: row[name] for name in _AXES}
        for place, row in places.items()
        if place.exists() and row["sparsity"] is not None
    }
    if not there:
        raise errors.InputError(f"run: {config.run}: no tickets with a mask; see --keep_tickets.")
    return there


class Judge:
    """Ablates tickets; what they share, as data and compiled programs, is made once."""

    def __init__(self, config: Config):
        """Reads nothing yet."""
        self._config = config
        self._scorers: dict[str, Any] = {}

    def row(self, file: pathlib.Path) -> Row:
        """What is left of a ticket.

        Raises:
            InputError: If it cannot be read, or its network or its data are nobody's by name.
        """
        loaded = tickets.load(file)
        note = loaded.header["note"]
        try:
            origin = loaded.origin
        except (KeyError, TypeError, ValueError):
            origin = None
        if not isinstance(origin, tickets.ModelOrigin) or "mean" not in note:
            raise errors.InputError(f"{file}: no network of a model by name on a data set by name.")
        pruned = _which(loaded.masks)

        def draw(seed: int) -> Any:
            return origins.regenerate(dataclasses.replace(origin, seed=seed), pruned)

        model = tickets.model_of(origin)
        pruner = pruners.build_pruner(note.get("pruner", "edge_popup"))
        score = self._scorer(model, note)
        values = ablations.accuracies(loaded, origin.seed, draw, pruner, score, self._config.draws)
        left = ablations.tensors(loaded.masks, model.kernel_axes)
        return {
            "ticket": file.name,
            "dataset": note["dataset"],
            "model": note["model"],
            "pruner": pruner.name,
            "accuracy": values,
            "tensors": [each._asdict() for each in left],
            "collapsed": [each.path for each in left if not each.kept],
        }

    def _scorer(self, model: Any, note: Mapping[str, Any]) -> Any:
        key = files.canonical_json([model.architecture, note["dataset"], note["mean"], note["std"]])
        if key not in self._scorers:
            name, config = note["dataset"], self._config
            data = datasets.load(name, config.data_dir, offline=config.offline)
            if data.train.images.shape[1:] != tuple(model.architecture.shape):
                raise errors.InputError(f"{name}: images of another shape than the ticket's.")
            self._scorers[key] = ablations.scorer(model, data, note)
        return self._scorers[key]


def _which(masks: Mapping[str, Any]) -> dict[str, Any]:
    """Which leaves are pruned: nested dicts of bools."""
    return {
        name: _which(part) if isinstance(part, Mapping) else part is not None
        for name, part in masks.items()
    }


def table(rows: Sequence[Row]) -> list[str]:
    """Means in percent over the tickets of a cell, and what is lost, paired by ticket."""
    names = ("ticket", *ablations.NAMES)
    lines = ["| method | ε | sparsity | n | " + " | ".join(names) + " |", "|" + "---|" * 9]
    cells: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        cells.setdefault(tuple(row.get(name) for name in _AXES[:3]), []).append(row)
    for cell, mine in cells.items():
        means = {name: [_mean(row["accuracy"].get(name)) for row in mine] for name in names}
        shown = ["" if value is None else f"{value}" for value in cell]
        shown += [f"{len(mine)}", *(_shown(means[name], means["ticket"]) for name in names)]
        lines.append("| " + " | ".join(shown) + " |")
    return lines


def _mean(values: Sequence[float] | None) -> float | None:
    return None if values is None else statistics.mean(values).mean


def _shown(values: Sequence[float | None], of_tickets: Sequence[float]) -> str:
    """The mean with its interval, and for others than the tickets the paired difference."""
    if any(value is None for value in values):
        return ""
    mean, less = statistics.mean(values), statistics.paired(values, of_tickets)
    lost = "" if values == of_tickets else f" ({_percent(less.difference, less.half, '+')})"
    return _percent(mean.mean, mean.half) + lost


def _percent(value: float, half: float, sign: str = "") -> str:
    return f"{100 * value:{sign}.2f}" + (f" ± {100 * half:.2f}" if half == half else "")


def collapse_lines(rows: Sequence[Row]) -> list[str]:
    """Which tensors have collapsed, and of which units no weight is kept."""
    by_path: dict[str, list[Row]] = {}
    for row in rows:
        for tensor in row["tensors"]:
            by_path.setdefault(tensor["path"], []).append(tensor)
    lines = []
    for path, mine in by_path.items():
        gone = sum(not tensor["kept"] for tensor in mine)
        kept = statistics.mean([tensor["kept"] / tensor["total"] for tensor in mine]).mean
        idle = [
            f"{max(t[f'idle_{side}'] for t in mine)} of {mine[0][side]} {side}"
            for side in ("inputs", "outputs")
        ]
        state = f"collapsed in {gone} of {len(mine)} tickets" if gone else "not collapsed"
        lines.append(
            f"{path}: {state}, {100 * kept:.2f} % kept, without a kept weight at most "
            f"{' and '.join(idle)}"
        )
    return lines


def run(config: Config) -> None:
    """Ablates the tickets, prints the table and writes the rows.

    Raises:
        InputError: If a ticket or its data cannot be read.
        RunError: If the file cannot be written.
    """
    judge = Judge(config)
    rows = [judge.row(file) | about for file, about in found(config).items()]
    try:
        files.write_json(config.file, rows)
    except OSError as error:
        raise errors.RunError(f"{config.file}: {error.strerror or error}.") from None
    print("\n".join([*table(rows), "", *collapse_lines(rows)]))
    print(config.file)


if __name__ == "__main__":
    sys.exit(cli.main(run, Config(), __doc__))
