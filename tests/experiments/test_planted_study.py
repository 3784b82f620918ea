"""The planted study: searches on the networks that tickets were planted in, and what it refuses."""

import json

import jax
import numpy as np
import pytest

from experiments import cli
from experiments.planted import __main__ as planted
from experiments.planted import flags, picture, table, tasks
from experiments.planted import rows as planted_rows
from lth_jax import numerics, tickets, training
from lth_jax.masks import selection
from lth_jax.report import plots
from lth_jax.theory import planting

SMALL = (
    *("--task=relu", "--eps=0,0.1", "--kept=2", "--copies=6", "--steps=300"),
    *("--perturb_epochs=1", "--prune_epochs=1", "--batch_size=256"),
)


def run(out, *flags):
    argv = [*SMALL, f"--out={out}", *flags]
    return cli.main(planted.run, planted.Config(), planted.__doc__, argv)


def rows_of(out):
    return json.loads((out / "planted.json").read_text())


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """A folder with one seed and the searches only."""
    folder = tmp_path_factory.mktemp("study") / "run"
    assert run(folder, "--seeds=1", "--method=prune_longer,joint,dense") == 0
    return folder


@pytest.mark.slow
def test_a_ticket_is_planted_in_every_network_that_is_searched(out):
    rows = rows_of(out)
    places = [(r["odd"], r["count"], r["method"], r["eps"]) for r in rows]
    assert len(set(places)) == len(places) == 17
    task = tasks.load("relu", 300, 0)
    for odd in planting.ODD:
        network = planting.network_for(task.target, 6, odd)
        wanted = planting.counts(network, 2)
        problem = training.Problem(
            planting.as_model(network), planted_rows.pruner_for(network), training.TrainConfig()
        )
        drawn = jax.jit(lambda key, p=problem: training.initial(p, key).weights)(numerics.key(0))
        for row in (r for r in rows if r["odd"] == odd and r["method"] == "prune_longer"):
            folder = out / f"relu_{odd}_{row['count']}"
            ticket = tickets.load(next((folder / "tickets").glob("prune_longer*")))
            # Its weights are those of the network that the ticket was planted in, none moved.
            mine = selection.apply_mask(drawn, jax.tree.map(np.asarray, ticket.masks))
            for name, block in wanted.items():
                for leaf, count in block.items():
                    np.testing.assert_array_equal(ticket.weights[name][leaf], mine[name][leaf])
                    mask = ticket.masks[name][leaf]
                    assert (mask is None) == (count is None)
                    assert count is None or mask.sum() == count
    for row in rows:
        if row["method"] == "planted":
            assert row["loss"] >= 0 and row["certificate"] > 0
        elif row["method"] == "dense":
            assert row["kept"] is None and row["density"] == 1
        else:
            assert 0 <= row["overlap"] <= 1 and row["diverged"] is None
    densities = {(r["odd"], r["method"] == "dense", r["density"]) for r in rows}
    assert len(densities) == 3  # A search keeps as much as what is planted.


@pytest.mark.slow
def test_a_planted_loss_is_that_of_the_library(out):
    task = tasks.load("relu", 300, 0)
    network = planting.network_for(task.target, 6)
    for row in rows_of(out):
        if row["method"] == "planted" and row["odd"] == "given":
            candidates = planting.as_model(network).init(
                jax.random.fold_in(numerics.key(row["seed"]), 0)
            )[0]
            found = planting.plant(
                task.target,
                candidates,
                network,
                row["eps"],
                2,
                task.points,
                lambda outputs: tasks.judge(task, outputs).loss,
            )
            assert row["loss"] == pytest.approx(found.loss, rel=1e-4)
            assert row["certificate"] == found.certificate.value


@pytest.mark.slow
def test_the_same_command_changes_nothing_and_more_seeds_add_rows(out, capsys):
    before = rows_of(out)
    bytes_before = (out / "planted.json").read_bytes()
    assert run(out, "--seeds=1", "--method=prune_longer,joint,dense") == 0
    assert (out / "planted.json").read_bytes() == bytes_before
    capsys.readouterr()
    assert run(out, "--seeds=2", "--method=joint", "--odd=given", "--count=constant") == 0
    after = rows_of(out)
    assert after[: len(before)] == before
    assert [(r["method"], r["eps"], r["seed"]) for r in after[len(before) :]] == [
        *(("planted", eps, 1) for eps in (0, 0.1)),
        *(("joint", eps, 1) for eps in (0, 0.1)),
    ]
    printed = capsys.readouterr().out
    assert printed.count("| relu |") == 2 and "n = 2 random networks" in printed
    assert (out / "planted_given_constant.png").stat().st_size > 0


