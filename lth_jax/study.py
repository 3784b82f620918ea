"""Any model × any data × methods into a folder: the public door to the laboratory."""

import contextlib
import fnmatch
import functools
import logging
import math
import os
import pathlib
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from lth_jax import (
    datasets,
    errors,
    files,
    models,
    numerics,
    pruners,
    runs,
    sweep,
    tickets,
    training,
)
from lth_jax.masks import selection
from lth_jax.pruners import kernels
from lth_jax.report import summary
from lth_jax.runs import checkpoints, engines, jobs, saved, scalars
from lth_jax.runs.on_ray import cluster as ray_cluster
from lth_jax.runs.on_ray import work as ray_work
from lth_jax.runs.on_ray import worker as ray_worker
from lth_jax.sweep import fits, plan, programs, snapshots
from lth_jax.tickets import lane as lane_tickets
from lth_jax.training import fingerprint

if TYPE_CHECKING:
    from lth_jax.report import plots

SUMMARY = "summary.csv"
ACCURACY, VALIDATION, LOSS = "accuracy.png", "validation.png", "loss.png"
PLOTS = (ACCURACY, VALIDATION, LOSS)  # each with an .svg beside it
_NAME = re.compile(r"[A-Za-z0-9_+-][A-Za-z0-9_.+-]*")
_log = logging.getLogger("lth_jax")


class Started(NamedTuple):
    """A run is about to begin."""

    lanes: int
    missing: int  # of them, those without a row
    strategy: str
    devices: int
    engine: str = "local"
    saved: tuple[int, ...] = ()  # of each checkpoint found, the steps that its stage had taken


Tell = Callable[[str], None]
CurveField = summary.CurveField
Event = Started | sweep.Event


class Result:
    """What a run left: its rows, and what can be made of them."""

    def __init__(self, path: pathlib.Path, rows: Sequence[dict[str, Any]], asked: set[sweep.Lane]):
        """Keeps the folder, all its rows, and which lanes were asked for."""
        self.path, self._all = path, list(rows)
        self.rows = [row for row in self._all if runs.lane_of(row) in asked]

    def summary(self) -> list[summary.Cell]:
        """The cells asked for, with every seed and every baseline that the folder has."""
        shown = {runs.lane_of(row)[:3] for row in self.rows}
        return [cell for cell in summary.cells(self._all) if cell[:3] in shown]

    def table(self, width: int | None = None) -> str:
        """The summary as text: accuracies in percent, intervals, paired differences.

        Args:
            width: Columns of text to use; None is what the terminal has, 80 without one.
        """
        from lth_jax.report import table

        width = shutil.get_terminal_size().columns if width is None else width
        return table.accuracy_table(self.summary(), str(self.path), width)

    def to_pandas(self, what: Literal["rows", "summary"] = "rows") -> Any:
        """The rows asked for, or their summary, as a pandas.DataFrame.

        Args:
            what: "rows", as in results.jsonl, or "summary", as in summary.csv.

        Raises:
            ImportError: If pandas is not installed.
            ValueError: If `what` is neither.
        """
        from lth_jax.report import frames

        if what not in ("rows", "summary"):
            raise ValueError(f"what must be rows or summary, got {what!r}.")
        return frames.frame(self.rows if what == "rows" else summary.records(self.summary()))

    def plot(self, title: str = "") -> "plots.Figure":
        """Test accuracy against ε, of all the folder's cells, as a matplotlib figure."""
        from lth_jax.report import plots_accuracy

        return plots_accuracy.accuracy_against_eps(summary.cells(self._all), title)

    def plot_curves(self, field: CurveField = "val_curve", title: str = "") -> "plots.Figure":
        """Validation accuracy or training loss by epoch, of all the folder's rows, as a figure.

        Args:
            field: "val_curve" or "train_loss_curve".
            title: Of the figure.
        """
        from lth_jax.report import plots_curves

        return plots_curves.learning_curves(summary.curves(self._all, field), field, title)

    def tickets(self) -> list[pathlib.Path]:
        """The ticket files of the lanes asked for, in the order of their rows."""
        places = [lane_tickets.place(self.path, runs.lane_of(row)) for row in self.rows]
        return [place for place in places if place.exists()]


