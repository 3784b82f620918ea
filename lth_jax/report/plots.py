"""Pictures of results; the only importer of matplotlib, by its objects, so without global state."""

import io
import math
from collections.abc import Sequence

from matplotlib import figure

from lth_jax.report import summary


def to_png(drawing: figure.Figure) -> bytes:
    """A figure as the bytes of a PNG file."""
    out = io.BytesIO()
    drawing.savefig(out, format="png", dpi=120)
    return out.getvalue()


def accuracy_against_eps(cells: Sequence[summary.Cell], title: str) -> figure.Figure:
    """Test accuracy against ε with 95 % intervals, a panel per sparsity, a line per method.

    Methods without a ball are horizontal lines.

    Args:
        cells: From summary.cells.
        title: Of the figure: what was trained on what.

    Returns:
        The figure.
    """
    sparsities = sorted({c.sparsity for c in cells if c.sparsity is not None}) or [None]
    methods = list(dict.fromkeys(c.method for c in cells))
    drawing = figure.Figure(figsize=(3.3 + 3.4 * len(sparsities), 4.2), layout="constrained")
    panels = drawing.subplots(1, len(sparsities), sharey=True, squeeze=False)[0]
    radii = sorted({float(c.eps) for c in cells if c.eps is not None})
    finite = [r for r in radii if 0 < r < math.inf]
    # Infinity has a place of its own to the right, as "trains freely".
    beyond = 3 * max(finite, default=1.0)
    for panel, sparsity in zip(panels, sparsities, strict=True):
        for index, method in enumerate(methods):
            mine = [c for c in cells if c.method == method and c.sparsity in (sparsity, None)]
            mine = [c for c in mine if c.accuracy["test_accuracy"].n]
            style = {"color": f"C{index}", "label": method}
            _draw_line(panel, [c for c in mine if c.eps is not None], beyond, style)
            for cell in mine:
                if cell.eps is None:
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


def _draw_line(panel, cells, beyond, style):
    if not cells:
        return
    cells = sorted(cells, key=lambda c: float(c.eps))
    x = [min(float(c.eps), beyond) for c in cells]
    y = [c.accuracy["test_accuracy"].mean for c in cells]
    half = [c.accuracy["test_accuracy"].half for c in cells]
    half = [0.0 if math.isnan(h) else h for h in half]
    panel.errorbar(x, y, yerr=half, marker="o", ms=3, lw=1.2, capsize=2, **style)
