"""The paper's tables beside ours, and the hypotheses, from rows and from tiny runs."""

import json

import numpy as np
import pytest

from experiments import cli, paper
from experiments.published import beside, tables
from lth_jax.report import confirmatory


def row(method, eps, sparsity, accuracy, seed=1, diverged=None):
    return {
        "method": method,
        "eps": eps,
        "sparsity": sparsity,
        "seed": seed,
        "test_accuracy": accuracy,
        "diverged": diverged,
    }


def test_cells_stand_beside_the_published_ones():
    rows = [
        row("perturb_then_prune", 0.01, 0.5, 0.9),
        row("perturb_then_prune", 0.01, 0.5, 0.8, seed=2),
        row("perturb_then_prune", 0.1, 0.8, None, diverged=9),
        row("perturb_then_prune", 0.07, 0.8, 0.5),  # a radius that the paper has not
        row("prune", None, 0.1, 0.6),
        row("prune_then_perturb", 0.01, 0.5, 0.7),
    ]
    first, second, third = beside.compare(rows, 1)
    assert (first.eps, first.sparsity, first.published) == (0.0, 0.1, 0.49)
    assert (second.published, second.ours.n) == (0.89, 2)
    assert second.ours.mean == pytest.approx(0.85)
    assert (third.published, third.ours.n, third.diverged) == (0.77, 0, 1)
    record = second.record()
    # Student's t for one degree of freedom is 12.706; the deviation of the mean .05.
    assert record["difference"] == pytest.approx(-0.04)
    assert record["high95"] - record["low95"] == pytest.approx(2 * 12.706 * 0.05, rel=1e-4)
    assert first.record()["low95"] is None
    text = "\n".join(beside.lines([first, second, third], 1))
    assert "| 0.5 |  | 89 → 85.0 ± 63.5 (-4.0) |" in text
    assert "49 → 60.0 (+11.0)" in text and "77 → diverged" in text
    assert [cell.table for cell in beside.compare(rows, 3)] == [3, 3]


def test_the_published_cells_are_all_there():
    for number, table in tables.paper().tables.items():
        assert len(table.cells) == 99 and beside.METHODS[number] == table.method


def test_verdicts_are_told_and_stored():
    claims = [confirmatory.Hypothesis("H1", "a beats b", {"a − b": [0.01] * 11 + [0.02]})]
    (verdict,) = confirmatory.decide(claims)
    text = "\n".join(beside.verdict_lines([verdict]))
    assert "| H1 | a beats b | a − b | +1.08 ± 0.18 | 12 |" in text and "supported |" in text
    record = beside.verdict_record(verdict)
    assert record["p_holm"] == 2 / 2**12 and record["difference"]["n"] == 12
    json.dumps(record, allow_nan=False)


@pytest.mark.parametrize(
    "flag, said",
    [
        ("--table=4", "--table must be of 1, 2 and 3"),
        ("--figure=2", "--figure must be 0 or 3"),
        ("--preset=unfair", "--preset must be one of fair, paper, paper_code"),
        ("--scale=tiny", "--scale=tiny"),
        ("--seeds=-1", "--seeds must be at least 0"),
        ("--rows=nothing.jsonl.gz", "nothing.jsonl.gz"),
    ],
)
def test_bad_input_is_one_line(flag, said, capsys, tmp_path):
    argv = [flag, f"--out={tmp_path / 'run'}", "--nocompile_cache"]
    assert cli.main(paper.run, paper.Config(), "", argv, paper.PRESETS) == 2
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_what_each_scale_runs():
    study = paper.Config(scale="reduced").study()
    assert study.eps == (0.0, 0.01, 0.1) and study.sparsity == (0.1, 0.5, 0.8)
    assert study.method == ("perturb_then_prune", "prune_then_perturb")
    assert (study.model, study.seeds, study.hold_out) == ("redundant", 1, False)
    fair = paper.Config(preset="fair").study()
    assert (fair.seed, fair.seeds, len(fair.lanes())) == (100, 12, 12 * (2 * 3 + 5 * 3 * 5))
    assert paper.Config(preset="fair", seeds=2).study().seeds == 2
    assert {lane.seed for lane in fair.lanes()} == set(range(100, 112))


@pytest.fixture
def mnist_folder(tmp_path):
    """Files of MNIST's names and sizes: a digit is a bright row."""
    for part, n in (("train", 60_000), ("t10k", 10_000)):
        labels = np.arange(n, dtype=np.uint8) % 10
        images = np.zeros((n, 28, 28), np.uint8)
        images[np.arange(n), 2 * labels + 3] = 255
        for name, values in (("labels-idx1", labels), ("images-idx3", images)):
            head = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">i4").tobytes()
            (tmp_path / f"{part}-{name}-ubyte").write_bytes(head + values.tobytes())
    return tmp_path


@pytest.mark.slow
def test_tiny_runs_end_with_comparisons_that_archives_give_again(tmp_path, capsys, mnist_folder):
    out = tmp_path / "paper"
    shared = [f"--data_dir={mnist_folder}", "--scale=smoke", "--offline", "--nocompile_cache"]
    argv = [*shared, "--figure=3", f"--out={out}"]
    assert cli.main(paper.run, paper.Config(), "", argv, paper.PRESETS) == 0
    assert "Table 3, `prune_then_perturb`" in capsys.readouterr().out
    cells = json.loads((out / "published.json").read_text())
    assert [(c["table"], c["eps"]) for c in cells] == [(1, 0), (1, 0.1), (3, 0), (3, 0.1)]
    assert (out / "figure3.png").stat().st_size > 10_000
    fair = [*shared, "--preset=fair", f"--out={tmp_path / 'fair'}"]
    assert cli.main(paper.run, paper.Config(), "", fair, paper.PRESETS) == 0
    told = json.loads((tmp_path / "fair/hypotheses.json").read_text())
    assert [v["name"] for v in told] == ["H1", "H2", "H3", "H4", "H5"]
    assert {v["outcome"] for v in told} == {"undecided"}  # Two seeds decide nothing.
