"""The body of the image studies: a grid of method × eps × sparsity × seed into a folder.

Each study is this with other defaults; so their flags, their folders and their tables are alike.
"""

import contextlib
import functools
import os
import pathlib
import sys
import time
from collections.abc import Iterator

import jax
import rich.console
import rich.progress

from experiments.cli import image_flags, lane_tickets, signals, table, together
from lth_jax import datasets, errors, models, pruners, runs, sweep, training
from lth_jax.runs import checkpoints, parts
from lth_jax.sweep import plan, programs, snapshots

Config = image_flags.Config
_WIDTH = 156  # columns where no terminal says how many there are


def _problem(config: Config, dataset: datasets.Dataset) -> training.Problem:
    shape = dataset.train.images.shape[1:]
    model = models.build_model(config.model, shape, dataset.classes, config.init, config.width)
    bound = models.SCORE_BOUNDS.get(config.model)
    options = {} if bound is None else {"score_bound": bound}
    pruner = pruners.PRUNERS[config.pruner](scope=config.scope, **options)
    return training.Problem(model, pruner, config.recipe())


def run(config: Config, study: str, console: rich.console.Console | None = None) -> list[dict]:
    """Runs what is missing of a study and writes the folder.

    Args:
        config: What to run.
        study: Name of the experiment, for the folder.
        console: Where to print; standard output if None.

    Returns:
        All rows of the folder that belong to the grid asked for; one of many processes knows those
        of its own part.

    Raises:
        InputError: If the data, the folder or a combination of settings is bad.
        RunError: If the folder is in use, or the run cannot go on.
        Stopped: After a signal; the running stage is saved then.
    """
    console = console or rich.console.Console()
    if not console.is_terminal:
        console = rich.console.Console(file=console.file, width=_WIDTH)
    with contextlib.ExitStack() as stack:
        if not config.distributed:
            process, prepared = parts.Process(), _prepare(config, study, parts.Process(), stack)
        else:
            with parts.Meeting(config.coordinator, config.processes, config.process) as meeting:
                process = meeting.process
                do = functools.partial(_prepare, config, study, process, stack)
                prepared = together.prepare(meeting, stack, do)
        return _Run(config, study, process, console, *prepared).run()


def _prepare(config, study, process, stack) -> tuple:
    """Checks everything, then holds the folder: (path, dataset, config.json, defaults)."""
    dataset = datasets.load(
        config.dataset,
        config.data_dir,
        config.train_size or None,
        mirror=config.mirror,
        offline=config.offline,
    )
    strategy = programs.strategy_for(config.strategy)
    try:
        shapes = sweep.check(_problem(config, dataset), dataset, config.max_lanes)
    except ValueError as error:
        raise errors.InputError(" ".join(str(error).split())) from None
    except (OverflowError, TypeError, MemoryError):
        raise errors.InputError(f"--width={config.width}: the network is too large.") from None
    _check_memory(config, shapes)
    settings = image_flags.of_lanes(config, strategy)
    defaults = image_flags.of_lanes(Config(), "map")
    path = pathlib.Path(config.out or f"runs/{study}-{runs.identity(settings, defaults)}")
    described = {
        "study": study,
        **settings,
        **runs.environment(),
        "data_sha256": dataset.sha256,
        "git": runs.git_revision(),
    }
    runs.check(path, described, defaults)
    if process.index == 0:
        stack.enter_context(runs.locked(path, config.lock == "wait", _warn))
        runs.Folder(path, described, defaults=defaults)
    return path, dataset, described, defaults


def _check_memory(config, shapes) -> None:
    # At the very least a device holds a lane's centre, weights, gradient and momentum.
    needed = 4 * sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(shapes.weights))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if jax.default_backend() == "cpu" and needed > memory:
        raise errors.InputError(
            f"--model={config.model} --width={config.width}: one lane needs more memory than the "
            f"{memory / 1e9:.1f} GB of this machine."
        )


