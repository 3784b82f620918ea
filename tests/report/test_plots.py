"""The plots: every cell is in them, marks are whole, and not only colours tell them apart."""

import itertools
import re

import grid_rows
import matplotlib
import numpy as np
import pytest
from matplotlib import collections, container

from lth_jax.report import plots, plots_accuracy, plots_curves, summary
from lth_jax.training import methods


def drawn(drawing):
    """The figure laid out, as it will be seen."""
    plots.to_png(drawing)
    return drawing


@pytest.fixture(scope="module")
def accuracy():
    return drawn(
        plots_accuracy.accuracy_against_eps(summary.cells(grid_rows.rows()), "net_1 on data_2")
    )


@pytest.fixture(scope="module", params=["val_curve", "train_loss_curve"])
def curves(request):
    found = summary.curves(grid_rows.rows(), request.param)
    return drawn(plots_curves.learning_curves(found, request.param, "net_1 on data_2"))


def bars_of(panel):
    """(name, x, y) of what has error bars."""
    found = [c for c in panel.containers if isinstance(c, container.ErrorbarContainer)]
    return [(c.get_label(), *c.lines[0].get_data()) for c in found]


def texts(drawing):
    found = drawing.findobj(matplotlib.text.Text)
    return [text.get_text() for text in found]


def points_of(panel):
    """All points that a panel draws in its data's coordinates, bars and bands among them."""
    for line in panel.get_lines():
        if line.get_transform() == panel.transData:
            yield from zip(*map(np.atleast_1d, line.get_data()), strict=True)
    for many in panel.collections:
        if isinstance(many, collections.LineCollection):
            yield from itertools.chain(*many.get_segments())
        else:
            yield from itertools.chain(*(path.vertices for path in many.get_paths()))


def test_the_plot_shows_every_cell_in_percent(accuracy):
    cells = summary.cells(grid_rows.rows())
    shown = {sparsity: [] for sparsity in (0.5, 0.9, 0.95)}
    for panel, means in zip(accuracy.axes, shown.values(), strict=True):
        assert panel.get_title() == f"sparsity {list(shown)[accuracy.axes.index(panel)]:g}"
        means += [y for _, _, ys in bars_of(panel) for y in ys]
    for sparsity, means in shown.items():
        own = [c.accuracy["test_accuracy"] for c in cells if c.sparsity in (sparsity, None)]
        expected = sorted(100 * mean for mean, _, n in own if n)
        np.testing.assert_allclose(sorted(means), expected)
    assert accuracy.axes[0].get_ylabel() == "test accuracy (%)"


def test_the_caption_names_the_interval_n_and_what_diverged(accuracy):
    title = accuracy.get_suptitle()
    lost = sum(row["diverged"] is not None for row in grid_rows.rows())
    assert "mean and 95 % interval (Student's t), n = 4 to 5 seeds" in title
    assert f"{lost} diverged runs left out" in title
    assert "n = 1 seed" in plots.interval_words([1, 1]) and "%" not in plots.interval_words([1])


def test_error_bars_stand_beside_each_other(accuracy):
    for panel in accuracy.axes:
        x = np.concatenate([xs for _, xs, _ in bars_of(panel)]).astype(float)
        assert len(x) == len(set(np.round(x, 6)))
        between = np.diff(np.sort(x)) * panel.bbox.width / np.ptp(panel.get_xlim())
        assert between.min() > 5  # pixels, as a cap is wide


def test_no_mark_is_cut(accuracy, curves):
    for drawing in (accuracy, curves):
        for panel in drawing.axes:
            points = np.array([p for p in points_of(panel) if np.isfinite(p).all()])
            (left, right), (low, high) = panel.get_xlim(), panel.get_ylim()
            assert left <= points[:, 0].min() and points[:, 0].max() <= right
            assert low < points[:, 1].min() and points[:, 1].max() < high


def test_panels_share_a_y_axis_only_where_it_serves_them():
    drawing = plots.empty(4, 3)
    near, same, far = drawing.subplots(1, 3)
    near.plot([0, 1], [0, 1])
    same.plot([0, 1], [0.2, 1.3])
    far.plot([0, 1], [0, 40])
    own = far.get_ylim()
    assert not plots.share_limits([near, same, far]) and far.get_ylim() == own
    assert plots.share_limits([near, same])
    assert near.get_ylim() == same.get_ylim() and near.get_ylim()[1] > 1.3


