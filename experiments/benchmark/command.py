"""How fast is it, against what one could use instead? Every row a ratio, measured side by side.

    python -m experiments.benchmark --only='edge_popup/*'

A row's `ratio` is the peer's time over ours: medians over rounds in which all take their turn,
after a round of warming up; compiling is told apart. Else it is said here: a checkpoint's time is
measured and set against the interval between two; starts are not warmed up; growth takes the least
of five, and its peer is what linear growth would take; a warm selection's first three searches do
not count. Our dense step is the stage `perturb` at ε = ∞, its ball included. PyTorch runs eagerly
and by torch.compile (the latter where there is a C++ compiler), the faster counts.
The row on Ray is measured once, minutes long, and is skipped without the extra `ray`.
Rows against PyTorch need the extra `benchmark` and are skipped without it.

    python -m experiments.benchmark --only='accelerator/*'

On a GPU or TPU: the laws, and nothing else if one does not hold; then lane-steps per second of one
card, each strategy beside PyTorch's best, and the share of what the card can do. It needs jax for
the card, flax, optax, absl-py and numpy, and compares with torch if that is there. Please send in
the file. --smoke takes the same way in minutes on any machine; its times mean nothing.
"""

import dataclasses
import importlib.metadata
import json
import os
import pathlib
import platform
from typing import Any

import jax
import rich.console
import rich.table

from experiments import cli
from experiments.benchmark import engine_rows, grid_rows, measure, selection_rows, step_rows
from experiments.benchmark.accelerator import laws, sizes
from experiments.benchmark.accelerator import rows as accelerator_rows
from lth_jax import errors, files, numerics

_WIDTH = 130
GROUPS = [*selection_rows.GROUPS, *step_rows.GROUPS, *grid_rows.GROUPS, *engine_rows.GROUPS]


@dataclasses.dataclass(frozen=True)
class Config:
    """What is measured, and where it goes."""

    only: str = cli.setting("*", "Pattern of the rows' names, as in a shell.")
    rounds: int = cli.setting(5, "Rounds after warming up; a time is the median over them.")
    out: str = cli.setting("benchmark.json", "File of the results.")
    precision: numerics.Precision = cli.setting(
        "highest", "Of the accelerator rows, PyTorch's too: highest, tf32 or bf16."
    )
    smoke: bool = cli.setting(False, "Take the accelerator rows in tiny sizes, on a CPU as well.")

    def __post_init__(self) -> None:
        if self.rounds < 1:
            raise ValueError(f"rounds must be at least 1, got {self.rounds}.")

    @property
    def size(self) -> sizes.Sizes:
        """Of the accelerator rows."""
        return sizes.SMALL if self.smoke else sizes.FULL


