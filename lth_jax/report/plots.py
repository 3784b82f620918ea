"""How figures look, and how one becomes files.

The modules of plots use matplotlib's Figure objects and never pyplot: so nothing is global, and no
window or display is needed. What differs in colour also differs in marker and dashes: so plots can
be read without colours, in grey print or by the colour-blind.
"""

import io
import math
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import matplotlib
from matplotlib import axes, figure, ticker

from lth_jax import files

Figure = figure.Figure

# Okabe and Ito (2008), without their yellow, which is lost on white; eight with the grey.
COLOURS = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7"),
    *("#000000", "#56B4E9", "#E69F00", "#777777"),
)
MARKERS = "osD^vPX*<"
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
GRID: dict[str, Any] = {"alpha": 0.3, "linewidth": 0.6}
SMALL = 8  # points
_DPI = 120
_MOST_APART = 2.0  # common limits may be so many times as far apart as a panel's own


def style(index: int) -> dict[str, Any]:
    """Colour, marker and dashes of the index-th line: different for the first 72."""
    return {
        "color": COLOURS[index % len(COLOURS)],
        "marker": MARKERS[index % len(MARKERS)],
        "linestyle": DASHES[index % len(DASHES)],
    }


def radius_look(eps: float | None, radii: Sequence[float]) -> dict[str, Any]:
    """Colour, marker and dashes of an ε among others, None being none.

    From dark to light: an order that is seen in grey print as well.
    """
    if eps is None:
        return {"color": "#000000", "marker": "", "linestyle": "-"}
    index = radii.index(eps)
    colour = matplotlib.colormaps["viridis"](0.1 + 0.7 * index / max(len(radii) - 1, 1))
    return style(index) | {"color": colour}


def radius_name(eps: float | None) -> str:
    """An ε as legends have it."""
    return "no ε" if eps is None else "ε = ∞" if eps == math.inf else f"ε = {eps:g}"


def shown(name: str) -> str:
    """A name as people write it."""
    return name.replace("_", " ")


def empty(width: float, height: float) -> figure.Figure:
    """A figure of so many inches, which lays out what it is given."""
    return figure.Figure(figsize=(width, height), dpi=_DPI, layout="constrained")


def share_limits(panels: Sequence[axes.Axes]) -> bool:
    """Gives panels one y-axis, unless that would press what one of them shows together.

    Args:
        panels: All drawn.

    Returns:
        Whether they have one now.
    """
    limits = [panel.get_ylim() for panel in panels]
    low, high = min(low for low, _ in limits), max(high for _, high in limits)
    if high - low > _MOST_APART * min(top - bottom for bottom, top in limits):
        return False
    for panel in panels:
        panel.set_ylim(low, high)
    return True


def tick_radii(panel: axes.Axes, radii: Sequence[float]) -> None:
    """An ε axis: linear up to the smallest radius above 0, then logarithmic, ticks where data are.

    A logarithmic axis itself would choose powers of ten, maybe none.
    """
    panel.set_xlabel("ε")
    smallest = min((r for r in radii if r > 0), default=1.0)
    panel.set_xscale("symlog", linthresh=smallest)
    panel.set_xticks(list(radii), [f"{r:g}" for r in radii], fontsize=SMALL)
    panel.xaxis.set_minor_locator(ticker.NullLocator())
    # So that no mark at an end is cut.
    panel.set_xlim(min(radii) - smallest / 3, max(radii) * 1.8 or smallest / 3)


def interval_words(counts: Sequence[int]) -> str:
    """What marks and bars are, for a caption, from the number of seeds behind each mark."""
    least, most = min(counts, default=0), max(counts, default=0)
    if most < 2:
        return f"n = {most} seed{'' if most == 1 else 's'}"
    n = str(most) if least == most else f"{least} to {most}"
    return f"mean and 95 % interval (Student's t), n = {n} seeds"


def add_legend(drawing: figure.Figure, panels: Sequence[axes.Axes], inches: float = 1.8) -> None:
    """One legend below all panels, each name once.

    Args:
        drawing: The figure.
        panels: Whose names it takes.
        inches: That a name needs.
    """
    handles = {str(h.get_label()): h for p in panels for h in p.get_legend_handles_labels()[0]}
    if handles:
        drawing.legend(
            list(handles.values()),
            list(handles),
            fontsize=SMALL,
            loc="outside lower center",
            ncols=max(1, min(len(handles), int(drawing.get_figwidth() / inches))),
            handlelength=3.5,  # so that dashes can be told apart
        )


def half(value: float) -> float:
    """Half an interval as the length of a bar: none where there is no interval."""
    return 0.0 if math.isnan(value) else value


def to_png(drawing: figure.Figure) -> bytes:
    """A figure as the bytes of a PNG file, at the resolution of the figure itself."""
    out = io.BytesIO()
    drawing.savefig(out, format="png", dpi=drawing.dpi)
    return out.getvalue()


def to_svg(drawing: figure.Figure) -> bytes:
    """A figure as the bytes of an SVG file: the same bytes for the same figure."""
    out = io.BytesIO()
    # Else its ids are random, and it holds the time.
    with matplotlib.rc_context({"svg.hashsalt": "lth_jax", "svg.fonttype": "none"}):
        drawing.savefig(out, format="svg", metadata={"Date": None})
    return out.getvalue()


def save(drawing: figure.Figure, path: str | os.PathLike[str]) -> None:
    """Writes a figure as a PNG file and as an SVG file beside it, each whole or not at all.

    Args:
        drawing: Any figure.
        path: Of the PNG file; what is there is replaced. The other one ends in .svg.

    Raises:
        OSError: If they cannot be written.
    """
    files.write(pathlib.Path(path), to_png(drawing))
    # Its layout has just been found, which takes most of the time.
    drawing.set_layout_engine("none")
    files.write(pathlib.Path(path).with_suffix(".svg"), to_svg(drawing))
