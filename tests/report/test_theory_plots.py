"""The plots of the subset sums and of the construction: what is not known is no number there."""

import numpy as np
import pytest
from matplotlib import text

from lth_jax.report import plots, plots_construction, plots_subset_sum


def phase_rows():
    found = []
    for eta in (0.01, 0.0):
        for eps in (0.0, 0.001, 0.1):
            if eta == eps == 0:
                continue
            lost = eta == 0 and eps == 0.001
            n = {
                "n50": 9 if eps else 11,
                "n90": None if lost else 12,
                "n90_interval": [11, None if lost else 13],
            }
            bounds = {"sufficient90": 60, "necessary90": 5, "necessary_volume": 4}
            found.append({"eta": eta, "eps": eps, "trials": 100} | n | bounds)
    return found


def construction_rows(keys=3):
    names = ("proved_", "", "necessary_")
    return [
        {f"{name}over_parameterization": 10.0 + key for name in names}
        | {"eps": eps, "certificate": 1 + key, "largest_error_found": 0.1, "largest_logit": 9.0}
        | {"largest_error_on_data": 0.01}
        for eps in (0.0, 0.001, 0.1)
        for key in range(keys)
    ]


def texts(drawing):
    plots.to_png(drawing)
    return [found.get_text() for found in drawing.findobj(text.Text)]


def test_the_map_has_a_number_or_a_dash_in_every_cell_and_all_can_be_read():
    drawing = plots_subset_sum.phase_map(phase_rows())
    panel = drawing.axes[0]
    cells = [found.get_text() for found in panel.texts]
    assert sorted(cells) == sorted(["11/12"] + ["9/12"] * 3 + ["9/–", "–"])
    assert any("n = 100 random sets per ε" in found for found in texts(drawing))
    (image,) = panel.images
    rgba = image.to_rgba(image.get_array())
    rgb = rgba[..., :3] * rgba[..., 3:] + 1 - rgba[..., 3:]  # on white
    # Black on it has a contrast of at least 4.5, as WCAG asks of text.
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    assert ((linear @ [0.2126, 0.7152, 0.0722] + 0.05) / 0.05).min() > 4.5


def inside(panel):
    """Whether every mark of a panel lies within it."""
    points = [xy for line in panel.get_lines() for xy in line.get_xydata()]
    points = np.array([p for p in points if np.isfinite(p).all()])
    (left, right), (low, high) = panel.get_xlim(), panel.get_ylim()
    x, y = points.T
    return left < x.min() and x.max() < right and low < y.min() and y.max() < high


@pytest.mark.parametrize("count", [1, 5])
def test_phase_curves_show_every_eta(count):
    rows = [dict(row, eta=row["eta"] + i) for i in range(count) for row in phase_rows()[:3]]
    drawing = plots_subset_sum.phase_curves(rows)
    assert len(drawing.axes) == count and all(map(inside, drawing.axes))
    assert "95 % intervals" in drawing.get_suptitle()
    assert not [found for found in texts(drawing) if "None" in found or "_" in found]


def test_curves_without_any_interval_are_curves():
    rows = [dict(row, n90=None, n90_interval=[None, None]) for row in phase_rows()]
    assert texts(plots_subset_sum.phase_curves(rows))


def test_figure_2_tells_ours_from_theirs():
    cells = [
        {"eta": eta, "ratio": ratio, "sets": "row", "n": None if ratio > 1 else 20, "draws": draws}
        | {"published": 19}
        for eta in (0.01, 0.001)
        for ratio, draws in ((0.0, [20, 18]), (0.1, [20, None]), (10.0, [None, None]))
    ]
    drawing = plots_subset_sum.figure2(cells)
    assert "range of n = 2 draws" in drawing.get_suptitle() and inside(drawing.axes[0])
    hollow = [line for line in drawing.axes[0].get_lines() if line.get_markerfacecolor() == "white"]
    assert len(hollow) == 2 + 1  # One for each η, one in the legend.
    assert texts(drawing)


@pytest.mark.parametrize(("keys", "said"), [(3, "n = 3 keys, a dot for each"), (1, "n = 1 key")])
def test_the_construction_says_how_many_keys_it_averages(keys, said):
    drawing = plots_construction.widths(construction_rows(keys), 0.05)
    assert said in drawing.get_suptitle()
    # The line of the largest logit spans the panel from edge to edge.
    left, right = drawing.axes
    assert inside(left)
    assert texts(drawing) and right.get_yscale() == "log"
    for panel in drawing.axes:
        marks = panel.get_window_extent()
        assert not marks.overlaps(panel.get_legend().get_window_extent())
