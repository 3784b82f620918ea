"""The table: as wide as there is room for, nothing empty, nothing said that was not measured."""

import math
import re

import grid_rows
import pytest

from lth_jax.report import statistics, summary, table


def cell(method="joint", eps=0.1, sparsity=0.5, test=(0.9, 0.01, 5), against=None, diverged=0):
    value = statistics.Mean(*test)
    accuracy = dict.fromkeys(summary.FIELDS, value)
    return summary.Cell(method, eps, sparsity, accuracy, against or {}, diverged, {})


def widest(text):
    return max(map(len, text.splitlines()))


def table_of(cells, *args):
    """The lines of a table from its head on."""
    lines = table.accuracy_table(cells, "net on data", *args).splitlines()
    return lines[lines.index("") + 1 :]


@pytest.mark.parametrize("width", [80, 100, 120, 160])
def test_a_table_fits_the_width_and_uses_more_where_there_is_more(width):
    cells = summary.cells(grid_rows.rows())
    text = table.accuracy_table(cells, "a network of some kind on a data set of some name", width)
    assert widest(text) <= width
    # Every cell has its line.
    tests = [f"{100 * c.accuracy['test_accuracy'].mean:.2f}" for c in cells if c.diverged < 5]
    assert all(test in text for test in tests)
    head = text.split("\n\n")[1].splitlines()[0].split()
    assert ("validation" in head) == (width > 100) and ("p" in head) == (width > 140)
    assert ("***" in text) == (width < 160)


def test_more_columns_are_never_less_said():
    cells = summary.cells(grid_rows.rows())
    widths = [widest("\n".join(table_of(cells, width))) for width in range(60, 200, 5)]
    assert widths == sorted(widths)


def test_the_form_overrules_the_width():
    cells = summary.cells(grid_rows.rows())
    assert table_of(cells, 40, "wide") == table_of(cells, 500)
    assert table_of(cells, 500, "narrow") == table_of(cells, 80)
    with pytest.raises(ValueError, match="form must be one of auto, wide, narrow, got 'tall'"):
        table.accuracy_table(cells, "", 80, "tall")


def test_no_column_is_empty():
    paired = statistics.Paired(0.01, 0.005, 0.0123, 5)
    head, *_ = table_of([cell(against={"prune": paired}), cell("dense", math.inf, None)], 200)
    assert head.split() == ["method", "ε", "sparsity", "validation", "test", "−", "prune", "p"]
    head, line = table_of([cell("dense", None, None, (0.9, math.nan, 1))], 200)
    assert head.split() == ["method", "validation", "test"]
    assert line.split() == ["dense", "90.00", "90.00"]  # One seed has no interval.


def test_n_is_in_the_title_or_where_it_differs_beside_its_cell():
    same = table.accuracy_table([cell(), cell(eps=0.2)], "net", 200)
    assert "over 5 seeds" in same and " n " not in same
    other = [cell(), cell(eps=0.2, test=(0.9, 0.1, 3), diverged=2)]
    assert re.search(r"0.2 +0.5 +3 \(\+2 diverged\) ", table.accuracy_table(other, "net", 200))
    tight = table.accuracy_table(other, "net", 30)
    assert "3 (+2)" in tight and "(+1): one more run, which" in tight


@pytest.mark.parametrize(
    ("p", "stars"), [(0.05, ""), (0.049, "*"), (0.0099, "**"), (0.00099, "***"), (math.nan, "")]
)
def test_stars_are_what_they_are_said_to_be(p, stars):
    against = {"prune": statistics.Paired(0.01, 0.005, p, 5)}
    text = table.accuracy_table([cell(against=against)], "net", 50)
    shown = next(line for line in text.splitlines() if "+1.00" in line)
    assert shown.endswith(f"0.50{stars}")
    assert ("* p < 0.05, ** p < 0.01, *** p < 0.001" in " ".join(text.split())) == bool(stars)
    assert ("not corrected" in " ".join(text.split())) == bool(stars)


def test_equal_differences_get_no_p_and_none_at_all_gets_one():
    test = (0.85, 0.1, 2)
    same = cell(test=test, against={"prune": statistics.paired([0.9, 0.8], [0.8, 0.7])})
    none = cell("dense", test=test, against={"prune": statistics.paired([0.9, 0.8], [0.9, 0.8])})
    wide = table.accuracy_table([same, none], "net", 200).splitlines()
    assert [line.split()[-1] for line in wide if "85.00" in line] == ["=", "1"]
    assert any("all seeds differ by the same" in line for line in wide)
    narrow = table.accuracy_table([same, none], "net", 40)
    assert "=" in narrow and "***" not in narrow


def test_a_zero_has_no_minus_and_pairs_say_when_they_are_fewer():
    pair = statistics.Paired(-1e-9, 0.01, 0.5, 3)
    text = table.accuracy_table([cell(against={"prune": pair})], "net", 200)
    assert "+0.00 ± 1.00" in text and "0.5 (n 3)" in text