def test_names_are_without_underscores(accuracy, curves):
    for drawing in (accuracy, curves):
        assert not [text for text in texts(drawing) if "_" in text]
        assert any("net 1 on data 2" in text for text in texts(drawing))
    names = {text for text in texts(accuracy) if text in map(plots.shown, methods.METHODS)}
    assert len(names) == len(methods.METHODS)


def luminance(colour):
    """Relative luminance (WCAG), which is what grey print leaves of a colour."""
    rgb = np.array(matplotlib.colors.to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]


def test_lines_differ_without_their_colours_and_are_seen_on_white():
    styles = [plots.style(index) for index in range(72)]
    assert len({tuple(map(str, s.values())) for s in styles}) == 72
    few = styles[: len(methods.METHODS)]
    assert len({s["marker"] for s in few}) == len({s["color"] for s in few}) == len(few)
    assert len({(s["marker"], str(s["linestyle"])) for s in styles[:40]}) == 40
    assert all(luminance(s["color"]) < 0.6 for s in styles)


def test_a_method_looks_the_same_in_every_plot():
    def looks(rows):
        drawing = plots_accuracy.accuracy_against_eps(summary.cells(rows), "")
        found = [c for c in drawing.axes[0].containers if c.get_label() == "joint"]
        return [(c.lines[0].get_color(), c.lines[0].get_marker()) for c in found]

    rows = grid_rows.rows()
    assert looks(rows) == looks([row for row in rows if row["method"] == "joint"]) != []


def test_curves_have_a_panel_for_each_method_and_sparsity_and_a_line_for_each_eps(curves):
    assert len(curves.axes) == 3 * len(methods.METHODS)
    panel = next(p for p in curves.axes if p.get_title() == "perturb then prune\nsparsity 0.9")
    labels = [line.get_label() for line in panel.get_lines()]
    assert labels == [f"ε = {eps:g}" for eps in grid_rows.EPS[:-1]] + ["ε = ∞"]
    assert list(panel.get_lines()[0].get_xdata()) == [1, 2, 3, 4, 5, 6]
    lightness = [luminance(line.get_color()) for line in panel.get_lines()]
    assert lightness == sorted(lightness)
    row = next(r for r in curves.axes if r.get_title() == "prune\nsparsity 0.5")
    assert row.get_ylabel() in ("validation accuracy (%)", "training loss")


def test_a_figure_is_written_as_png_and_svg_the_same_bytes_each_time(tmp_path):
    cells = summary.cells([r for r in grid_rows.rows() if r["method"] in ("joint", "prune")])
    for name in ("a", "b"):
        drawing = plots_accuracy.accuracy_against_eps(cells, "net on data")
        plots.save(drawing, tmp_path / f"{name}.png")
    assert {p.name for p in tmp_path.iterdir()} == {"a.png", "a.svg", "b.png", "b.svg"}
    for ending in ("png", "svg"):
        ours, theirs = ((tmp_path / f"{name}.{ending}").read_bytes() for name in "ab")
        assert ours == theirs
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    width = int.from_bytes((tmp_path / "a.png").read_bytes()[16:20], "big")
    svg = (tmp_path / "a.svg").read_text()
    # Both are of one size: 72 points of the one are as long as 120 pixels of the other.
    assert float(re.search(r'width="([\d.]+)pt"', svg)[1]) == pytest.approx(width * 72 / 120, abs=1)


@pytest.mark.parametrize("epochs", [[], [0.5]])
def test_a_plot_of_one_dense_lane_is_a_plot(epochs):
    row = {"method": "dense", "eps": None, "sparsity": None, "seed": 0, "diverged": None}
    row |= {"val_accuracy": 0.9, "test_accuracy": 0.9, "val_curve": epochs}
    drawn(plots_accuracy.accuracy_against_eps(summary.cells([row]), ""))
    drawn(plots_curves.learning_curves(summary.curves([row], "val_curve"), "val_curve", ""))


def test_a_plot_of_lanes_that_all_diverged_is_a_plot():
    rows = [dict(row, diverged=1, test_accuracy=None) for row in grid_rows.rows(seeds=1)]
    title = drawn(plots_accuracy.accuracy_against_eps(summary.cells(rows), "")).get_suptitle()
    assert "n = 0 seeds" in title and f"{len(rows)} diverged runs" in title
