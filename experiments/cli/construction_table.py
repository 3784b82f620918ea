"""What the construction study prints: a line per random network."""

from collections.abc import Mapping
from typing import Any

# What the table and the plot read of a row.
FIELDS = (
    "eps",
    "seed",
    "widths",
    "proved_widths",
    "kept",
    "certificate",
    "largest_error_found",
    "largest_error_on_data",
    "largest_logit",
    "target_accuracy",
    "ticket_accuracy",
    "ticket_bytes",
    "float32_bytes",
    "seconds",
    "over_parameterization",
    "proved_over_parameterization",
)
HEAD = (
    "      ε  key    n per layer     proved to do it      kept certificate     found"
    "  accuracy (target)   bytes, of float32    s"
)


def line(row: Mapping[str, Any]) -> str:
    """One object of construction.json."""
    sizes = [",".join(map(str, row[n])) if row[n] else "-" for n in ("widths", "proved_widths")]
    return (
        f"{row['eps']:7g} {row['seed']:4d}  {sizes[0]:>14} {sizes[1]:>18} {row['kept']:9d} "
        f"{row['certificate']:11.4g} {row['largest_error_found']:9.4g}  "
        f"{row['ticket_accuracy']:.4f} ({row['target_accuracy']:.4f}) {row['ticket_bytes']:9d} "
        f"{100 * row['ticket_bytes'] / row['float32_bytes']:6.1f} % {row['seconds']:6.1f}"
    )
