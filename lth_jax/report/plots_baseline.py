"""The plot of what weight decay does to edge-popup's scores, and so to the paper's baseline."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib import axes

from lth_jax.report import plots


class Series(NamedTuple):
    """Rows that are drawn alike."""

    label: str
    color: str
    line: str
    rows: Sequence[Mapping[str, Any]]


_MARKS = {"perturb_then_prune": "o", "prune_then_perturb": "s"}


def baseline(
    pruned: Sequence[Series], gained: Sequence[Series], published: Mapping[str, float]
) -> plots.Figure:
    """Accuracy, size of scores and changes of the mask by epoch, and accuracy against ε.

    Args:
        pruned: Rows of `prune` at one sparsity that hold curves, a line per row.
        gained: Rows of perturb_then_prune and prune_then_perturb, and of prune for ε = 0.
        published: Test accuracies to mark behind the last epoch, by label.

    Returns:
        The figure.
    """
    moved = any(row["eps"] for series in gained for row in series.rows)
    drawing = plots.empty(12.5 if moved else 9.5, 4.2)
    accuracy, scores, mask, *rest = drawing.subplots(1, 4 if moved else 3)
    curves = {"test_curve": accuracy, "score_median_curve": scores, "step_change_curve": mask}
    epochs = 1
    for series in pruned:
        for place, row in enumerate(series.rows):
            label = series.label if place == 0 else None
            for name, panel in curves.items():
                factor = 1 if panel is scores else 100
                values = [np.nan if v is None else factor * v for v in row[name]]
                epochs = max(epochs, len(values))
                style = {"color": series.color, "ls": series.line, "lw": 1.1, "label": label}
                panel.plot(range(1, len(values) + 1), values, **style)
    for label, value in published.items():
        accuracy.plot([epochs + 1], [100 * value], "kx", ms=6)
        where = {"xytext": (-6, 0), "textcoords": "offset points", "ha": "right", "va": "center"}
        accuracy.annotate(label, (epochs + 1, 100 * value), fontsize=plots.SMALL, **where)
    accuracy.set(ylabel="test accuracy (%)", ylim=(0, 100))
    scores.set(ylabel="median |score|", yscale="log")
    mask.set(ylabel="mask changed by an epoch's last step (%)", yscale="log")
    for panel in curves.values():
        panel.set_xlabel("epoch")
    for panel in rest:
        _draw_gains(panel, gained)
    for panel in (accuracy, scores, mask, *rest):
        panel.grid(**plots.GRID)
    plots.add_legend(drawing, (scores, *rest), inches=2.6)
    return drawing


def _draw_gains(panel: axes.Axes, gained: Sequence[Series]) -> None:
    """Accuracy over ε, a line through the means per series and order; all seeds are shown."""
    radii = sorted({row["eps"] for series in gained for row in series.rows if row["eps"]})
    for series in gained:
        for method, mark in _MARKS.items():
            found: dict[float, list[float]] = {}
            for row in series.rows:
                if row["method"] in ("prune", method) and row["test_accuracy"] is not None:
                    found.setdefault(row["eps"] or 0.0, []).append(100 * row["test_accuracy"])
            if len(found) < 2:
                continue
            means = [float(np.mean(found[eps])) for eps in sorted(found)]
            style: dict[str, Any] = {"color": series.color, "marker": mark}
            style["ls"] = "-" if mark == "o" else "--"
            label = f"{series.label}: {plots.shown(method)}"
            panel.plot(sorted(found), means, ms=4, lw=1.1, label=label, **style)
            for eps, values in found.items():
                panel.plot([eps] * len(values), values, ".", color=series.color, ms=3, alpha=0.5)
    plots.tick_radii(panel, [0.0, *radii])
    panel.set_ylabel("test accuracy (%)")