class Study:
    """A model, a data set, a pruner and a training config, with a folder for what they give."""

    def __init__(
        self,
        model: models.Model | models.ModelName,
        dataset: datasets.Dataset | datasets.DatasetName,
        pruner: pruners.Pruner | pruners.PrunerName = "edge_popup",
        train: training.TrainConfig | None = None,
        out: str | os.PathLike[str] | None = None,
        *,
        name: str = "study",
        scope: selection.Scope = "tensor",
        prunable: pruners.Prunable | None = None,
        exclude: Sequence[str] = (),
        strategy: sweep.Strategy = "auto",
        max_lanes: int = 16,
        keep_tickets: bool = False,
        ticket_bits: int = 0,
        checkpoint_minutes: float = 5.0,
        lock: Literal["leave", "wait"] = "leave",
        tensorboard: bool = False,
        plugins: Sequence[str] = (),
        engine: engines.Engine | Literal["local", "ray"] = "local",
        tell: Tell = _log.warning,
    ):
        """Checks everything before any work; touches no folder yet.

        Args:
            model: A Model, or the name of one of models.MODELS at its usual width.
            dataset: A Dataset, or the name of one of datasets.DATASETS.
            pruner: A Pruner, or the name of one of pruners.PRUNERS. Each folder has a `register`.
            train: How stages train; None is TrainConfig().
            out: The run's folder; None is runs/NAME-ID, the ID being made of the settings.
            name: What the study is called: letters, digits and _.+-, as it names a folder.
            scope: "tensor" prunes every tensor alike, "global" ranks all weights together, "erk"
                keeps more of small tensors (masks/shares.py); for a pruner given by name.
            prunable: (path, leaf) -> whether the leaf is pruned, for a pruner given by name; None
                is the model's kernels. `pruned` says what came of it.
            exclude: Patterns of names that are not pruned, as "Dense_2/*"; for a pruner given by
                name.
            strategy: "map" (bit-exact, for CPUs), "vmap" or "hybrid" (for accelerators) or "auto".
            max_lanes: Most lanes held in memory at once, by each accelerator or by the CPU.
            keep_tickets: Also write every lane's network, as a ticket file.
            ticket_bits: Bits per kept weight for its perturbation, 2 to 16; 0 stores the weights
                exactly, as it has to be for a model of your own.
            checkpoint_minutes: Save the running stage so often; 0 after every slice, inf only when
                interrupted.
            lock: If another process has the folder: "leave", or "wait" for it.
            tensorboard: Also write every lane's curves for TensorBoard, once it is done; needs
                tensorboardX.
            plugins: Modules that registered what has a name here, for config.json.
            engine: Where lanes run: "local" is this process, "ray" the workers of the Ray cluster
                that this machine is in; an Engine says more.
            tell: Gets lines of warning; by default the logger "lth_jax".

        Raises:
            InputError: If a value is refused or the folder belongs to other settings; one line.
        """
        train = training.TrainConfig() if train is None else train
        self.name, self._tell, self._lock = name, tell, lock
        self._keep_tickets, self._ticket_bits = keep_tickets, ticket_bits
        self._checkpoint_minutes, self._tensorboard = checkpoint_minutes, tensorboard
        with _refusals():
            check_choices(strategy, max_lanes, ticket_bits, checkpoint_minutes, lock, tensorboard)
            _check_types(name, model, dataset, pruner, train, plugins, exclude)
            self.dataset = datasets.load(dataset) if isinstance(dataset, str) else dataset
            self._own_parts = prunable is not None or not (
                isinstance(pruner, str) and pruners.PRUNERS.is_built_in(pruner)
            )
            if (prunable is not None or exclude) and not isinstance(pruner, str):
                wrong = "exclude must be empty" if prunable is None else "prunable must be None"
                raise ValueError(f"{wrong} for a Pruner, which has its own.")
            if isinstance(model, str):
                shape = self.dataset.train.images.shape[1:]
                model = models.build_model(model, shape, self.dataset.classes)
            if isinstance(pruner, str):
                pruner = pruner_for(model, pruner, scope, prunable, exclude)
            self._own_parts |= models.built_as(model) is None
            if keep_tickets and ticket_bits:
                _check_bits(self._own_parts, pruner)
            self.problem = training.Problem(model, pruner, train)
            self._sizes = sizes = sweep.check(self.problem, self.dataset, max_lanes)
            self.dataset.check()
            if keep_tickets:
                lane_tickets.check(sizes)
            self.leaves = pruners.leaves(sizes.weights, sizes.scores, pruner.kernel_axes)
            _check_patterns(exclude, self.leaves)
            self._exclude = sorted(set(exclude))
            self._tell_doubts(sizes)
            strategy = self._connect(engine, strategy)
            self._describe(strategy, plugins)
        self._setup = ray_worker.Setup(self.problem, self.dataset, strategy, max_lanes)
        self.path = pathlib.Path(out or f"runs/{name}-{self.identity}")
        runs.check(self.path, self.config, self._defaults)

    def _connect(
        self, engine: engines.Engine | Literal["local", "ray"], strategy: sweep.Strategy
    ) -> programs.Chosen:
        """Finds what runs the lanes; its platform says what is left to the platform."""
        engine = engine if isinstance(engine, engines.Engine) else engines.Engine(engine)
        self._cluster: ray_cluster.Cluster | None = None
        if engine.engine == "local":
            platform = numerics.platform()
        else:
            self._cluster = ray_cluster.Cluster(engine, self._tell)
            platform = self._cluster.platform
        self.problem = self.problem._replace(config=self.problem.config.on(platform))
        return programs.strategy_for(strategy, platform)

    def _tell_doubts(self, sizes: training.Initial) -> None:
        """Warns of kernels that a pruner which goes by names takes for others than the model."""
        pruner, model = self.problem.pruner, self.problem.model
        if pruner.kernel_axes is pruners.kernel_axes:
            for doubt in pruners.doubts(self.leaves, sizes.weights, model.kernel_axes):
                self._tell(
                    f"pruner {pruner.name!r}, by names, takes {doubt}; edge_popup and others "
                    "take kernel_axes=model.kernel_axes"
                )

    def _describe(self, strategy: str, plugins: Sequence[str]) -> None:
        """What the folder's name and its config.json are made of."""
        self.settings = settings = _settings(self.problem, self.dataset)
        settings["strategy"], settings["plugin"] = strategy, sorted(set(plugins))
        settings["exclude"] = self._exclude
        if self._own_parts or self.problem.config.has_functions:
            settings["program"] = fingerprint.program(self.problem, self.dataset)
        self._defaults = _DEFAULTS | training.TrainConfig().settings()
        self.identity = runs.identity(settings, self._defaults)
        self.config = {
            "study": self.name,
            **settings,
            **(runs.environment() if self._cluster is None else self._cluster.environment),
            "data_sha256": self.dataset.sha256,
            "arrays_sha256": self.dataset.digest(),
            "pruned": [leaf._asdict() for leaf in self.leaves if leaf.fan_in is not None],
            "git": runs.git_revision(),
        }
        # Folders of earlier versions do not have them: their data are known by data_sha256, and
        # what they prune by the model's name, or by what their program computes.
        for name in ("arrays_sha256", "pruned"):
            self._defaults[name] = self.config[name]
        shown = ("dataset", "model", "pruner", "scope", "init", "eps_unit")
        self._head = {name: settings[name] for name in shown} | {"git": self.config["git"]}

    def pruned(self, width: int = 80) -> str:
        """What is pruned and what is not, as text: path, shape, fan-in and count of all `leaves`.

        config.json has the same of the leaves that are pruned.
        """
        from lth_jax.report import table

        return table.pruned_table(self.leaves, self.title, width)

    @property
    def title(self) -> str:
        """What is trained on what."""
        return f"{self._head['model']} on {self.dataset.name}"

    def export(
        self,
        ticket: str | os.PathLike[str],
        path: str | os.PathLike[str],
        layout: tickets.Layout = "torch",
    ) -> int:
        """Writes a ticket of this study's model as .safetensors; see `tickets.export`.

        Args:
            ticket: One of `Result.tickets`.
            path: Of the file; its metadata have the normalization, the classes and the model.
            layout: "torch" or "flax".

        Returns:
            Size in bytes.

        Raises:
            InputError: If there is no such ticket, or the layout does not fit the model.
            RunError: If it cannot be written.
        """
        loaded, shape = tickets.load(ticket), self.dataset.train.images.shape[1:]
        with _refusals():
            try:
                return tickets.export_ticket(
                    path, loaded, layout=layout, model=self.problem.model, shape=shape
                )
            except OSError as error:
                raise errors.RunError(f"{path}: {error.strerror or error}.") from None

    def run(
        self,
        methods: Sequence[training.MethodName | training.Method],
        seeds: Sequence[int],
        eps: Sequence[float] = (),
        sparsity: Sequence[float] = (),
        on_event: Callable[[Event], None] = lambda event: None,
    ) -> Result:
        """Runs the lanes that have no row yet, and writes the folder.

        Args:
            methods: Methods, or names of training.METHODS.
            seeds: Integers in [0, 2^32).
            eps: Radii of the ball, inf for no bound; one lane each for methods that have a ball.
            sparsity: Fractions to remove, in [0, 1); one lane each for methods that have a mask.
            on_event: Is told what happens: Started, then Progress after every few seconds of steps,
                Finished for every lane, and Compiling and Compiled around what compiles. What it
                raises ends the run: the rows of lanes that are done and the stage that takes steps
                are saved before. A KeyboardInterrupt from elsewhere leaves the last checkpoint.

        Returns:
            The rows, and what can be made of them.

        Raises:
            InputError: If a value is refused, or the folder belongs to other settings.
            RunError: If the folder is in use or cannot be written. The same call goes on later.
        """
        lanes = self.lanes(methods, seeds, eps, sparsity)
        with self.hold():
            return self.fill(lanes, on_event)

    def lanes(
        self,
        methods: Sequence[training.MethodName | training.Method],
        seeds: Sequence[int],
        eps: Sequence[float] = (),
        sparsity: Sequence[float] = (),
    ) -> list[sweep.Lane]:
        """The lanes of a grid, see `run`.

        Raises:
            InputError: If a value is refused.
        """
        with _refusals():
            lanes = sweep.lanes(methods, eps, sparsity, seeds)
            self._check_lanes(lanes)
            return lanes

    def _check_lanes(self, lanes: Sequence[sweep.Lane]) -> None:
        """Refuses methods that do not fit the pruner, and sparsities that leave too little."""
        fits.check(self.problem.pruner, self.problem.config, dict.fromkeys(x.method for x in lanes))
        for sparsity in dict.fromkeys(lane.sparsity for lane in lanes):
            training.lane_task(self.problem, self._sizes, 0, None, sparsity)

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Holds the folder alone as long as the context lasts; `run` does it by itself.

        Raises:
            InputError: If the folder cannot be made or belongs to other settings.
            RunError: If another process has it.
        """
        with runs.locked(self.path, self._lock == "wait", self._tell):
            self._folder()
            yield

    def fill(
        self, lanes: Sequence[sweep.Lane], on_event: Callable[[Event], None] = lambda event: None
    ) -> Result:
        """Runs the lanes that have no row yet, in a folder that is held.

        Args:
            lanes: The whole grid.
            on_event: See `run`.

        Returns:
            See `run`.

        Raises:
            InputError: If a lane is none that `lanes` would make.
            RunError: See `run`.
        """
        self._check_switches()
        with _refusals():
            plan.check(lanes)
            self._check_lanes(lanes)
        folder, own = self._folder(), self._own_methods(lanes)
        engine = self._engine(lanes)
        _check_methods(folder, own)
        done = folder.done
        missing = sum(lane not in done for lane in lanes)
        # A checkpoint belongs to the folder and to what its own methods do.
        name = "-".join([folder.run, *own.values()])
        there = saved.load(self.path, name, self._tell) if missing else []
        where = "local" if self._cluster is None else "ray"
        steps = tuple(snapshot.step for snapshot in there)
        on_event(Started(len(lanes), missing, self._setup.strategy, engine.devices, where, steps))
        if self._keep_tickets:
            bare = lane_tickets.missing(self.path, folder.rows)
            if bare:
                self._tell(
                    f"{bare} finished lanes were run without tickets; another folder keeps all"
                )
        grid = jobs.Grid(lanes, done, there, self.problem.config)
        folder.expect(jobs.order(grid, engine.block_size(len(lanes))))
        if missing:
            work = engine.start(grid, self._checkpoint_minutes)
            self._run_missing(work, folder, name, own, on_event)
            # Before the report, which may be killed or find the disk full.
            saved.clear(self.path)
        folder.settle()
        self._report(folder)
        return Result(self.path, folder.rows, set(lanes))

    def _engine(self, lanes: Sequence[sweep.Lane]) -> engines.Local | ray_work.Engine:
        if self._cluster is None:
            return self._local
        own = {x.method: training.METHODS[x.method] for x in lanes}
        sent = [m for name, m in own.items() if not training.METHODS.is_built_in(name)]
        return ray_work.Engine(self._cluster, self._setup, sent)

    @functools.cached_property
    def _local(self) -> engines.Local:
        """Compiles what it runs once, however often the study is asked to run."""
        return engines.Local(sweep.Runner(*self._setup))

    def _folder(self) -> runs.Folder:
        return runs.Folder(self.path, self.config, self._defaults)

    def _check_switches(self) -> None:
        """Refuses to run under other switches of jax than those that the folder was opened with."""
        for name, now in numerics.settings().items():
            if now != self.config[name]:
                raise errors.InputError(
                    f"{name} of jax is {now!r} now and was {self.config[name]!r} when the study "
                    "was made."
                )

    def _own_methods(self, lanes: Sequence[sweep.Lane]) -> dict[str, str]:
        """What the methods compute that are not built in, by name."""
        names = dict.fromkeys(lane.method for lane in lanes)
        own = [training.METHODS[n] for n in names if not training.METHODS.is_built_in(n)]
        return {
            method.name: fingerprint.program(
                self.problem, self.dataset, [stage.kind for stage in method.stages]
            )
            + "".join(f"{s.perturb_epochs:d}{s.prune_epochs:d}" for s in method.stages)
            for method in own
        }

    def _run_missing(
        self,
        work: engines.Work,
        folder: runs.Folder,
        name: str,
        own: Mapping[str, str],
        on_event: Callable[[Event], None],
    ) -> None:
        """Takes what comes of a grid: rows and tickets to the disk, checkpoints now and then."""

        def keep(event: sweep.Finished) -> None:
            if self._keep_tickets:  # Before its row, which says that the lane is done.
                self._keep_ticket(event)
            method = event.lane.method
            program = {"method_program": own[method]} if method in own else {}
            rows = folder.append([self._head | event.row | program])
            if self._tensorboard:
                scalars.write(self.path, rows)

        def take(job: jobs.Job | None, item: Any) -> None:
            if isinstance(item, sweep.Finished):
                keep(item)
            elif job is not None and isinstance(item, snapshots.Snapshot):
                saved.save(self.path / job.place, name, item, self._tell)
            elif job is not None and item is None:
                checkpoints.clear(self.path / job.place)

        with contextlib.closing(work):
            for job, item in work:
                take(job, item)
                if item is None or isinstance(item, snapshots.Snapshot):
                    continue
                try:
                    on_event(item)
                except BaseException:
                    for stopped in work.stop():
                        take(*stopped)
                    raise

    def _keep_ticket(self, event: sweep.Finished) -> None:
        architecture = None if self._own_parts else self.problem.model.architecture
        scaled = self.problem.config.scale_init
        bits, name = self._ticket_bits, self._head["model"]
        data, pruner = self.dataset, self.problem.pruner
        lane_tickets.keep(self.path, event, architecture, scaled, bits, data, name, pruner)

    def _report(self, folder: runs.Folder) -> None:
        """Writes summary.csv and the plots, these only if there is something new to draw."""
        cells = summary.cells(folder.rows)
        text = summary.to_csv(cells)
        try:
            if self._tensorboard:  # Of lanes that were run without, too.
                scalars.write(self.path, folder.rows)
            self._draw(cells, folder.rows, changed=not _holds(self.path / SUMMARY, text))
            # Last: a folder that has it has the plots of the same rows.
            files.write(self.path / SUMMARY, text)
        except OSError as error:
            where = error.filename or self.path
            raise errors.RunError(f"{where}: {error.strerror or error}.") from None

    def _draw(
        self, cells: Sequence[summary.Cell], rows: Sequence[Mapping[str, Any]], changed: bool
    ) -> None:
        """Draws the plots that are missing, or all."""
        known: dict[str, CurveField] = {VALIDATION: "val_curve", LOSS: "train_loss_curve"}
        curves = {name: summary.curves(rows, field) for name, field in known.items()}
        for name in PLOTS:
            there = [(self.path / name).with_suffix(end) for end in (".png", ".svg")]
            if not changed and all(map(os.path.exists, there)):
                continue
            # Here, for matplotlib takes half a second to import.
            from lth_jax.report import plots, plots_accuracy, plots_curves

            if name == ACCURACY:
                drawing = plots_accuracy.accuracy_against_eps(cells, self.title)
                plots.save(drawing, self.path / name)
            elif curves[name]:
                drawing = plots_curves.learning_curves(curves[name], known[name], self.title)
                plots.save(drawing, self.path / name)


def _holds(path: pathlib.Path, text: str) -> bool:
    """Whether a file holds just this."""
    try:
        return files.read_regular(path, len(text.encode()) + 1) == text.encode()
    except (OSError, ValueError):
        return False


def _check_methods(folder: runs.Folder, own: Mapping[str, str]) -> None:
    """Refuses a folder with rows of another method under a name that is used now."""
    for row in folder.rows:
        name = row["method"]
        if name in own and row.get("method_program") != own[name]:
            raise errors.InputError(
                f"{folder.path}: method {name!r} was another one when its rows were made."
            )


# Settings that are left out of a folder's name and may be missing from its config.json.
_DEFAULTS: dict[str, Any] = {
    "dataset": "digits",
    "train_size": 0,
    "hold_out": True,
    "model": "lenet",
    "width": 1.0,
    "init": "kaiming_normal",
    "pruner": "edge_popup",
    "scope": "tensor",
    "strategy": "map",
    "plugin": [],
    "exclude": [],
}


def _settings(problem: training.Problem, dataset: datasets.Dataset) -> dict[str, Any]:
    """What changes a lane's numbers, by name."""
    model, pruner = problem.model, problem.pruner
    architecture = model.architecture
    return {
        "dataset": dataset.name,
        "train_size": dataset.train_size,
        "hold_out": len(dataset.validation.labels) > 0,
        "model": model.name,
        "width": None if architecture is None else architecture.width,
        "init": None if architecture is None else architecture.init,
        "pruner": pruner.name,
        "scope": pruner.scope,
        **problem.config.settings(),
    }