def test_the_table_pairs_each_loss_with_the_ticket_of_its_own_network():
    def row(method, eps, seed, loss, count="constant", kept=2, **more):
        return {
            "task": "relu",
            "odd": "given",
            "count": count,
            "method": method,
            "eps": eps,
            "kept": kept,
            "seed": seed,
            "loss": loss,
            "accuracy": 0.5,
            "density": 0.1,
            "target_loss": 0.0,
        } | more

    rows = [row("planted", 0.1, s, 0.1 * s, None) for s in range(3)]
    rows += [row("planted", 0.0, s, 1.0, None) for s in range(3)]
    rows += [row("joint", 0.1, s, 0.1 * s + 2, overlap=0.25) for s in range(3)]
    rows += [row("prune", None, s, 4.0, overlap=0.5) for s in range(2)]
    rows += [row("prune", None, 2, None)]
    rows += [row("dense", "inf", s, 0.5, kept=None) for s in range(3)]
    shown = table.table(rows, "abc").splitlines()
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in shown[2:5]]
    names = [cell.strip() for cell in shown[0].split("|")[1:-1]]
    by_eps = {line[4]: dict(zip(names, line, strict=True)) for line in cells}
    assert list(by_eps) == ["inf", "0", "0.1"]
    assert by_eps["0.1"]["planted"] == "0.1 ± 0.25 (50)"
    assert by_eps["0.1"]["joint"].startswith("2 ± ") and by_eps["0.1"]["overlap, %"] == "25 (10)"
    assert float(by_eps["0.1"]["joint"].split()[2]) < 1e-6  # Paired: the seeds' spread is gone.
    assert by_eps["0"]["planted"] == "1 ± 0 (50)" and by_eps["0"]["prune"] == "3 ± 0 (50)"
    assert by_eps["inf"]["dense"] == "0.5 ± 0 (50)" and by_eps["inf"]["planted"] == ""
    assert "1 lanes diverged" in shown[-1] and "n = 3" in shown[-1]


def test_the_picture_has_a_line_for_each_method_and_one_for_what_is_planted():
    def row(method, eps, kept, seed):
        known = {"task": "relu", "method": method, "eps": eps, "kept": kept, "seed": seed}
        return known | {"density": kept / 20, "loss": 10.0 ** -(seed + kept)}

    rows = [
        row(method, eps, kept, seed)
        for method in ("planted", "joint")
        for eps in (0.0, 0.1)
        for kept in (1, 4)
        for seed in range(3)
    ]
    rows += [row("prune", None, kept, seed) for kept in (1, 4) for seed in range(3)]
    rows += [row("last", 0.1, kept, 0) for kept in (1, 4)]  # Not in the first panel.
    rows += [row("prune", None, 1, 3) | {"loss": None}, row("dense", "inf", 1, 0) | {"kept": None}]
    drawing = picture.losses(rows, "odd layers given")
    assert len(drawing.axes) == 2  # A task, two radii.
    for panel in drawing.axes:
        assert [text.get_text() for text in panel.get_xticklabels()] == ["0.05", "0.2"]
        handles, labels = panel.get_legend_handles_labels()
        assert labels[:3] == ["planted", "joint", "prune"]
        for handle in handles[:3]:
            heights = np.asarray(handle.lines[0].get_ydata(), float)
            np.testing.assert_allclose(heights, [1e-2, 1e-5])
    plots.to_png(drawing)


@pytest.mark.parametrize(("kept", "copies"), [(1, 24), (2, 20), (7, 31), (5, 6)])
def test_a_sparsity_keeps_exactly_its_share_of_every_tensor(kept, copies):
    sparsity = planted_rows.sparsity_of(kept, copies)
    for weights in (1, 7, 1000, 123_457):
        assert selection.kept_count(copies * weights, sparsity) == kept * weights


@pytest.mark.parametrize(
    "flag",
    [
        *("--task=square", "--odd=none", "--count=cosine", "--method=magnitude", "--eps=-1"),
        *("--eps=inf", "--kept=0", "--kept=6", "--copies=41", "--seeds=0", "--steps=0"),
        *("--kept_schedule=linear", "--scale_init", "--strategy=pmap", "--prune_lr=-1"),
    ],
)
def test_bad_flags_are_one_line_and_status_2_before_any_work(tmp_path, capsys, flag):
    assert run(tmp_path / "run", flag) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.count("\n") == 1
    assert flag.split("=")[0] in printed.err
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_folder_of_other_settings_is_refused(out, capsys):
    before = (out / "planted.json").read_bytes()
    assert run(out, "--seeds=1", "--copies=8") == 2
    assert "copies" in capsys.readouterr().err
    assert (out / "planted.json").read_bytes() == before


def test_searches_only_where_odd_layers_are_searched_or_the_count_falls():
    config = flags.Config()
    assert config.methods("given", "constant") == list(config.method)
    assert "random_then_prune" in config.method
    for variant in (("searched", "constant"), ("given", "exponential")):
        assert config.methods(*variant) == ["prune_longer", "perturb_then_prune", "joint"]
