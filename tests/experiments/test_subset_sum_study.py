"""Figure 2, the fit of a network and the study's program."""

import json

import jax
import numpy as np
import pytest

from experiments import cli, subset_sum
from lth_jax import errors, files
from lth_jax.theory import targets
from lth_jax.theory.subset_sum import figure2, fit, solvers


@pytest.fixture
def weights():
    rng = np.random.default_rng(0)
    return [rng.normal(0, 0.2, (6, 8)).astype(np.float32), rng.normal(0, 0.2, (3, 6))]


def by_definition(x, owner, z, eps, eta):
    for n in range(x.shape[1] + 1):
        if solvers.reachable(x[owner, :n], z, eps, eta).all():
            return n
    return None


@pytest.mark.parametrize("sets", ["row", "weight"])
@pytest.mark.parametrize("ratio", [0.0, 2.0])
def test_a_draw_is_the_least_prefix_that_reaches_every_weight(key, weights, sets, ratio):
    minima = figure2.draws(key, weights, sets, 0.01, ratio, 2)
    z = np.concatenate([w.ravel() for w in weights]).astype(float)
    owner = np.repeat(np.arange(9), [8] * 6 + [6] * 3) if sets == "row" else np.arange(len(z))
    for i, n in enumerate(minima):
        x = figure2.candidates(jax.random.fold_in(key, i), owner[-1] + 1, weights)
        assert n == by_definition(x, owner, z, 0.01 * ratio, 0.01)


def test_shared_sums_agree_with_the_search():
    rng = np.random.default_rng(1)
    x, z = np.round(rng.uniform(-1, 1, 9) * 64) / 64, np.round(rng.uniform(-1, 1, 300) * 256) / 256
    for eps, eta in ((0.0, 2.0**-8), (2.0**-8, 0.0), (0.01, 0.001)):
        shared = figure2._shared_reach(x, z, eps, eta)
        assert np.array_equal(shared, solvers.reachable(x, z, eps, eta))


def test_a_cell_is_the_8th_smallest_of_10(key, weights):
    cell = figure2.cell(key, weights, "row", 0.01, 1.0, 10, 0.8)
    assert cell["n"] == sorted(cell["draws"])[7] and cell["published"] == 17
    assert figure2.within([cell], abs(cell["n"] - 17)) == 1
    assert figure2.published(0.5, 1.0) is None


def test_weights_within_eta_need_no_candidate(key):
    assert figure2.draws(key, [np.full((2, 2), 0.01)], "row", 0.02, 0.0, 1) == [0]


@pytest.mark.parametrize("objective", solvers.OBJECTIVES)
def test_a_fit_verifies_every_answer(key, weights, objective):
    result = fit.fit(key, weights, 10, 0.02, 0.001, "weight", objective, 2)
    assert result["weights"] == 66 and result["candidates"] == 660
    assert result["found"] == result["verified"] == 66 - result["impossible"]
    assert result["max_error_found"] <= 0.02 and result["highs_ratio"] > 0


def run(tmp_path, *flags):
    argv = [*flags, f"--out={tmp_path}"]
    return cli.main(subset_sum.run, subset_sum.Config(), "doc", argv)


def test_program_resumes_figure_2_without_changing_it(tmp_path, weights, capsys):
    np.savez(tmp_path / "net.npz", *weights)
    flags = ("--figure2", f"--target={tmp_path}/net.npz", "--draws=2", "--etas=0.05")
    assert run(tmp_path, *flags, "--ratios=0") == 0
    first = json.loads((tmp_path / "figure2.json").read_text())
    assert run(tmp_path, *flags, "--ratios=0,1") == 0
    second = json.loads((tmp_path / "figure2.json").read_text())
    assert second[:1] == first and len(second) == 2
    assert set(first[0]) == {"eta", "ratio", "sets", "n", "published", "draws"}
    assert (tmp_path / "figure2.png").stat().st_size > 0
    assert run(tmp_path, *flags, "--seed=1") == 2
    assert "other settings" in capsys.readouterr().err


def test_program_draws_the_phase_diagram(tmp_path):
    assert run(tmp_path, "--trials=20", "--phase_etas=0.01,0", "--phase_eps=0,0.1") == 0
    content = json.loads((tmp_path / "phase.json").read_text())
    assert len(content["cells"]) == 3 and "r2" in content["fit"]
    assert (tmp_path / "phase_map.png").exists() and (tmp_path / "phase_curves.png").exists()


