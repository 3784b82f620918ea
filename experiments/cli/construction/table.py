"""What the construction study prints: a line per random network, and a summary."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from experiments.cli.construction import flags

Row = Mapping[str, Any]


class Table(NamedTuple):
    """How objects of construction.json are shown, and what they must have for it."""

    fields: tuple[str, ...]  # what the table and the plot read of a row
    head: str
    line: Callable[[Row], str]
    end: Callable[[Sequence[Row], str | None], str]


_BOTH = ("eps", "certificate", "largest_logit", "ticket_accuracy", "ticket_bytes", "seconds")
_BOTH += ("widths", "target_accuracy", "largest_error_found", "over_parameterization", "kept")


def of(config: flags.Config) -> Table:
    """The table of a study: by a tolerance per weight, or by a certificate."""
    return BY_CERTIFICATE if config.eta is None else BY_TOLERANCE


def _tolerance_line(row: Row) -> str:
    sizes = [",".join(map(str, row[n])) if row[n] else "-" for n in ("widths", "proved_widths")]
    return (
        f"{row['eps']:7g} {row['seed']:4d}  {sizes[0]:>14} {sizes[1]:>18} {row['kept']:9d} "
        f"{row['certificate']:11.4g} {row['largest_error_found']:9.4g}  "
        f"{row['ticket_accuracy']:.4f} ({row['target_accuracy']:.4f}) {row['ticket_bytes']:9d} "
        f"{100 * row['ticket_bytes'] / row['float32_bytes']:6.1f} % {row['seconds']:6.1f}"
    )


def _tolerance_end(rows: Sequence[Row], commit: str | None) -> str:
    logit, eta = rows[0]["largest_logit"], rows[0]["eta"]
    return f"largest logit {logit:.4g}; η {eta:g}; commit {commit}"


def _certificate_line(row: Row) -> str:
    return (
        f"{100 * row['certified_target']:8g} % {row['eps']:7g} {row['assignment']:>9} "
        f"{row['key']:4d} {row['candidates_per_weight']:10.2f} "
        f"{row['kept_per_weight']:7.3f} {row['kept_per_weight_best']:7.3f} "
        f"{row['certificate']:11.4g} {row['largest_error_found']:9.4g}  "
        f"{row['ticket_accuracy']:.4f} ({row['target_accuracy']:.4f}) {row['ticket_bytes']:9d} "
        f"{row['seconds']:6.1f}"
    )


def _spread(rows: Sequence[Row], name: str, digits: int = 2) -> str:
    values = [row[name] for row in rows]
    if None in values:
        return "-"
    mean = sum(values) / len(values)
    return f"{mean:.{digits}f} ({min(values):.{digits}f}–{max(values):.{digits}f})"


def _certificate_end(rows: Sequence[Row], commit: str | None) -> str:
    """A line per cell over its keys, as a table in Markdown."""
    lines = [
        "",
        "| certified | ε | assignment | candidates per weight | kept per weight | ticket, kB "
        "| accuracy, % | every weight within η(τ): proved | necessary |",
        "|---|---|---|---|---|---|---|---|---|",
    ]

    def cell(row: Row) -> tuple[Any, ...]:
        return row["certified_target"], row["eps"], row["assignment"]

    for (share, eps, assignment), some in itertools.groupby(rows, cell):
        of_cell = [
            {**row, "kB": row["ticket_bytes"] / 1e3, "percent": 100 * row["ticket_accuracy"]}
            for row in some
        ]
        shown = [("candidates_per_weight", 2), ("kept_per_weight", 2), ("kB", 0), ("percent", 2)]
        shown += [("proved", 1), ("necessary", 1)]
        parts = [_spread(of_cell, name, digits) for name, digits in shown]
        lines.append(f"| {100 * share:g} % | {eps:g} | {assignment} | {' | '.join(parts)} |")
    keys = len({row["key"] for row in rows})
    lines.append("")
    lines.append(
        f"mean (range), n = {keys}; largest logit {rows[0]['largest_logit']:.4g}; "
        f"{sum(row['seconds'] for row in rows):.0f} s; commit {commit}"
    )
    return "\n".join(lines)


BY_TOLERANCE = Table(
    fields=(
        *_BOTH,
        "seed",
        "eta",
        "proved_widths",
        "largest_error_on_data",
        "float32_bytes",
        "proved_over_parameterization",
    ),
    head="      ε  key    n per layer     proved to do it      kept certificate     found"
    "  accuracy (target)   bytes, of float32    s",
    line=_tolerance_line,
    end=_tolerance_end,
)
BY_CERTIFICATE = Table(
    fields=(
        *_BOTH,
        "certified_target",
        "assignment",
        "key",
        "candidates_per_weight",
        "kept_per_weight",
        "kept_per_weight_best",
        "proved",
        "necessary",
    ),
    head=" certified       ε assignment key candidates    kept (best's) certificate     found"
    "  accuracy (target)     bytes      s",
    line=_certificate_line,
    end=_certificate_end,
)
