"""Which pruners and methods go together: every pair runs, or is refused with its reason."""

import dataclasses

import pytest
import tiny

import lth_jax
from experiments import cli, digits
from lth_jax import pruners, training
from lth_jax.sweep import fits

ONE_SHOT = ("random", "magnitude")
CHANGING = ("biprop", "signed")


def refused(name):
    """The methods that make no sense with a pruner, by hand."""
    if name in ONE_SHOT:
        return set(training.METHODS) - {"random_mask_then_perturb", "dense"}
    return {"dense"} if name in CHANGING else set()


@pytest.mark.parametrize("name", pruners.PRUNERS)
def test_every_pair_is_refused_with_its_reason_or_allowed(name):
    pruner = pruners.PRUNERS[name]()
    for method in training.METHODS.values():
        reason = fits.refusal(pruner, method)
        assert (reason is not None) == (method.name in refused(name)), method.name
        if reason is not None:
            assert method.name in reason and name in reason and reason.endswith(".")


@pytest.mark.slow
@pytest.mark.parametrize("name", pruners.PRUNERS)
def test_every_pair_that_is_allowed_runs_a_lane(name, tmp_path):
    config = dataclasses.replace(tiny.CONFIG, prune_epochs=1)
    study = lth_jax.Study(tiny.own_model(), tiny.dataset(), name, config, tmp_path / "out")
    allowed = [method for method in training.METHODS if method not in refused(name)]
    result = study.run(allowed, seeds=[0], eps=[0.02], sparsity=[0.75])
    assert {row["method"] for row in result.rows} == {*allowed}
    for row in result.rows:
        whole = row["method"] == "dense"
        assert row["kept"] == (row["total"] if whole else row["total"] // 4)
        assert row["diverged"] is None and row["test_accuracy"] is not None
        assert row["ball_fraction"] is None or row["ball_fraction"] <= 1


def test_the_library_refuses_before_the_folder_is_made(tmp_path):
    study = lth_jax.Study(tiny.own_model(), tiny.dataset(), "random", tiny.CONFIG, tmp_path / "o")
    with pytest.raises(lth_jax.InputError, match="method: 'joint' trains scores, and those of"):
        study.run(["joint"], seeds=[0], eps=[0.0], sparsity=[0.5])
    erk = lth_jax.Study(
        tiny.own_model(), tiny.dataset(), train=tiny.CONFIG, out=tmp_path / "o", scope="erk"
    )
    with pytest.raises(lth_jax.InputError, match="scope erk keeps at least one of each of 2"):
        erk.run(["prune"], seeds=[0], sparsity=[0.9999])
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    "flags, said",
    [
        (["--pruner=random", "--method=joint"], "--method: 'joint' trains scores, and those"),
        (["--pruner=signed", "--method=dense"], "--method: 'dense' has no mask, and 'signed'"),
        (["--floor=0.1"], "--floor must be 0 in the scope 'tensor'"),
        (["--floor=2", "--scope=global"], "--floor must be in [0, 1], got 2.0"),
        (["--scope=layer"], "--scope must be one of 'tensor', 'global', 'erk', got 'layer'"),
        (["--exclude=*/nothing/*"], "--exclude: '*/nothing/*' fits no name of "),
        (["--scope=erk", "--sparsity=0.99999"], "scope erk keeps at least one of each of 3"),
    ],
)
def test_bad_pairs_on_the_command_line_are_one_line(flags, said, capsys, tmp_path):
    argv = [*flags, f"--out={tmp_path / 'run'}", "--nocompile_cache"]
    assert cli.main(digits.run, digits.CONFIG, "", argv) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert not (tmp_path / "run").exists()
