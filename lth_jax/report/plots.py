"""The plot of an image study's accuracy, and how a figure becomes a file.

The modules of plots use matplotlib's Figure objects and never pyplot: so nothing is global, and no
window or display is needed.
"""

import io
import math
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib import axes, figure

from lth_jax import files
from lth_jax.report import summary
from lth_jax.training import methods

Figure = figure.Figure


def to_png(drawing: figure.Figure) -> bytes:
    """A figure as the bytes of a PNG file, at the resolution of the figure itself."""
    out = io.BytesIO()
    drawing.savefig(out, format="png", dpi=drawing.dpi)
    return out.getvalue()


def save(drawing: figure.Figure, path: str | os.PathLike[str]) -> None:
    """Writes a figure as a PNG file, whole or not at all.

    Args:
        drawing: Any figure.
        path: Of the file; what is there is replaced.

    Raises:
        OSError: If it cannot be written.
    """
    files.write(pathlib.Path(path), to_png(drawing))


def accuracy_against_eps(cells: Sequence[summary.Cell], title: str) -> figure.Figure:
    """Test accuracy against ε with 95 % intervals, a panel per sparsity, a line per method.

    Methods without a ball are horizontal lines.

    Args:
        cells: From summary.cells.
        title: Of the figure: what was trained on what.

    Returns:
        The figure.
    """
    masked = sorted({c.sparsity for c in cells if c.sparsity is not None})
    sparsities: Sequence[float | None] = masked or [None]
    names = list(dict.fromkeys(c.method for c in cells))
    size = (3.3 + 3.4 * len(sparsities), 4.2)
    drawing = figure.Figure(figsize=size, dpi=120, layout="constrained")
    panels = drawing.subplots(1, len(sparsities), sharey=True, squeeze=False)[0]
    radii = sorted({c.eps for c in cells if c.eps is not None and _takes_eps(c)})
    finite = [r for r in radii if 0 < r < math.inf]
    # Infinity has a place of its own to the right, as "trains freely".
    beyond = 3 * max(finite, default=1.0)
    for panel, sparsity in zip(panels, sparsities, strict=True):
        for index, method in enumerate(names):
            mine = [c for c in cells if c.method == method and c.sparsity in (sparsity, None)]
            mine = [c for c in mine if c.accuracy["test_accuracy"].n]
            style = {"color": f"C{index}", "label": method}
            _draw_line(panel, [c for c in mine if _takes_eps(c)], beyond, style)
            for cell in mine:
                if not _takes_eps(cell):
                    mean, half, _ = cell.accuracy["test_accuracy"]
                    panel.axhline(mean, ls="--", lw=1, **style)
                    if not math.isnan(half):
                        panel.axhspan(mean - half, mean + half, color=style["color"], alpha=0.1)
        panel.set_title("" if sparsity is None else f"sparsity {sparsity:g}", fontsize=10)
        panel.set_xlabel("ε")
        panel.grid(alpha=0.3)
        if finite:
            panel.set_xscale("symlog", linthresh=min(finite))
        # Ticks where the lanes are: a logarithmic axis would choose powers of ten, maybe none.
        ticks = {min(r, beyond): "∞" if r == math.inf else f"{r:g}" for r in radii}
        panel.set_xticks(list(ticks), list(ticks.values()), fontsize=8)
        panel.minorticks_off()
    panels[0].set_ylabel("test accuracy")
    handles = {h.get_label(): h for p in panels for h in p.get_legend_handles_labels()[0]}
    if handles:
        drawing.legend(handles.values(), list(handles), fontsize=8, loc="outside right upper")
    drawing.suptitle(title, fontsize=10)
    return drawing


def _takes_eps(cell: summary.Cell) -> bool:
    return methods.METHODS[cell.method].takes_eps


def _draw_line(
    panel: axes.Axes, cells: Sequence[summary.Cell], beyond: float, style: Mapping[str, Any]
) -> None:
    """The cells of one method over ε, with their intervals; `beyond` is where ∞ goes."""
    found = [(c.eps, c.accuracy["test_accuracy"]) for c in cells if c.eps is not None]
    if not found:
        return
    found.sort(key=lambda pair: pair[0])
    x = [min(eps, beyond) for eps, _ in found]
    y = [mean for _, (mean, _, _) in found]
    half = [0.0 if math.isnan(half) else half for _, (_, half, _) in found]
    panel.errorbar(x, y, yerr=half, marker="o", ms=3, lw=1.2, capsize=2, **style)