def pruner_for(
    model: models.Model,
    name: pruners.PrunerName,
    scope: selection.Scope = "tensor",
    prunable: pruners.Prunable | None = None,
    exclude: Sequence[str] = (),
) -> pruners.Pruner:
    """A pruner by name, with a model's kernels and the initial scores of the model's own paper.

    Args:
        model: The model.
        name: One of pruners.PRUNERS.
        scope: "tensor", "global" or "erk".
        prunable: What to prune; None is the model's kernels.
        exclude: Patterns of names that are not pruned.

    Raises:
        ValueError: If the name or the scope is unknown.
    """
    architecture = model.architecture
    bound = architecture and models.SCORE_BOUNDS.get(architecture.name)
    if exclude:
        prunable = pruners.excluding(prunable or kernels.choice(model.kernel_axes), exclude)
    return pruners.build_pruner(name, scope, prunable, model.kernel_axes, bound)


def _check_patterns(exclude: Sequence[str], leaves: Sequence[pruners.Leaf]) -> None:
    for pattern in exclude:
        names = [leaf.path for leaf in leaves if leaf.fan_in is None]
        if not fnmatch.filter(names, pattern):
            known = ", ".join(leaf.path for leaf in leaves)
            raise ValueError(f"exclude: {pattern!r} fits no name of {known}.")


