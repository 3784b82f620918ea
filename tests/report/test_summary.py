import csv
import io

import numpy as np
import pytest

from lth_jax.report import summary, table


def row(method, eps, sparsity, seed, test, val=None, diverged=None):
    return {
        "method": method,
        "eps": eps,
        "sparsity": sparsity,
        "seed": seed,
        "val_accuracy": test if val is None else val,
        "test_accuracy": test,
        "diverged": diverged,
    }


ROWS = [row("prune_longer", None, 0.5, s, 0.80 + s / 100) for s in range(4)]
ROWS += [row("joint", 0.0, 0.5, s, 0.80 + s / 100) for s in range(4)]
ROWS += [row("joint", 0.1, 0.5, s, 0.82 + s / 100 + s % 2 / 1000) for s in range(3)]
ROWS += [row("joint", 0.1, 0.5, 3, None, diverged=7)]
ROWS += [row("joint", 0.1, 0.9, s, 0.99, val=0.1) for s in range(4)]
ROWS += [row("joint", "inf", 0.5, s, 0.9) for s in range(2)]


def test_pairs_are_by_seed_and_divergence_is_counted_not_averaged():
    cells = {cell[:3]: cell for cell in summary.cells(ROWS)}
    cell = cells["joint", 0.1, 0.5]
    assert cell.diverged == 1 and cell.accuracy["test_accuracy"].n == 3
    differences = [0.02, 0.021, 0.02]
    for name in ("eps=0", "prune_longer"):
        assert cell.against[name].n == 3
        assert cell.against[name].difference == pytest.approx(np.mean(differences))
    assert "prune" not in cell.against
    assert "eps=0" not in cells["joint", 0.0, 0.5].against


def test_the_best_sparsity_is_chosen_without_the_test_split():
    best = summary.best_sparsity(summary.cells(ROWS))
    assert [(b.cell.eps, b.cell.sparsity) for b in best] == [(0.1, 0.5)]


def test_the_best_sparsity_is_chosen_among_equal_seeds_and_says_how_many():
    """A lucky seed is no argument for the sparsity at which the other four diverged."""
    rows = [row("joint", 0.1, 0.5, s, 0.7, val=0.8 + (s == 0) / 10) for s in range(5)]
    rows += [row("joint", 0.1, 0.9, 0, 0.6, val=0.85)]
    rows += [row("joint", 0.1, 0.9, s, None, diverged=7) for s in range(1, 5)]
    rows += [row("joint", 0.1, 0.99, s, None, diverged=7) for s in range(5)]
    cells = summary.cells(rows)
    (best,) = summary.best_sparsity(cells)
    assert (best.cell.sparsity, best.n) == (0.5, 1)
    head, line = table.best_lines(cells)
    assert "0.5, test 70.00" in line and "n 5" in line and "by 1 shared seed:" in head
    # Without a seed in common there is nothing to choose by.
    apart = [row("joint", 0.1, 0.5, 0, 0.7), row("joint", 0.1, 0.9, 1, 0.8)]
    assert summary.best_sparsity(summary.cells(apart)) == []
    assert table.best_lines(summary.cells(apart)) == []
    assert table.best_lines(summary.cells(ROWS)) == [
        "best sparsity on the validation split by 3 shared seeds:",
        "  joint, ε 0.1: 0.5, test 83.03 ± 2.49 (n 3, 1 more diverged)",
    ]
    # Where the seeds differ in number, each line says its own.
    fewer = [dict(row, method="prune_longer", eps=None) for row in rows]
    fewer = [row for row in fewer if row["sparsity"] < 0.95 and row["seed"] == 0]
    head, *lines = table.best_lines(summary.cells(ROWS[4:] + fewer))
    assert head.endswith("split:") and [line.count(" by ") for line in lines] == [1, 1]


def test_csv_has_a_line_per_cell_and_no_nan():
    lines = list(csv.DictReader(io.StringIO(summary.to_csv(summary.cells(ROWS)))))
    assert len(lines) == 5 and not any("nan" in v.lower() for line in lines for v in line.values())
    assert lines[2]["n"] == "3" and lines[2]["diverged"] == "1"
    assert float(lines[2]["difference_vs_eps0"]) == pytest.approx(0.0203333, abs=1e-6)
    assert lines[0]["p_vs_prune"] == ""


def test_curves_are_means_by_epoch_of_the_runs_that_did_not_diverge():
    rows = [row("joint", 0.1, 0.5, s, 0.9) | {"val_curve": [0.1 + s / 10, 0.8]} for s in range(3)]
    rows[2]["val_curve"] = [None, 0.8]
    rows.append(row("joint", 0.1, 0.5, 3, None, diverged=1) | {"val_curve": [0.0, None]})
    rows.append(row("prune", None, 0.5, 0, 0.9))  # Of a version that kept none.
    (curve,) = summary.curves(rows, "val_curve")
    assert curve[:3] == ("joint", 0.1, 0.5)
    assert [(value.mean, value.n) for value in curve.epochs] == [
        (pytest.approx(0.15), 2),
        (pytest.approx(0.8), 3),
    ]
    assert summary.curves(rows, "train_loss_curve") == []


def test_the_seeds_of_runs_without_held_out_images_are_counted():
    rows = [row("joint", 0.0, 0.5, s, 0.9) | {"val_accuracy": None} for s in range(3)]
    (line,) = csv.DictReader(io.StringIO(summary.to_csv(summary.cells(rows))))
    assert (line["n"], line["val_accuracy"]) == ("3", "")
    assert float(line["test_accuracy"]) == 0.9
