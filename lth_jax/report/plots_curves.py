"""The learning curves of an image study: validation accuracy and training loss by epoch."""

from collections.abc import Sequence
from typing import NamedTuple

from matplotlib import axes, ticker

from lth_jax.report import plots, summary

_MOST_BANDS = 4  # more in a panel hide each other
_MOST_MARKS = 12  # epochs; more marks run into each other
_COLUMNS = 4  # panels side by side, where they may be broken anywhere


class _Shown(NamedTuple):
    label: str
    factor: float


_SHOWN: dict[summary.CurveField, _Shown] = {
    "val_curve": _Shown("validation accuracy (%)", 100),
    "test_curve": _Shown("test accuracy (%)", 100),
    "train_loss_curve": _Shown("training loss", 1),
}


def learning_curves(
    curves: Sequence[summary.Curve], field: summary.CurveField, title: str
) -> plots.Figure:
    """Means by epoch, a panel per method and sparsity, a line per ε.

    Args:
        curves: From summary.curves.
        field: What they are of.
        title: Of the figure: what was trained on what.

    Returns:
        The figure.
    """
    masked = sorted({c.sparsity for c in curves if c.sparsity is not None})
    sparsities: Sequence[float | None] = masked or [None]
    names = list(dict.fromkeys(c.method for c in curves))
    radii = sorted({c.eps for c in curves if c.eps is not None})
    wanted = [(sparsity, method) for sparsity in sparsities for method in names]
    # Methods side by side; if there is one row or one column only, it may be broken.
    columns = min(len(wanted), _COLUMNS) if 1 in (len(names), len(sparsities)) else len(names)
    columns = max(columns, 1)
    rows = max(-(-len(wanted) // columns), 1)
    width, height = max(0.8 + 2.6 * columns, 4.5), max(1.1 + 2.1 * rows, 3.8)
    drawing = plots.empty(width, height)
    panels = list(drawing.subplots(rows, columns, sharex=True, squeeze=False).ravel())
    drawn = panels[: len(wanted)]
    for panel in panels[len(wanted) :]:
        panel.remove()
    counts: list[int] = []
    for index, (panel, (sparsity, method)) in enumerate(zip(drawn, wanted, strict=True)):
        own = [c for c in curves if c.method == method and c.sparsity in (sparsity, None)]
        for curve in own:
            _draw(panel, curve, _SHOWN[field].factor, radii, len(own) <= _MOST_BANDS)
            counts += [value.n for value in curve.epochs if value.n]
        of = "" if sparsity is None else f"\nsparsity {sparsity:g}"
        panel.set_title(f"{plots.shown(method)}{of}", fontsize=9)
        panel.grid(**plots.GRID)
        panel.xaxis.set_major_locator(ticker.MaxNLocator(5, integer=True, min_n_ticks=1))
        panel.tick_params(labelsize=plots.SMALL, labelbottom=index + columns >= len(drawn))
        if index + columns >= len(drawn):
            panel.set_xlabel("epoch")
    words, shared = plots.interval_words(counts), True
    for start in range(0, len(drawn), columns):
        row = drawn[start : start + columns]
        row[0].set_ylabel(_SHOWN[field].label, fontsize=9)
        shared &= plots.share_limits(row)
    if max(counts, default=0) > 1 and any(len(p.get_lines()) > _MOST_BANDS for p in drawn):
        words += "; no interval where lines are many"
    words += "" if shared else "; y-axes differ"
    drawing.suptitle(f"{plots.shown(title)}\n{words}".strip(), fontsize=9)
    plots.add_legend(drawing, drawn, inches=1.2)
    return drawing


def _draw(
    panel: axes.Axes, curve: summary.Curve, factor: float, radii: Sequence[float], band: bool
) -> None:
    """One line, and if wanted the band of its intervals."""
    known = [(epoch, v) for epoch, v in enumerate(curve.epochs, 1) if v.n]
    epochs, means = [e for e, _ in known], [factor * v.mean for _, v in known]
    halves = [factor * plots.half(v.half) for _, v in known]
    look = plots.radius_look(curve.eps, radii)
    marker = look["marker"] if len(known) <= _MOST_MARKS else ""
    line = {"color": look["color"], "linestyle": look["linestyle"], "lw": 1.3}
    panel.plot(epochs, means, marker=marker, ms=4, label=plots.radius_name(curve.eps), **line)
    if band:
        low = [m - h for m, h in zip(means, halves, strict=True)]
        high = [m + h for m, h in zip(means, halves, strict=True)]
        panel.fill_between(epochs, low, high, color=look["color"], alpha=0.2, linewidth=0)
