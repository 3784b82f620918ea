"""The body of the image studies: a grid of method × eps × sparsity × seed into a folder.

Each study is this with other defaults; so their flags, their folders and their tables are alike.
"""

import dataclasses
import math
import pathlib
import time
from typing import Any

import rich.console
import rich.progress
import rich.table

from experiments import _cli
from lth_jax import (
    data,
    errors,
    grid,
    methods,
    models,
    plan,
    plots,
    pruners,
    runs,
    summary,
    training,
)
from lth_jax import lanes as lane_programs

setting = _cli.setting


@dataclasses.dataclass(frozen=True)
class Config:
    """The flags of an image study."""

    preset: str = setting("", "A named set of defaults; see the text above.")
    dataset: str = setting("digits", f"One of {', '.join(data.DATASETS)}.")
    data_dir: str | None = setting(None, "Folder with the data set's files.")
    mirror: str | None = setting(None, "HTTPS address to download the data set from instead.")
    offline: bool = setting(False, "Never download anything.")
    train_size: int = setting(0, "Train on the first so many images; 0 takes them all.")
    model: str = setting("lenet", f"One of {', '.join(models.MODELS)}.")
    width: float = setting(1.0, "Factor of the model's hidden units or channels.")
    init: str = setting("kaiming_normal", f"One of {', '.join(models.INITIALIZERS)}.")
    scale_init: bool = setting(False, "Multiply the weights at init by 1/√(kept fraction).")
    pruner: str = setting("edge_popup", f"One of {', '.join(pruners.PRUNERS)}.")
    scope: str = setting("tensor", "Prune every tensor alike (tensor), or rank all (global).")
    method: tuple[str, ...] = setting(
        ("perturb_then_prune",), f"List of {', '.join(methods.METHODS)}."
    )
    eps: tuple[float, ...] = setting((0.0, 0.01), "List of radii, at least 0; inf trains freely.")
    eps_unit: str = setting("absolute", "absolute, or std: of each tensor at init.")
    norm: str = setting("linf", "Of the ball: linf, l2 (per tensor) or l2_global.")
    sparsity: tuple[float, ...] = setting((0.5,), "List of fractions to remove, in [0, 1).")
    seeds: int = setting(5, "How many seeds.")
    seed: int = setting(0, "The first seed.")
    perturb_epochs: int = setting(2, "E: epochs of perturbing.")
    prune_epochs: int = setting(3, "P: epochs of pruning.")
    perturb_lr: float = setting(0.01, "Learning rate of the weights.")
    prune_lr: float = setting(0.1, "Learning rate of the scores.")
    perturb_decay: float = setting(0.0, "Weight decay of the weights, toward 0.")
    prune_decay: float = setting(1e-4, "Weight decay of the scores.")
    perturb_schedule: str = setting("cosine", f"One of {', '.join(methods.SCHEDULES)}.")
    prune_schedule: str = setting("cosine", f"One of {', '.join(methods.SCHEDULES)}.")
    momentum: float = setting(0.9, "Of SGD.")
    batch_size: int = setting(128, "Images per step.")
    microbatch: int = setting(0, "Images per gradient, summed to a batch; 0 is the whole batch.")
    augment: bool = setting(False, "Random crops (padding 4) and horizontal flips.")
    project_per: str = setting("step", "Project after every step, or every epoch.")
    shared_shift: bool = setting(False, "random_then_prune shifts each tensor by one number.")
    strategy: str = setting("auto", "map (bit-exact, for CPUs), vmap (for accelerators) or auto.")
    out: str | None = setting(None, "The run's folder; runs/STUDY-ID if not given.")
    keep_tickets: bool = setting(False, "Also write masks and perturbations.")
    max_lanes: int = setting(16, "Most lanes held in memory at once.")
    progress: bool = setting(True, "Show a progress bar.")

    def __post_init__(self):
        known = {
            "dataset": data.DATASETS,
            "model": models.MODELS,
            "init": models.INITIALIZERS,
            "pruner": pruners.PRUNERS,
            "scope": ("tensor", "global"),
            "method": methods.METHODS,
            "strategy": lane_programs.STRATEGIES,
        }
        for name, names in known.items():
            given = getattr(self, name)
            for value in given if isinstance(given, tuple) else (given,):
                if value not in names:
                    raise ValueError(f"--{name} must be one of {', '.join(names)}, got {value!r}.")
        for name in ("eps", "sparsity", "method"):
            if not getattr(self, name):
                raise ValueError(f"--{name} must not be an empty list.")
        for value in self.eps:
            if not value >= 0:
                raise ValueError(f"--eps must be at least 0, got {value}.")
        for value in self.sparsity:
            if not 0 <= value < 1:
                raise ValueError(f"--sparsity must lie in [0, 1), got {value}.")
        for name in ("seeds", "max_lanes"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name} must be at least 1, got {getattr(self, name)}.")
        if self.seed < 0 or self.seed + self.seeds > 2**32:
            raise ValueError(f"--seed must lie in [0, 2^32 - seeds], got {self.seed}.")
        if self.train_size < 0:
            raise ValueError(f"--train_size must be at least 0, got {self.train_size}.")
        if not 0 < self.width < math.inf:
            raise ValueError(f"--width must be positive, got {self.width}.")
        self.recipe()

    def recipe(self) -> methods.Recipe:
        """How its stages train."""
        named = {field.name: field.name for field in dataclasses.fields(methods.Recipe)}
        named["unit"] = "eps_unit"
        return methods.Recipe(**{name: getattr(self, own) for name, own in named.items()})


