"""Plots of the subset-sum study: the phase diagram, its curves against the bounds, and figure 2."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import figure


def _laid_out(drawing: figure.Figure) -> figure.Figure:
    drawing.tight_layout()
    drawing.set_dpi(130)  # Only now: the layout depends on it.
    return drawing


def phase_map(rows: Sequence[Mapping[str, Any]]) -> figure.Figure:
    """A heat map of n50 over (ε, η), n50/n90 written into each cell."""
    etas = sorted({row["eta"] for row in rows}, reverse=True)
    epsilons = sorted({row["eps"] for row in rows})
    grid = np.full((len(etas), len(epsilons)), np.nan)
    drawing = figure.Figure(figsize=(1.6 + 0.85 * len(epsilons), 1.6 + 0.6 * len(etas)))
    axes = drawing.add_subplot()
    for row in rows:
        i, j = etas.index(row["eta"]), epsilons.index(row["eps"])
        grid[i, j] = np.nan if row["n50"] is None else row["n50"]
        axes.text(j, i, f"{row['n50']}/{row['n90']}", ha="center", va="center", color="white")
    # From dark to middle tones only, so that the white numbers can be read in every cell.
    found = grid[np.isfinite(grid)]
    top = 1.3 * found.max() if found.size else 1.0
    image = axes.imshow(grid, aspect="auto", cmap="viridis", vmax=top)
    axes.set_xticks(range(len(epsilons)), [f"{eps:g}" for eps in epsilons])
    axes.set_yticks(range(len(etas)), [f"{eta:g}" for eta in etas])
    axes.set(xlabel="ε", ylabel="η", title="minimal n at 50 % / 90 % success, all z in [-1/2, 1/2]")
    drawing.colorbar(image, label="n at 50 %")
    return _laid_out(drawing)


def phase_curves(rows: Sequence[Mapping[str, Any]]) -> figure.Figure:
    """For each η: simulated n90 over ε between what is necessary and what suffices (δ = 0.1)."""
    etas = sorted({row["eta"] for row in rows}, reverse=True)
    drawing = figure.Figure(figsize=(3.4 * len(etas), 3.4))
    panels = drawing.subplots(1, len(etas), sharey=True, squeeze=False)[0]
    smallest = min((row["eps"] for row in rows if row["eps"] > 0), default=1.0)
    for panel, eta in zip(panels, etas, strict=True):
        line = sorted((row for row in rows if row["eta"] == eta), key=lambda row: row["eps"])
        eps = [row["eps"] for row in line]
        simulated = [np.nan if row["n90"] is None else row["n90"] for row in line]
        panel.plot(eps, [row["sufficient90"] for row in line], "v--", label="suffices, δ = 0.1")
        panel.plot(eps, simulated, "o-", label="simulated, 90 %")
        panel.plot(eps, [row["necessary90"] for row in line], "^--", label="necessary, 90 %")
        panel.plot(eps, [row["necessary_volume"] for row in line], "x:", label="necessary, volume")
        panel.set_xscale("symlog", linthresh=smallest)
        panel.set(xlabel="ε", title=f"η = {eta:g}")
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("n")
    panels[0].set_ylim(bottom=0)
    panels[0].legend(fontsize="small")
    return _laid_out(drawing)


def figure2(cells: Sequence[Mapping[str, Any]]) -> figure.Figure:
    """Minimal n over ε/η, one colour per η: ours with the range of its draws, published dashed."""
    drawing = figure.Figure(figsize=(7, 5))
    axes = drawing.add_subplot()
    for i, eta in enumerate(sorted({cell["eta"] for cell in cells}, reverse=True)):
        line = sorted((c for c in cells if c["eta"] == eta), key=lambda c: c["ratio"])
        ratio = [c["ratio"] for c in line]
        n = np.array([np.nan if c["n"] is None else c["n"] for c in line])
        draws = [[d for d in c["draws"] if d is not None] or [np.nan] for c in line]
        axes.plot(ratio, n, "o-", color=f"C{i}", label=f"η = {eta:g}")
        low, high = [min(d) for d in draws], [max(d) for d in draws]
        axes.fill_between(ratio, low, high, color=f"C{i}", alpha=0.15, linewidth=0)
        theirs = [np.nan if c["published"] is None else c["published"] for c in line]
        axes.plot(ratio, theirs, "x--", color=f"C{i}", alpha=0.6)
    axes.plot([], [], "kx--", label="published")
    axes.set(xlabel="ε/η", ylabel="minimal n", title=f"candidates per {cells[0]['sets']}")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    return _laid_out(drawing)
