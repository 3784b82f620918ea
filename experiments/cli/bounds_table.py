"""What the subset-sum study prints of its bounds: how loose each one is."""

from collections.abc import Mapping, Sequence
from typing import Any

ONE = (
    "  η       ε      one target z = 1/2, 50 %/90 %          every z in W, 50 %/90 %"
    "           397,000 weights, δ = 0.05\n"
    "                 necessary simulated  proved            simulated  proved  by growth"
    "    necessary proved by growth"
)
SIZE = "  k  η       ε      n for z = 1/4 at 50 %: necessary simulated proved"


def _pair(values: Sequence[Any]) -> str:
    return "/".join("-" if value is None else f"{value:g}" for value in values)


def target_line(row: Mapping[str, Any]) -> str:
    """One object of "targets" in bounds.json."""
    one, every, network = row["one"], row["all"], row["network"]
    pairs = [_pair(one[name]) for name in ("necessary", "simulated", "proved")]
    pairs += [_pair(every[name]) for name in ("simulated", "proved", "growth")]
    a, b, c, d, e, f = pairs
    return (
        f"{row['eta']:7g} {row['eps']:7g}  {a:>9} {b:>9} {c:>7}            {d:>9} {e:>7} {f:>10}"
        f"    {network['necessary']:9g} {network['proved']:6g} {network['growth']:9g}"
    )


def size_line(row: Mapping[str, Any]) -> str:
    """One object of "sizes" in bounds.json."""
    simulated = "-" if row["simulated"] is None else row["simulated"]
    return (
        f"{row['k']:3d} {row['eta']:7g} {row['eps']:7g} {row['necessary']:34g} {simulated:>9} "
        f"{row['proved']:6g}"
    )
