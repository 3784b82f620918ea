"""Plots of the subset-sum study: the phase diagram, its curves against the bounds, and figure 2."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np

from lth_jax.report import plots

_NONE = "–"  # in a cell without a number
_TONES = np.linspace(0.05, 0.65, 256)  # of a map of colours from white to dark


def phase_map(rows: Sequence[Mapping[str, Any]]) -> plots.Figure:
    """A heat map of n50 over (ε, η), n50/n90 written into each cell."""
    etas = sorted({row["eta"] for row in rows}, reverse=True)
    epsilons = sorted({row["eps"] for row in rows})
    grid = np.full((len(etas), len(epsilons)), np.nan)
    for row in rows:
        n50 = np.nan if row["n50"] is None else row["n50"]
        grid[etas.index(row["eta"]), epsilons.index(row["eps"])] = n50
    drawing = plots.empty(2.2 + 0.8 * len(epsilons), 1.7 + 0.55 * len(etas))
    axes = drawing.add_subplot()
    # Light tones only, so that black numbers can be read in every cell.
    found = grid[np.isfinite(grid)]
    low, top = (found.min(), found.max()) if found.size else (0.0, 1.0)
    colours = matplotlib.colors.ListedColormap(matplotlib.colormaps["Blues"](_TONES))
    image = axes.imshow(grid, aspect="auto", cmap=colours, vmin=low, vmax=max(top, low + 1))
    texts = {(row["eps"], row["eta"]): _words(row) for row in rows}
    for x, eps in enumerate(epsilons):
        for y, eta in enumerate(etas):
            words = texts.get((eps, eta), _NONE)
            axes.text(x, y, words, ha="center", va="center", color="black", fontsize=9)
    axes.set_xticks(range(len(epsilons)), [f"{eps:g}" for eps in epsilons])
    axes.set_yticks(range(len(etas)), [f"{eta:g}" for eta in etas])
    axes.set(xlabel="ε", ylabel="η")
    drawing.colorbar(image, label="n at 50 %")
    drawing.suptitle(
        f"least n at 50 % / 90 % success, all z in [−1/2, 1/2]; {_trials(rows)}", fontsize=9
    )
    return drawing


def _words(row: Mapping[str, Any]) -> str:
    parts = [_NONE if row[name] is None else str(row[name]) for name in ("n50", "n90")]
    return _NONE if set(parts) == {_NONE} else "/".join(parts)


def _trials(rows: Sequence[Mapping[str, Any]]) -> str:
    counts = sorted({row["trials"] for row in rows})
    n = f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else str(counts[0] if counts else 0)
    return f"n = {n} random sets per ε" if counts else ""


def phase_curves(rows: Sequence[Mapping[str, Any]]) -> plots.Figure:
    """For each η: simulated n90 over ε between what is necessary and what suffices (δ = 0.1)."""
    etas = sorted({row["eta"] for row in rows}, reverse=True)
    columns = min(len(etas), 4)
    drawing = plots.empty(0.6 + 3.1 * columns, 1.1 + 2.9 * -(-len(etas) // columns))
    grid = drawing.subplots(-(-len(etas) // columns), columns, squeeze=False)
    panels = list(grid.ravel())
    epsilons = sorted({row["eps"] for row in rows})
    shown = {
        "sufficient90": (1, "suffices, δ = 0.1"),
        "n90": (0, "simulated, 90 %"),
        "necessary90": (2, "necessary, 90 %"),
        "necessary_volume": (3, "necessary, volume"),
    }
    for index, (panel, eta) in enumerate(zip(panels, etas, strict=False)):
        line = sorted((row for row in rows if row["eta"] == eta), key=lambda row: row["eps"])
        eps = [row["eps"] for row in line]
        for name, (number, label) in shown.items():
            values = [np.nan if row[name] is None else row[name] for row in line]
            panel.plot(eps, values, label=label, ms=5, lw=1.2, **plots.style(number))
        bars = [(row["eps"], *row["n90_interval"]) for row in line]
        known = [bar for bar in bars if None not in bar]
        x, low, high = ([bar[part] for bar in known] for part in range(3))
        panel.vlines(x, low, high, color=plots.COLOURS[0])
        plots.tick_radii(panel, epsilons)
        # Written at a slant, for they stand near each other.
        panel.tick_params(axis="x", labelrotation=45)
        panel.set_title(f"η = {eta:g}", fontsize=10)
        panel.grid(**plots.GRID)
        if index % columns == 0:
            panel.set_ylabel("candidates n")
    drawn = panels[: len(etas)]
    plots.share_limits(drawn)
    for panel in drawn:
        panel.set_ylim(bottom=0)
    for panel in panels[len(etas) :]:
        panel.remove()
    plots.add_legend(drawing, drawn)
    words = f"all z in [−1/2, 1/2]; {_trials(rows)}, bars are 95 % intervals"
    drawing.suptitle(words, fontsize=9)
    return drawing


def figure2(cells: Sequence[Mapping[str, Any]]) -> plots.Figure:
    """Minimal n over ε/η, a colour per η: ours with the range of its draws, published hollow."""
    drawing = plots.empty(7.5, 5)
    axes = drawing.add_subplot()
    etas = sorted({cell["eta"] for cell in cells}, reverse=True)
    ratios = sorted({cell["ratio"] for cell in cells})
    for i, eta in enumerate(etas):
        line = sorted((c for c in cells if c["eta"] == eta), key=lambda c: c["ratio"])
        # Beside each other, so that one's range does not hide another's.
        x = [ratios.index(c["ratio"]) + 0.14 * (i - (len(etas) - 1) / 2) for c in line]
        n = np.array([np.nan if c["n"] is None else c["n"] for c in line])
        draws = [[d for d in c["draws"] if d is not None] or [np.nan] for c in line]
        look = plots.style(i)
        axes.plot(x, n, label=f"η = {eta:g}", ms=5, lw=1.2, **look)
        axes.vlines(x, [min(d) for d in draws], [max(d) for d in draws], color=look["color"])
        theirs = [np.nan if c["published"] is None else c["published"] for c in line]
        hollow = {"mfc": "white", "marker": look["marker"], "color": look["color"]}
        axes.plot(x, theirs, ls=":", lw=0.8, ms=5, **hollow)
    axes.plot([], [], "o:", color="black", mfc="white", lw=0.8, label="published (hollow)")
    axes.set_xticks(range(len(ratios)), [f"{ratio:g}" for ratio in ratios])
    axes.set(xlabel="ε/η (evenly spaced)", ylabel="minimal n")
    axes.grid(axis="y", **plots.GRID)
    axes.legend(fontsize=plots.SMALL, handlelength=3.5)
    counts = sorted({len(cell["draws"]) for cell in cells})
    draws_n = " to ".join(map(str, dict.fromkeys((counts[0], counts[-1]))))
    words = f"candidates per {cells[0]['sets']}; bars are the range of n = {draws_n} draws"
    drawing.suptitle(words, fontsize=9)
    return drawing
