"""All finders side by side: what is chosen and compared, and a tiny run."""

import importlib
import json

import pytest

from experiments import cli
from experiments.finders import flags, one_shots, table
from lth_jax import pruners
from lth_jax.report import confirmatory
from lth_jax.runs import archive

finders = importlib.import_module("experiments.finders.__main__")


def row(pruner, eps, seed, test, validation=0.5, diverged=None, sparsity=0.5):
    return {
        "pruner": pruner,
        "rate": 0.1,
        "decay": 1e-4,
        "sparsity": sparsity,
        "eps": eps,
        "seed": seed,
        "test_accuracy": test,
        "val_accuracy": validation,
        "diverged": diverged,
    }


def test_each_pruner_has_the_eps_that_validates_best_and_holm_counts_a_column():
    rows = []
    for seed in range(6):
        rows += [row("edge_popup", None, seed, 0.8 + seed / 100)]
        rows += [row("edge_popup", 0.02, seed, 0.9, 0.7), row("edge_popup", 0.05, seed, 0.99, 0.6)]
        rows += [row("biprop", None, seed, 0.7 + seed / 100)]
        rows += [row("biprop", 0.02, seed, 0.1, 0.2), row("biprop", 0.05, seed, 0.85, 0.3)]
        rows += [row("signed", None, seed, 0.6 + seed / 100)]
    rows += [row("biprop", None, 7, None, None, diverged=3)]
    found = {(e.pruner, e.moves): e for e in table.entries(rows)}
    assert [found["edge_popup", True].eps, found["biprop", True].eps] == [0.02, 0.05]
    still = found["biprop", False]
    assert still.difference.mean == pytest.approx(-0.1) and still.accuracy.n == 6
    assert still.diverged == 1 and still.p == 2 / 2**6
    # Two comparisons where weights do not move, at p = 2/64 each, and one where they do.
    assert still.p_holm == found["signed", False].p_holm == 2 * 2 / 2**6
    assert found["biprop", True].p_holm == found["biprop", True].p == 2 / 2**6
    text = "\n".join(table.lines(list(found.values())))
    shown = "| 0.0001 | 0 | 72.50 ± 1.96 | -10.00 ± 0.00 | 0.062 | 6 (+1 diverged) |"
    assert f"| 0.5 | `biprop` | 0.1 {shown}" in text
    json.dumps([entry.record() for entry in found.values()], allow_nan=False)
    with pytest.raises(ValueError, match="expected rows of edge_popup beside those of biprop"):
        table.entries([row("biprop", None, 0, 0.5)])


def test_what_is_run_by_default():
    config = flags.Config()
    assert set(config.pruner) == set(pruners.PRUNERS) | set(one_shots.NAMES)
    study = config.study("biprop", table.Scores(1.0, 0.0), "biprop")
    assert study.method == ("prune_longer", "joint")
    assert (study.train.prune_lr, study.train.prune_decay) == (1.0, 0.0)
    assert (study.seeds, study.sparsity, study.scope) == (10, (0.5, 0.9), "tensor")
    baseline = config.study("random", config.scores[0], "random")
    assert baseline.method == ("random_mask_then_perturb",) and baseline.eps[0] == 0
    assert confirmatory.MOST_PAIRS == 20


@pytest.mark.parametrize(
    "flag, said",
    [
        ("--pruner=biprop", "--pruner must be of edge_popup, "),
        ("--pruner=edge_popup,other", "got edge_popup,other."),
        ("--eps=0,0.1", "--eps must be above 0, which is run in any case"),
        ("--seeds=21", "--seeds must lie in [1, 20]"),
        ("--sparsity=0", "--sparsity must lie in (0, 1)"),
        ("--rates=-1", "--rates must be finite and at least 0"),
        ("--decays=inf", "--decays must be finite and at least 0"),
        ("--prune_lr=1", "--prune_lr is chosen here, give rates."),
        ("--dataset=letters", "--dataset must be one of"),
    ],
)
def test_bad_input_is_one_line(flag, said, capsys, tmp_path):
    argv = [flag, f"--out={tmp_path / 'run'}", "--nocompile_cache"]
    assert cli.main(finders.run, flags.Config(), "", argv) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_tiny_run_ends_with_its_table(tmp_path, capsys):
    out = tmp_path / "run"
    argv = ["--scale=smoke", "--dataset=digits", "--pruner=edge_popup,snip", "--seeds=2"]
    argv += ["--eps=0.05", "--sparsity=0.5", "--rates=0.1", f"--out={out}", "--nocompile_cache"]
    assert cli.main(finders.run, flags.Config(), "", argv) == 0
    said = capsys.readouterr().out
    assert said.count("| `edge_popup` | ") == 2 and "| `snip` | 0.1 | 0.0001 | 0.05 |" in said
    kept = json.loads((out / "finders.json").read_text())
    assert [(e["pruner"], e["moves"]) for e in kept] == [
        (name, moves) for moves in (False, True) for name in ("edge_popup", "snip")
    ]
    assert {p.name for p in (out / "rates").iterdir()} == {
        "edge_popup-0.1-0",
        "edge_popup-0.1-0.0001",
    }
    rows = [json.loads(line) for line in (out / "snip/results.jsonl").read_text().splitlines()]
    assert all(r["scope"] == "global" and r["kept"] == r["total"] // 2 for r in rows)
    for name in one_shots.NAMES:
        pruners.PRUNERS.remove(name)
    archives = [str(tmp_path / f"{name}.jsonl.gz") for name in ("edge_popup", "snip")]
    for name, file in zip(("edge_popup", "snip"), archives, strict=True):
        archive.store(out / name, file, ["some command"])
    again = [f"--rows={','.join(archives)}", f"--out={tmp_path / 'again'}", "--nocompile_cache"]
    assert cli.main(finders.run, flags.Config(), "", again) == 0
    assert json.loads((tmp_path / "again/finders.json").read_text()) == kept
    lone = [f"--rows={archives[1]}", f"--out={tmp_path / 'lone'}", "--nocompile_cache"]
    assert cli.main(finders.run, flags.Config(), "", lone) == 2
    assert "rows: expected rows of edge_popup beside those of snip." in capsys.readouterr().err