@pytest.mark.slow
def test_program_shows_how_loose_the_bounds_are(tmp_path, capsys):
    flags = ("--bounds", "--trials=200", "--phase_etas=0.05,0", "--phase_eps=0,0.1")
    assert run(tmp_path, *flags) == 0
    printed = capsys.readouterr().out
    content = json.loads((tmp_path / "bounds.json").read_text())
    assert [(row["eta"], row["eps"]) for row in content["targets"]] == [
        (0.05, 0),
        (0.05, 0.1),
        (0, 0.1),
    ]
    for row in content["targets"]:
        for kind in (row["one"], row["all"]):
            for i in (0, 1):
                # ±1 of a simulation's quantile.
                assert kind.get("necessary", (0, 0))[i] <= kind["simulated"][i] + 1
                assert kind["simulated"][i] <= kind["proved"][i] + 1
    for row in content["sizes"]:
        assert row["necessary"] - 1 <= row["simulated"] <= row["proved"] + 1
    before = (tmp_path / "bounds.json").read_bytes()
    assert run(tmp_path, *flags) == 0
    again = capsys.readouterr().out
    assert printed == again and (tmp_path / "bounds.json").read_bytes() == before
    assert run(tmp_path, *flags, "--solve") == 2


@pytest.mark.slow
def test_program_solves_a_digits_network(tmp_path):
    assert run(tmp_path, "--solve", "--n=10", "--eta=0.1", "--highs=0") == 0
    result = json.loads((tmp_path / "solve.json").read_text())
    assert result["weights"] == 64 * 32 + 320 and result["found"] == result["verified"]


@pytest.mark.slow
def test_a_folder_of_other_settings_is_refused_untouched(tmp_path, capsys):
    flags = ("--solve", "--n=8", "--eta=0.1", "--highs=0")
    assert run(tmp_path, *flags) == 0
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.name != ".lock"}
    assert set(before) == {"config.json", "solve.json"}
    assert run(tmp_path, *flags) == 0  # What is there stays, with its times.
    for other in (["--n=9"], ["--eps=0.01"], ["--sets=weight"], ["--objective=best"]):
        assert run(tmp_path, *flags, *other) == 2
        assert "other settings" in capsys.readouterr().err
    assert run(tmp_path, "--trials=20") == 2 and run(tmp_path, "--figure2") == 2
    after = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.name != ".lock"}
    assert after == before


@pytest.mark.slow
def test_digits_target_classifies_digits(key):
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    weights = targets.digits_target(key)
    assert [w.shape for w in weights] == [(32, 64), (10, 32)]
    predicted = targets.forward(weights, images / 16).argmax(axis=1)
    assert np.mean(predicted == labels) > 0.95


@pytest.mark.parametrize("flag", ["--eps=-1", "--n=99", "--sets=layer", "--objective=any"])
def test_bad_flags_are_one_line_and_status_2(tmp_path, capsys, flag):
    assert run(tmp_path, "--solve", flag) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_bad_target_files_are_refused(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "executed"), "w"))

    np.savez(tmp_path / "pickled.npz", np.array([Trap()], object))
    np.savez(tmp_path / "flat.npz", np.zeros(3))
    np.savez(tmp_path / "nan.npz", np.full((2, 2), np.nan))
    np.save(tmp_path / "single.npy", np.zeros((2, 2)))
    (tmp_path / "text.npz").write_text("weights")
    for name in ("pickled.npz", "flat.npz", "nan.npz", "single.npy", "text.npz", "absent.npz"):
        with pytest.raises(errors.InputError, match=name):
            targets.load(tmp_path / name)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("flags", [["--phase_etas=0.1"], ["--phase_etas=5,6"]])
def test_a_diagram_without_a_line_to_fit_is_a_diagram(tmp_path, capsys, flags):
    argv = [*flags, "--phase_eps=0.1", "--trials=3", f"--out={tmp_path / 'run'}"]
    assert cli.main(subset_sum.run, subset_sum.Config(), "", argv) == 0
    assert "n50" in capsys.readouterr().out
    assert (tmp_path / "run" / "phase_curves.png").exists()


def test_results_without_their_settings_are_not_believed(tmp_path, capsys):
    argv = ["--phase_etas=0.1", "--phase_eps=0.1,0.2", "--trials=3", f"--out={tmp_path}"]
    assert cli.main(subset_sum.run, subset_sum.Config(), "", argv) == 0
    (tmp_path / "config.json").unlink()
    before = (tmp_path / "phase.json").read_bytes()
    argv[0] = "--phase_etas=0.3"
    assert cli.main(subset_sum.run, subset_sum.Config(), "", argv) == 2
    assert "holds phase.json but no config.json" in capsys.readouterr().err
    assert (tmp_path / "phase.json").read_bytes() == before
    (tmp_path / "phase.json").write_text("[]")
    with pytest.raises(errors.InputError, match="damaged"):
        files.read_json(tmp_path / "phase.json", ("fit",))
