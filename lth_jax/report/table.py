"""Cells as a table for people, and what is best among them."""

import io
import math
from collections.abc import Sequence

import rich.console
import rich.table

from lth_jax import pruners
from lth_jax.report import statistics, summary


def accuracy_table(cells: Sequence[summary.Cell], title: str) -> rich.table.Table:
    """Accuracies in percent with intervals and paired differences, a line per cell.

    Args:
        cells: From summary.cells.
        title: What was trained on what.

    Returns:
        A table that a rich console prints.
    """
    table = rich.table.Table(title=f"accuracy in %, mean ± 95 % interval; {title}")
    for head in ("method", "eps", "sparsity", "n", "validation", "test"):
        is_name = head == "method"
        table.add_column(head, justify="left" if is_name else "right", no_wrap=is_name)
    for name in summary.BASELINES:
        table.add_column(f"test − {name} (p)", justify="right")
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
    return table


def pruned_table(leaves: Sequence[pruners.Leaf], title: str) -> rich.table.Table:
    """What is pruned of a network, a line per leaf; without a fan-in what stays as it was drawn.

    Args:
        leaves: From pruners.leaves.
        title: Of the network.

    Returns:
        A table that a rich console prints.
    """
    pruned = sum(leaf.size for leaf in leaves if leaf.fan_in is not None)
    whole = sum(leaf.size for leaf in leaves)
    table = rich.table.Table(title=f"pruned: {pruned:,} of {whole:,} weights; {title}")
    table.add_column("weights", no_wrap=True)
    for head in ("shape", "fan-in", "count", "pruned"):
        table.add_column(head, justify="right")
    for leaf in leaves:
        shape = " × ".join(map(str, leaf.shape)) or "1"
        fan, is_pruned = ("", "no") if leaf.fan_in is None else (f"{leaf.fan_in:,}", "yes")
        table.add_row(leaf.path, shape, fan, f"{leaf.size:,}", is_pruned)
    return table


def best_lines(cells: Sequence[summary.Cell]) -> list[str]:
    """A sentence for every method and eps with several sparsities: the one validation prefers.

    It names the seeds that the choice was made by, and those of the test accuracy (all that did
    not diverge).
    """
    lines = []
    for cell, shared in summary.best_sparsity(cells):
        eps = "" if cell.eps is None else f", eps {cell.eps}"
        seeds = f"{shared} shared seed{'' if shared == 1 else 's'}"
        test = _percent(cell.accuracy["test_accuracy"])
        lines.append(
            f"best sparsity by validation on {seeds}: {cell.method}{eps}: {cell.sparsity}, "
            f"test {test} ({_count(cell)})"
        )
    return lines


def _count(cell: summary.Cell) -> str:
    diverged = f", {cell.diverged} more diverged" if cell.diverged else ""
    return f"n {cell.accuracy['test_accuracy'].n}{diverged}"


def as_text(table: rich.table.Table, width: int) -> str:
    """A table as plain text of at most `width` columns."""
    out = io.StringIO()
    rich.console.Console(file=out, width=width).print(table)
    return out.getvalue()


def _percent(value: statistics.Mean) -> str:
    if math.isnan(value.mean):
        return ""
    half = "" if math.isnan(value.half) else f" ± {100 * value.half:.2f}"
    return f"{100 * value.mean:.2f}{half}"


def _difference(value: statistics.Paired | None, n: int) -> str:
    if value is None or math.isnan(value.difference):
        return ""
    pairs = "" if value.n == n else f", n {value.n}"
    half = "" if math.isnan(value.half) else f" ± {100 * value.half:.2f} ({value.p:.2g}{pairs})"
    return f"{100 * value.difference:+.2f}{half}"