def _check_bits(own_parts: bool, pruner: pruners.Pruner) -> None:
    if own_parts:
        raise ValueError(
            "ticket_bits must be 0 for a model, pruner or choice of leaves of your own."
        )
    if pruners.changes_weights(pruner) or pruner.redraws:
        raise ValueError(
            f"ticket_bits must be 0 for {pruner.name!r}, which changes weights themselves."
        )


def _check_types(
    study: Any, model: Any, dataset: Any, pruner: Any, train: Any, plugins: Any, exclude: Any
) -> None:
    for name, names in (("plugins", plugins), ("exclude", exclude)):
        if isinstance(names, str) or not all(isinstance(each, str) for each in names):
            raise ValueError(f"{name} must be a list, got {names!r}.")
    if not isinstance(study, str) or not _NAME.fullmatch(study):
        raise ValueError(f"name must be letters, digits and _.+-, got {study!r}.")
    for name, value, kinds, remedy in (
        ("model", model, (str, models.Model), "a name or a Model, as from_flax makes it"),
        ("dataset", dataset, (str, datasets.Dataset), "a name or a Dataset"),
        ("pruner", pruner, (str, pruners.Pruner), "a name or a Pruner, as edge_popup() gives"),
        ("train", train, (training.TrainConfig,), "a TrainConfig"),
    ):
        if not isinstance(value, kinds):
            raise ValueError(f"{name} must be {remedy}, got {type(value).__name__}.")


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def check_choices(
    strategy: str,
    max_lanes: int,
    ticket_bits: int,
    checkpoint_minutes: float,
    lock: str,
    tensorboard: bool = False,
) -> None:
    """Refuses what a Study refuses of these, see its arguments.

    Raises:
        ValueError: The message begins with the argument's name.
    """
    if strategy not in programs.STRATEGIES:
        raise ValueError(
            f"strategy must be one of {', '.join(programs.STRATEGIES)}, got {strategy!r}."
        )
    if not _is_whole(max_lanes) or max_lanes < 1:
        raise ValueError(f"max_lanes must be at least 1, a whole number, got {max_lanes!r}.")
    if not _is_whole(ticket_bits) or (ticket_bits and not 2 <= ticket_bits <= 16):
        raise ValueError(f"ticket_bits must be 0 or 2 to 16, got {ticket_bits!r}.")
    if not 0 <= checkpoint_minutes <= math.inf:
        raise ValueError(f"checkpoint_minutes must be at least 0, got {checkpoint_minutes}.")
    if lock not in ("leave", "wait"):
        raise ValueError(f"lock must be leave or wait, got {lock!r}.")
    if tensorboard:
        scalars.check()


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    """Whatever is refused while nothing has been done yet is the input's fault: one line."""
    try:
        yield
    except errors.InputError:
        raise
    except ValueError as error:
        raise errors.InputError(" ".join(str(error).split())) from error
