"""How fast is it, against what one could use instead? Every row a ratio, measured side by side.

    python -m experiments.benchmark --only='edge_popup/*'

A row's `ratio` is the peer's time over ours: medians over rounds in which all take their turn,
after a round of warming up; compiling is told apart. Else it is said here: a checkpoint's time is
measured and set against the interval between two; starts are not warmed up; growth takes the least
of five, and its peer is what linear growth would take; a warm selection's first three searches do
not count. Our dense step is the stage `perturb` at ε = ∞, its ball included. PyTorch runs eagerly.
The row on Ray is measured once, minutes long, and is skipped without the extra `ray`.
Rows against PyTorch need the extra `benchmark` and are skipped without it.
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
from lth_jax import errors, files

_WIDTH = 130
GROUPS = [*selection_rows.GROUPS, *step_rows.GROUPS, *grid_rows.GROUPS, *engine_rows.GROUPS]


@dataclasses.dataclass(frozen=True)
class Config:
    """What is measured, and where it goes."""

    only: str = cli.setting("*", "Pattern of the rows' names, as in a shell.")
    rounds: int = cli.setting(5, "Rounds after warming up; a time is the median over them.")
    out: str = cli.setting("benchmark.json", "File of the results.")

    def __post_init__(self) -> None:
        if self.rounds < 1:
            raise ValueError(f"rounds must be at least 1, got {self.rounds}.")


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
        InputError: If no row has such a name, or the file cannot be written.
    """
    wanted = [group.wanted(config.only) for group in GROUPS]
    wanted = [group for group in wanted if group.targets]
    if not wanted:
        names = ", ".join(name for group in GROUPS for name in group.targets)
        raise errors.InputError(f"--only={config.only}: expected a pattern of one of {names}.")
    path = pathlib.Path(config.out)
    if not path.absolute().parent.is_dir():
        raise errors.InputError(f"--out={config.out}: there is no such folder.")
    conditions = machine()
    rows: list[dict[str, Any]] = []
    console = rich.console.Console()
    if not console.is_terminal:  # Names are not to be cut short in a file or a pipe.
        console.width = max(console.width, _WIDTH)
    for group in wanted:
        if group.needs_torch and not measure.HAS_TORCH:
            measured = group.skip("torch is not installed")
        else:
            measured = group.measure(group, config.rounds)
        rows += [row.as_json() for row in measured]
        conditions["load_after"] = os.getloadavg()[0]
        # After every group: a run that is stopped leaves what it has.
        text = json.dumps({**conditions, "rounds": config.rounds, "rows": rows}, allow_nan=False)
        try:
            files.write(path, text + "\n")
        except OSError as error:
            raise errors.InputError(f"--out={config.out}: {error.strerror}.") from None
        for row in measured:
            console.print(f"[dim]{row.name} {'skipped' if row.skipped else 'done'}[/dim]")
    console.print(table(rows))
    console.print(str(path))
    return rows
