"""What a study shows in the end: a table, a CSV file, a picture, and where they are."""

import math
from typing import Any

import rich.console
import rich.table

from lth_jax import files, runs
from lth_jax.report import summary
from lth_jax.sweep import plan


def report(
    folder: runs.Folder, lanes: list[plan.Lane], title: str, console: rich.console.Console
) -> list[dict]:
    """Writes summary.csv and the plot, prints the table and the paths.

    Args:
        folder: With the rows.
        lanes: The grid asked for; the table shows these.
        title: What was trained on what.
        console: Where to print.

    Returns:
        The rows of the grid asked for.

    Raises:
        OSError: If a file cannot be written.
    """
    from lth_jax.report import plots

    asked = set(lanes)
    rows = [row for row in folder.rows if runs.lane_of(row) in asked]
    files.write(folder.path / "summary.csv", summary.to_csv(summary.cells(folder.rows)))
    picture = plots.accuracy_against_eps(summary.cells(folder.rows), title)
    plots.save(picture, folder.path / "accuracy.png")
    table = rich.table.Table(title=f"accuracy in %, mean ± 95 % interval; {title}")
    for head in ("method", "eps", "sparsity", "n", "validation", "test"):
        is_name = head == "method"
        table.add_column(head, justify="left" if is_name else "right", no_wrap=is_name)
    for name in summary.BASELINES:
        table.add_column(f"test − {name} (p)", justify="right")
    shown = {(row["method"], row["eps"], row["sparsity"]) for row in rows}
    # With every seed and every baseline that the folder has, as in the file.
    cells = [cell for cell in summary.cells(folder.rows) if cell[:3] in shown]
    for cell in cells:
        n = cell.accuracy["test_accuracy"].n
        count = f"{n} (+{cell.diverged} diverged)" if cell.diverged else str(n)
        table.add_row(
            cell.method,
            "" if cell.eps is None else str(cell.eps),
            "" if cell.sparsity is None else str(cell.sparsity),
            count,
            *(_percent(cell.accuracy[field]) for field in summary.FIELDS),
            *(_difference(cell.against.get(name), n) for name in summary.BASELINES),
        )
    console.print(table)
    for cell in summary.best_sparsity(cells):
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


def _difference(value: Any, n: int) -> str:
    if value is None or math.isnan(value.difference):
        return ""
    pairs = "" if value.n == n else f", n {value.n}"
    half = "" if math.isnan(value.half) else f" ± {100 * value.half:.2f} ({value.p:.2g}{pairs})"
    return f"{100 * value.difference:+.2f}{half}"
