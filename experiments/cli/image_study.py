"""The body of the image studies: flags to a lth_jax.Study, its events and results to the terminal.

Each study is this with other defaults; so their flags, their folders and their tables are alike.
"""

import sys
import time
from typing import Any

import rich.console

from experiments.cli import display, image_flags, signals
from lth_jax import runs, study, sweep
from lth_jax.report import summary, table

Config = image_flags.Config


def run(
    config: Config, name: str, console: rich.console.Console | None = None
) -> list[dict[str, Any]]:
    """Runs what is missing of a study and writes the folder.

    Args:
        config: What to run.
        name: Of the experiment, for the folder.
        console: Where to print; standard output if None. With --table=csv all but the table goes
            to standard error.

    Returns:
        All rows of the folder that belong to the grid asked for.

    Raises:
        InputError: If the data, the folder or a combination of settings is bad.
        RunError: If the folder is in use, or the run cannot go on.
        Stopped: After a signal; the running stage is saved then.
    """
    console = console or rich.console.Console(stderr=config.table == "csv")
    if config.show_pruned:
        made = config.make_study(name, _warn)
        width = console.width if console.is_terminal else table.NARROW
        console.print(table.pruned_table(made.leaves, made.title, width), end="", highlight=False)
        return []
    made = config.make_study(name, _warn)
    with made.hold():
        watcher = _Watcher(config, made, console)
        with watcher.display, signals.deferred() as pending:
            watcher.pending = pending
            result = made.fill(config.lanes(), watcher)
            if pending.number is not None:  # Asked for after the last steps: nothing is lost.
                raise signals.Stopped(pending.number)
        watcher.report(result)
    return result.rows


def _warn(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


class _Watcher:
    """Shows events and hears signals: a study calls it with each event."""

    def __init__(self, config: Config, made: study.Study, console: rich.console.Console):
        self.config, self.study, self.console = config, made, console
        self.display = display.Display(config.progress, console)
        self.pending = signals.Pending()
        self._started, self._ran = time.monotonic(), False

    def __call__(self, event: study.Event) -> None:
        if isinstance(event, study.Started):
            self._announce(event)
        self.display(event)
        if isinstance(event, sweep.Progress):
            self._ran = True
            if self.pending.number is not None:
                raise signals.Stopped(self.pending.number)

    def _announce(self, event: study.Started) -> None:
        train = self.config.train
        where = "" if event.engine == "local" else " of a Ray cluster"
        self._started = time.monotonic()
        if self.config.progress != "quiet":
            self._say(
                f"{self.study.name}: {self.study.title} "
                f"({len(self.study.dataset.train.labels):,} training images), {event.lanes} lanes, "
                f"{event.missing} to run, E = {train.perturb_epochs}, P = {train.prune_epochs} "
                f"epochs, {event.strategy} over {event.devices} devices{where}"
            )
            for step in event.saved:
                self._say(f"a checkpoint was found, {step:,} steps into its stage")

    def report(self, result: study.Result) -> None:
        """Prints the table, what is best, and where the files are."""
        if self._ran and self.config.progress != "quiet":
            self._say(f"ran {display.duration(time.monotonic() - self._started)}")
        cells = result.summary()
        if self.config.table == "csv":
            print(summary.to_csv(cells), end="", flush=True)
        else:
            width, form = self.console.width, self.config.table
            self._say(table.accuracy_table(cells, self.study.title, width, form))
            for line in table.best_lines(cells):
                self._say(line)
        for file in (runs.RESULTS, study.SUMMARY, *study.PLOTS):
            if (result.path / file).exists():
                self._say(str(result.path / file))

    def _say(self, text: str) -> None:
        display.say(self.console, text)
