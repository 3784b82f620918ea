"""What the planted study prints: losses beside those of the planted tickets, as Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

from lth_jax.report import statistics

Row = Mapping[str, Any]
FIELDS = ("task", "odd", "count", "method", "eps", "kept", "seed", "loss", "accuracy", "density")
FIELDS += ("target_loss",)
PLANTED = "planted"


def table(rows: Sequence[Row], commit: str | None) -> str:
    """A line per task, kind of odd layers, count, density and ε, and one per network without mask.

    Beside the planted ticket's loss stands each method's gap: its loss beyond that of the ticket
    planted in the same random network at the same ε and density, or, of a network without a mask,
    beyond that of the network that is hidden; means over seeds with 95 % intervals. In brackets the
    held-out accuracy. A method without ε is on the lines of ε = 0.
    """
    planted = {_place(row): row for row in rows if row["method"] == PLANTED}
    searched = [row for row in rows if row["method"] != PLANTED]
    methods = list(dict.fromkeys(row["method"] for row in searched))
    head = ["task", "odd layers", "count", "density", "ε", "planted", *methods, "overlap, %"]
    lines = [_joined(head), "|" + "---|" * len(head)]
    for key in sorted({_line(row) for row in searched}, key=_order):
        mine = [row for row in searched if _line(row) == key]
        lines.append(_joined(_cells(key, mine, methods, planted)))
    diverged = sum(row["loss"] is None for row in searched)
    seeds = len({row["seed"] for row in rows})
    seconds = sum(row.get("seconds") or 0.0 for row in rows)
    lines.append(
        f"\nloss or gap ± 95 % (accuracy, %); overlap with the planted mask, of all methods (by "
        f"chance); n = {seeds} random networks, {diverged} lanes diverged; {seconds:.0f} s of "
        f"training; commit {commit}"
    )
    return "\n".join(lines)


def _line(row: Row) -> tuple[Any, ...]:
    """What a line of the table is of."""
    eps = row["eps"] if row["kept"] is None else row["eps"] or 0.0
    return row["task"], row["odd"], row["count"], row["kept"], eps


def _order(key: tuple[Any, ...]) -> tuple[Any, ...]:
    task, odd, count, kept, eps = key
    return task, odd, count, kept or 0, float(eps)


def _place(row: Row) -> tuple[Any, ...]:
    return row["task"], row["odd"], row["kept"], row["eps"] or 0.0, row["seed"]


def _cells(
    key: tuple[Any, ...],
    rows: Sequence[Row],
    methods: Sequence[str],
    planted: Mapping[tuple[Any, ...], Row],
) -> list[str]:
    task, odd, count, kept, eps = key
    beside = [planted[_place(row)] for row in rows if _place(row) in planted]
    theirs = list({row["seed"]: row for row in beside}.values())
    shown = [task, odd, count, f"{rows[0]['density']:.3g}", f"{float(eps):g}", _of(theirs)]
    for method in methods:
        own = [row for row in rows if row["method"] == method and row["loss"] is not None]
        shown.append(_of(own, [row["loss"] - _reference(row, planted) for row in own]))
    overlaps = [row["overlap"] for row in rows if "overlap" in row]
    by_chance = f" ({100 * rows[0]['density']:.0f})" if odd == "given" else ""
    shown.append(f"{100 * statistics.mean(overlaps).mean:.0f}{by_chance}" if overlaps else "")
    return shown


def _of(rows: Sequence[Row], values: Sequence[float] | None = None) -> str:
    """The mean of rows' losses, or of other values of theirs, and of their accuracies."""
    if not rows:
        return ""
    found = statistics.mean([row["loss"] for row in rows] if values is None else values)
    half = "" if found.n < 2 else f" ± {found.half:.2g}"
    accuracy = 100 * statistics.mean([row["accuracy"] for row in rows]).mean
    return f"{found.mean:.3g}{half} ({accuracy:.0f})"


def _reference(row: Row, planted: Mapping[tuple[Any, ...], Row]) -> float:
    beside = planted.get(_place(row))
    return float(row["target_loss"] if beside is None else beside["loss"])


def _joined(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