def _warn(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


class _Run:
    """A folder that is held, and everything that is needed to fill it."""

    def __init__(self, config, study, process, console, path, dataset, described, defaults):
        self.config, self.study, self.process, self.console = config, study, process, console
        self.path, self.dataset, self.git = path, dataset, described["git"]
        self._folder = functools.partial(runs.Folder, path, described, defaults=defaults)
        self.scaled = config.scale_init
        seeds = range(config.seed, config.seed + config.seeds)
        self.lanes = plan.lanes(config.method, config.eps, config.sparsity, seeds)
        self.title = f"{config.model} on {dataset.name}"

    def run(self) -> list[dict]:
        config, process = self.config, self.process
        runner = sweep.Grid(
            _problem(config, self.dataset), self.dataset, config.strategy, config.max_lanes
        )
        size = runner.block_size(len(self.lanes))
        if process.index == 0:
            parts.merge(self.path, self.lanes, self.scaled, size)
        folder = self._folder(process.results)
        mine = parts.deal(self.lanes, process, self.scaled)
        done = folder.done
        missing = sum(lane not in done for lane in mine)
        self._announce(runner, mine, missing)
        if config.keep_tickets and process.index == 0:
            bare = lane_tickets.without(self.path, folder.rows)
            if bare:
                _warn(f"{bare} finished lanes were run without tickets; another --out keeps all")
        if missing:
            self._finish(runner, mine, folder)
        if process.index > 0:
            self.console.print(f"process {process.index} of {process.count} is done")
            return folder.rows
        if process.count > 1:
            self._gather(size)
            folder = self._folder()
        if missing:  # Before the report, which may be killed or find the disk full.
            for kept in self.path.glob("checkpoints*"):
                checkpoints.clear(kept)
            parts.clean(self.path)
        try:
            rows = table.report(folder, self.lanes, self.title, self.console)
        except OSError as error:
            where = error.filename or self.path
            raise errors.RunError(f"{where}: {error.strerror or error}.") from None
        return rows

    def _announce(self, runner, mine, missing):
        config, process = self.config, self.process
        who = "" if process.count == 1 else f" (process {process.index} of {process.count})"
        self.console.print(
            f"{self.study}{who}: {config.model} on {self.dataset.name} "
            f"({len(self.dataset.train.labels):,} training images), {len(mine)} lanes, "
            f"{missing} to run, E = {config.perturb_epochs}, P = {config.prune_epochs} epochs, "
            f"{runner.programs.strategy} over {runner.programs.devices} devices"
        )

    def _gather(self, size):
        """Merges the parts of all processes into one file, once they have ended."""
        parts.wait_for_others(self.path, self.process, self.console.print)
        parts.merge(self.path, self.lanes, self.scaled, size)
        done = self._folder().done
        left = sum(lane not in done for lane in self.lanes)
        if left:
            raise errors.RunError(
                f"{self.path}: a process was lost, {left} of {len(self.lanes)} lanes are missing; "
                "the same command, with any number of processes, runs them."
            )

    def _saved(self, folder: runs.Folder) -> Iterator[snapshots.Snapshot]:
        """The newest good snapshot of this process, else of all that left one."""
        own = self.path / self.process.checkpoints
        folders = [own] if own.exists() else sorted(self.path.glob("checkpoints*"))
        for place in folders:
            for meta, arrays in checkpoints.load(place, _warn):
                try:
                    # Rows may be deleted by hand to begin anew with other settings: these stay.
                    if meta["run"] != folder.run:
                        _warn(f"{place}: checkpoint of other settings passed over")
                        continue
                    yield snapshots.from_stored(meta, arrays)
                except (KeyError, TypeError):
                    _warn(f"{place}: checkpoint of another version passed over")
                    continue
                break

    def _save(self, runner, folder: runs.Folder) -> str | None:
        """Writes a checkpoint; says why not if it cannot: no reason to lose the run as well."""
        meta, arrays = snapshots.to_stored(runner.snapshot())
        try:
            checkpoints.save(
                self.path / self.process.checkpoints, meta | {"run": folder.run}, arrays
            )
        except errors.RunError as error:
            return str(error)
        return None

    def _finish(self, runner, mine, folder) -> None:
        """Runs the missing lanes, with progress, checkpoints and an ear for signals."""
        config, console = self.config, self.console
        head = {
            "dataset": self.dataset.name,
            "model": config.model,
            "pruner": config.pruner,
            "scope": config.scope,
            "init": config.init,
            "eps_unit": config.eps_unit,
            "git": self.git,
        }
        started = saved_at = time.monotonic()
        told = False
        columns = rich.progress.Progress.get_default_columns()
        shown = config.progress and console.is_terminal and self.process.index == 0
        bar = rich.progress.Progress(*columns, console=console, disable=not shown)
        with bar, signals.deferred() as pending:
            task = bar.add_task("training")
            for event in runner.run(mine, folder.done, list(self._saved(folder))):
                if isinstance(event, sweep.Finished):
                    if config.keep_tickets:  # Before its row, which says that the lane is done.
                        lane_tickets.keep(self.path, event, config, self.dataset)
                    folder.append([head | event.row])
                    continue
                stop = pending.number is not None
                if stop or time.monotonic() - saved_at >= 60 * config.checkpoint_minutes:
                    trouble = self._save(runner, folder)
                    if trouble:
                        _warn(trouble)
                    saved_at = time.monotonic()
                if stop:
                    break
                done, whole = event.lane_steps, event.all_lane_steps
                bar.update(task, completed=done, total=whole, description=event.kind)
                if event.seconds > 1 and not told:
                    told = True
                    left = event.seconds * (whole - done) / done
                    console.print(f"about {_duration(left)} left, {whole:,} gradient steps in all")
            if pending.number is not None:
                raise signals.Stopped(pending.number)
        console.print(f"ran {_duration(time.monotonic() - started)}")


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.1f} min"