# These do not change a lane's numbers: the axes of the grid, places and pace.
_WIDTH = 150  # columns where no terminal says how many there are
_AXES = ("method", "eps", "sparsity", "seeds", "seed")
_PLACES = (
    "preset",
    "data_dir",
    "mirror",
    "offline",
    "out",
    "keep_tickets",
    "max_lanes",
    "progress",
)


def _problem(config: Config, dataset: data.Dataset) -> training.Problem:
    shape = dataset.train.images.shape[1:]
    model = models.build(config.model, shape, dataset.classes, config.init, config.width)
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
        All rows of the folder that belong to the grid asked for.

    Raises:
        InputError: If the data, the folder or a combination of settings is bad.
    """
    console = console or rich.console.Console()
    if not console.is_terminal:
        console = rich.console.Console(file=console.file, width=_WIDTH)
    dataset = data.load(
        config.dataset,
        config.data_dir,
        config.train_size or None,
        mirror=config.mirror,
        offline=config.offline,
    )
    try:
        runner = grid.Grid(_problem(config, dataset), dataset, config.strategy, config.max_lanes)
    except ValueError as error:
        raise errors.InputError(str(error)) from None
    settings = {
        name: value
        for name, value in dataclasses.asdict(config).items()
        if name not in _AXES + _PLACES
    }
    settings["strategy"] = runner.programs.strategy
    defaults = dataclasses.asdict(Config()) | {"strategy": "map"}
    name = f"{study}-{runs.identity(settings, defaults)}"
    folder = runs.Folder(
        config.out or pathlib.Path("runs") / name,
        {
            "study": study,
            **settings,
            **runs.environment(),
            "data_sha256": dataset.sha256,
            "git": runs.git_revision(),
        },
    )
    seeds = range(config.seed, config.seed + config.seeds)
    lanes = plan.lanes(config.method, config.eps, config.sparsity, seeds)
    missing = [lane for lane in lanes if lane not in folder.done]
    epochs = f"E = {config.perturb_epochs}, P = {config.prune_epochs} epochs"
    console.print(
        f"{study}: {config.model} on {dataset.name} ({len(dataset.train.labels):,} training "
        f"images), {len(lanes)} lanes, {len(missing)} to run, {epochs}, "
        f"{runner.programs.strategy} over {runner.programs.devices} devices"
    )
    head = {
        "dataset": dataset.name,
        "model": config.model,
        "pruner": config.pruner,
        "scope": config.scope,
        "init": config.init,
        "eps_unit": config.eps_unit,
        "git": runs.git_revision(),
    }
    if missing:
        _finish_missing(runner, lanes, folder, head, config, console)
    return _report(folder, lanes, f"{config.model} on {dataset.name}", console)


def _finish_missing(runner, lanes, folder, head, config, console) -> None:
    started, told = time.monotonic(), False
    columns = rich.progress.Progress.get_default_columns()
    bar = rich.progress.Progress(
        *columns, console=console, disable=not (config.progress and console.is_terminal)
    )
    with bar:
        task = bar.add_task("training")
        for event in runner.run(lanes, folder.done):
            if isinstance(event, grid.Finished):
                folder.append([head | event.row])
                continue
            done, whole = event.lane_steps, event.all_lane_steps
            bar.update(task, completed=done, total=whole, description=event.kind)
            if event.seconds > 1 and not told:
                told = True
                left = event.seconds * (whole - done) / done
                console.print(f"about {_duration(left)} left, {whole:,} gradient steps in all")
    console.print(f"ran {_duration(time.monotonic() - started)}")


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.1f} min"


def _report(folder, lanes, title, console) -> list[dict]:
    """Writes summary.csv and the plot, prints the table and the paths."""
    asked = set(lanes)
    rows = [row for row in folder.rows if runs.lane_of(row) in asked]
    runs.write(folder.path / "summary.csv", summary.to_csv(summary.cells(folder.rows)))
    picture = plots.accuracy_against_eps(summary.cells(folder.rows), title)
    runs.write(folder.path / "accuracy.png", plots.to_png(picture))
    table = rich.table.Table(title=f"accuracy in %, mean ± 95 % interval; {title}")
    for head in ("method", "eps", "sparsity", "n", "validation", "test"):
        table.add_column(head, justify="left" if head == "method" else "right")
    for name in summary.BASELINES:
        table.add_column(f"test − {name} (p)", justify="right")
    for cell in summary.cells(rows):
        n = cell.accuracy["test_accuracy"].n
        count = f"{n} (+{cell.diverged} diverged)" if cell.diverged else str(n)
        table.add_row(
            cell.method,
            "" if cell.eps is None else str(cell.eps),
            "" if cell.sparsity is None else str(cell.sparsity),
            count,
            *(_percent(cell.accuracy[field]) for field in summary.FIELDS),
            *(_difference(cell.against.get(name)) for name in summary.BASELINES),
        )
    console.print(table)
    for cell in summary.best_sparsity(summary.cells(rows)):
        console.print(
            f"best sparsity by validation: {cell.method}"
            + ("" if cell.eps is None else f", eps {cell.eps}")
            + f": {cell.sparsity}, test {_percent(cell.accuracy['test_accuracy'])}"
        )
    for file in (runs.RESULTS, "summary.csv", "accuracy.png"):
        console.print(str(folder.path / file))
    return rows


def _percent(value: Any) -> str:
    if math.isnan(value.mean):
        return ""
    half = "" if math.isnan(value.half) else f" ± {100 * value.half:.2f}"
    return f"{100 * value.mean:.2f}{half}"


def _difference(value: Any) -> str:
    if value is None or math.isnan(value.difference):
        return ""
    half = "" if math.isnan(value.half) else f" ± {100 * value.half:.2f} ({value.p:.2g})"
    return f"{100 * value.difference:+.2f}{half}"
