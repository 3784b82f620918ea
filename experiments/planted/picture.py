"""The plot of planted tickets: what searches find beside what is known to exist."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib import axes

from lth_jax.report import plots, statistics

PLANTED = "planted"
Row = Mapping[str, Any]


def losses(rows: Sequence[Row], title: str) -> plots.Figure:
    """Loss on held-out points against the density kept, a panel per task and ε.

    Geometric means over seeds with 95 % intervals of log loss, as losses differ by orders of
    magnitude; methods without ε are drawn in every panel of their task.

    Args:
        rows: With task, method, eps, density, loss and seed; of one count and kind of odd layers.
        title: Of the figure.
    """
    rows = [row for row in rows if row["loss"] is not None and row["kept"] is not None]
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    radii = sorted({row["eps"] for row in rows if row["method"] == PLANTED})
    methods = list(dict.fromkeys(row["method"] for row in rows if row["method"] != PLANTED))
    drawing = plots.empty(2.9 * len(radii) + 0.5, 2.3 * len(tasks) + 1.2)
    grid = drawing.subplots(len(tasks), len(radii), squeeze=False, sharey="row")
    for line, task in zip(grid, tasks, strict=True):
        for panel, eps in zip(line, radii, strict=True):
            for place, method in enumerate([PLANTED, *methods]):
                own = [r for r in rows if (r["task"], r["method"]) == (task, method)]
                mine = [r for r in own if r["eps"] in (eps, None)]
                _draw(panel, method, mine, place, len(methods) + 1)
            panel.set_yscale("log")
            panel.set_title(f"{task}, ε = {eps:g}", fontsize=9)
            panel.grid(axis="y", **plots.GRID)
            panel.tick_params(which="both", labelsize=plots.SMALL)
        line[0].set_ylabel("held-out loss", fontsize=9)
    for panel in grid[-1]:
        panel.set_xlabel("density kept", fontsize=9)
    seeds = len({row["seed"] for row in rows})
    words = f"geometric mean and 95 % interval (Student's t of logs), n = {seeds} seeds"
    drawing.suptitle(f"{title}\n{words}", fontsize=9)
    plots.add_legend(drawing, list(grid.ravel()))
    return drawing


def _draw(panel: axes.Axes, method: str, rows: Sequence[Row], place: int, places: int) -> None:
    """One line: places beside each other at each density, which are evenly spaced."""
    # Black is of the planted ticket alone.
    style = plots.style(place - 1 if place < 5 else place)
    if method == PLANTED:
        style = {"color": "#000000", "marker": "*", "linestyle": "-"}
    if not rows:  # It would leave the panel without ticks.
        return
    densities = sorted({row["density"] for row in rows})
    x, y, below, above = [], [], [], []
    for index, density in enumerate(densities):
        logs = [math.log(max(r["loss"], 1e-12)) for r in rows if r["density"] == density]
        value = statistics.mean(logs)
        middle, half = math.exp(value.mean), plots.half(value.half)
        x.append(index + 0.6 * (place / max(places - 1, 1) - 0.5))
        y.append(middle)
        below.append(middle - middle * math.exp(-half))
        above.append(middle * math.exp(half) - middle)
    bold = method == PLANTED
    look: dict[str, Any] = {
        "ms": 9 if bold else 5,
        "lw": 1.8 if bold else 1.1,
        "elinewidth": 0.9,
        "capsize": 2,
    }
    panel.errorbar(x, y, yerr=(below, above), label=plots.shown(method), **style, **look)
    panel.set_xlim(-0.5, len(densities) - 0.5)
    panel.set_xticks(range(len(densities)), [f"{d:g}" for d in densities])
