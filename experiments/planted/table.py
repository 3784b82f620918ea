"""What the planted study prints: losses beside those of the planted tickets, as Markdown."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from lth_jax.report import statistics

Row = Mapping[str, Any]
FIELDS = ("task", "odd", "count", "method", "eps", "kept", "seed", "loss", "accuracy", "density")
FIELDS += ("target_loss",)
PLANTED = "planted"


def table(rows: Sequence[Row], commit: str | None) -> str:
    """A line per task, kind of odd layers, count, ε, density and method.

    The gap is the loss beyond that of the ticket planted in the same random network at the same ε
    and density (at ε = 0 for a method without one; of a network without a mask, beyond the loss of
    the network that is hidden), the mean over seeds with its 95 % interval.
    """
    planted = {_place(row): row for row in rows if row["method"] == PLANTED}
    lines = [
        "| task | odd layers | count | ε | density | method | n | loss | gap to planted "
        "| accuracy, % | overlap (by chance), % |",
        "|" + "---|" * 11,
    ]
    order = sorted(rows, key=_order)
    for key, group in itertools.groupby(order, _order):
        lines.append(_line(key, list(group), planted))
    seeds = len({row["seed"] for row in rows})
    seconds = sum(row.get("seconds") or 0.0 for row in rows)
    lines.append(f"\nn = {seeds} random networks; {seconds:.0f} s of training; commit {commit}")
    return "\n".join(lines)


def _place(row: Row) -> tuple[Any, ...]:
    return row["task"], row["odd"], row["eps"] or 0.0, row["kept"], row["seed"]


def _order(row: Row) -> tuple[Any, ...]:
    """What a line of the table is of, in its order."""
    eps = row["eps"]
    number = -1.0 if eps is None else float(eps)
    first = row["method"] != PLANTED
    return (
        *(row["task"], row["odd"], row["kept"] or 0, first, row["count"] or ""),
        *(row["method"], number),
    )


def _line(key: tuple[Any, ...], rows: Sequence[Row], planted: Mapping[tuple[Any, ...], Row]) -> str:
    task, odd, _, _, count, method, eps = key
    fine = [row for row in rows if row["loss"] is not None]
    n = f"{len(fine)}" + (f" (+{len(rows) - len(fine)} diverged)" if len(rows) > len(fine) else "")
    gaps = [row["loss"] - _reference(row, planted) for row in fine]
    overlaps = [row["overlap"] for row in fine if "overlap" in row]
    shown = [task, odd, count, "" if eps < 0 else f"{eps:g}", f"{rows[0]['density']:.3g}"]
    shown += [f"`{method}`", n, _number([row["loss"] for row in fine])]
    shown += ["" if method == PLANTED else _number(gaps)]
    shown += [_number([100 * row["accuracy"] for row in fine], 1)]
    chance = 100 * rows[0]["density"] if odd == "given" else None
    by_chance = "" if chance is None else f" ({chance:.0f})"
    shown += [f"{100 * statistics.mean(overlaps).mean:.0f}{by_chance}" if overlaps else ""]
    return "| " + " | ".join(shown) + " |"


def _reference(row: Row, planted: Mapping[tuple[Any, ...], Row]) -> float:
    beside = planted.get(_place(row))
    return float(row["target_loss"] if beside is None else beside["loss"])


def _number(values: Sequence[float], digits: int | None = None) -> str:
    """A mean with its interval."""
    if not values:
        return ""
    found = statistics.mean(values)
    form = ".3g" if digits is None else f".{digits}f"
    half = "" if found.n < 2 else f" ± {found.half:{'.2g' if digits is None else form}}"
    return f"{found.mean:{form}}{half}"