def machine() -> dict[str, Any]:
    """Where the times come from."""
    found: dict[str, str | None] = {}
    for package in ("jax", "jaxlib", "torch", "numpy", "flax", "optax"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = None
    device = jax.local_devices()[0]
    return {
        "device": device.device_kind,
        "platform": device.platform,
        "devices": jax.local_device_count(),
        "cores": len(os.sched_getaffinity(0)),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "load_before": os.getloadavg()[0],
        "versions": found,
    }


def table(rows: list[dict[str, Any]]) -> rich.table.Table:
    """The rows as the command prints them."""
    shown = rich.table.Table(title="benchmark: median times, ratio = peer / ours")
    for head in ("row", "ours ms", "peer ms", "ratio", "target", "reached"):
        shown.add_column(head, justify="left" if head == "row" else "right", no_wrap=True)
    for row in rows:
        if row.get("skipped"):
            shown.add_row(row["name"], "", "", "", "", f"skipped: {row['skipped']}")
            continue
        numbers = ["" if row[k] is None else f"{row[k]:.3g}" for k in ("ours_ms", "peer_ms")]
        ratios = ["" if row[k] is None else f"{row[k]:.2f}" for k in ("ratio", "target")]
        reached = {True: "yes", False: "no", None: ""}[row["reached"]]
        shown.add_row(row["name"], *numbers, *ratios, reached)
    return shown


def run(config: Config) -> list[dict[str, Any]]:
    """Measures the rows that `only` asks for, prints the table and writes the file.

    Args:
        config: See its fields.

    Returns:
        The rows as in the file.

    Raises:
        InputError: If no row has such a name, all rows are of an accelerator and there is none, or
            the file cannot be written.
        RunError: If a law does not hold on the accelerator.
    """
    on_card = accelerator_rows.groups(config.size, config.precision)
    wanted = [group.wanted(config.only) for group in GROUPS]
    cards = [group.wanted(config.only) for group in on_card]
    wanted, cards = ([group for group in some if group.targets] for some in (wanted, cards))
    if not wanted and not cards:
        names = ", ".join(name for group in [*GROUPS, *on_card] for name in group.targets)
        raise errors.InputError(f"--only={config.only}: expected a pattern of one of {names}.")
    path = pathlib.Path(config.out)
    if not path.absolute().parent.is_dir():
        raise errors.InputError(f"--out={config.out}: there is no such folder.")
    report = _Report(path, {"rounds": config.rounds})
    if cards and sizes.accelerator() is None and not config.smoke:
        names = ", ".join(name for group in cards for name in group.targets)
        if not wanted:
            raise errors.InputError(
                f"--only={config.only}: no accelerator is here, jax has CPUs only, for {names}. "
                "--smoke tries the way in tiny sizes."
            )
        report.add([row for group in cards for row in group.skip("no accelerator is here")])
        cards = []
    for group in wanted:
        if group.needs_torch and not measure.HAS_TORCH:
            report.add(group.skip("torch is not installed"))
        else:
            report.add(group.measure(group, config.rounds))
    if cards:
        report.note(precision=config.precision, smoke=config.smoke)
        _check_laws(config.size, report)
    for group in cards:
        report.add(group.measure(group, config.rounds))
    report.print_table()
    return report.rows


def _check_laws(size: sizes.Sizes, report: "_Report") -> None:
    """Checks the laws on the accelerator; what was found is in the file, whatever it is."""
    found: list[dict[str, Any]] = []
    for law in laws.check(size):
        found.append(law)
        report.note(laws=found)
        report.say(f"{law['name']}: {'holds' if law['holds'] else 'BROKEN'}, {law['seconds']} s")
        if not law["holds"]:
            raise errors.RunError(
                f"{law['name']} does not hold on this device, so nothing was timed: "
                f"{json.dumps(law)}; please send in {report.path}."
            )


class _Report:
    """What was measured so far: in the file after every step, as a run may be stopped."""

    def __init__(self, path: pathlib.Path, about: dict[str, Any]) -> None:
        self.path = path
        self.rows: list[dict[str, Any]] = []
        self._about = {**machine(), **about}
        self._console = rich.console.Console()
        if not self._console.is_terminal:  # Names are not to be cut short in a file or a pipe.
            self._console.width = max(self._console.width, _WIDTH)

    def note(self, **about: Any) -> None:
        """Adds what is said above the rows.

        Raises:
            InputError: If the file cannot be written.
        """
        self._about |= about
        self._about["load_after"] = os.getloadavg()[0]
        text = json.dumps({**self._about, "rows": self.rows}, allow_nan=False)
        try:
            files.write(self.path, text + "\n")
        except OSError as error:
            raise errors.InputError(f"--out={self.path}: {error.strerror}.") from None

    def add(self, measured: list[measure.Row]) -> None:
        """Adds rows and says so."""
        self.rows += [row.as_json() for row in measured]
        self.note()
        for row in measured:
            self.say(f"{row.name} {'skipped' if row.skipped else _speed(row)}")

    def say(self, line: str) -> None:
        """Prints a line between the rows."""
        self._console.print(f"[dim]{line}[/dim]", highlight=False)

    def print_table(self) -> None:
        """Prints the rows and where they are."""
        self._console.print(table(self.rows))
        self._console.print(str(self.path))


def _speed(row: measure.Row) -> str:
    if "lane_steps_per_second" not in row.notes:
        return "done"
    said = f"{row.notes['lane_steps_per_second']:,.0f} lane-steps a second"
    for name in ("share_of_bandwidth", "share_of_matrix_peak"):
        if name in row.notes:
            said += f", {row.notes[name]:.0%} {name.removeprefix('share_').replace('_', ' ')}"
    return said
