"""What is left of a ticket when a part of it is destroyed: its parts, and the command."""

import json

import jax
import numpy as np
import pytest
import quick
import small_study

from experiments import ablate, cli
from lth_jax import pruners, tickets
from lth_jax.tickets import ablations

SHAPES = {"first": (40, 30), "second": (30, 20)}


def drawn(seed):
    """Weights of a seed, away from 0, and a bias."""
    rng = np.random.default_rng(seed)
    found = {n: np.float32(rng.uniform(1, 2, s)) for n, s in SHAPES.items()}
    found = {n: w * rng.choice(np.float32([-1, 1]), w.shape) for n, w in found.items()}
    return found | {"bias": np.float32([seed])}


def scores():
    rng = np.random.default_rng(99)
    found = {name: np.float32(rng.normal(size=shape)) for name, shape in SHAPES.items()}
    return found | {"bias": None}


def ticket(name):
    """As a run of a pruner leaves it, with weights that have not moved."""
    pruner, center = pruners.PRUNERS[name](), drawn(7)
    kept = {"first": 300, "second": 60, "bias": None}
    mask = jax.device_get(pruner.mask(scores(), kept))
    inverse = jax.device_get(pruners.opposite(pruner, scores(), mask))
    network = jax.device_get(pruner.apply(center, scores(), mask))
    masks = mask | {"bias": None}
    return pruner, tickets.Ticket(network, masks, {}, {}, inverse | {"bias": None})


@pytest.mark.parametrize("name", quick.first(1, ["edge_popup", "signed", "biprop"]))
def test_each_ablation_destroys_one_thing_and_keeps_the_rest(name):
    pruner, loaded = ticket(name)
    found = ablations.networks(loaded, 7, drawn, pruner)
    assert list(found) == ["shuffled", "redrawn", "inverted", "random"]
    counts = {n: {leaf: int((w[leaf] != 0).sum()) for leaf in SHAPES} for n, w in found.items()}
    whole = {"first": 300, "second": 60}
    assert counts["shuffled"] == counts["redrawn"] == counts["inverted"] == whole
    assert sum(counts["random"].values()) == 360 and counts["random"] != whole
    center, fresh = drawn(7), drawn(7 + 2**31)
    for leaf in SHAPES:
        mask, size = loaded.masks[leaf], np.abs(center[leaf])
        shuffled, redrawn = found["shuffled"][leaf], found["redrawn"][leaf]
        assert np.any((shuffled != 0) != mask)
        np.testing.assert_array_equal(redrawn != 0, mask)
        np.testing.assert_array_equal(found["inverted"][leaf] != 0, loaded.inverse[leaf])
        ranks = np.abs(scores()[leaf])
        assert ranks[loaded.inverse[leaf]].max() <= ranks[~loaded.inverse[leaf]].min()
        if name == "biprop":
            kept = np.abs(shuffled[shuffled != 0])
            np.testing.assert_allclose(kept, size[shuffled != 0].mean(), rtol=1e-5)
            continue
        np.testing.assert_array_equal(np.abs(shuffled)[shuffled != 0], size[shuffled != 0])
        np.testing.assert_array_equal(np.abs(redrawn)[mask], np.abs(fresh[leaf])[mask])
        turned = {n: int((v * w < 0).sum()) for n, v, w in (
            ("ticket", loaded.weights[leaf], center[leaf]),
            ("shuffled", shuffled, center[leaf]),
            ("redrawn", redrawn, fresh[leaf]),
        )}  # fmt: skip
        assert len(set(turned.values())) == 1
        assert (turned["ticket"] > 0) == (name == "signed")
    again = ablations.networks(loaded, 7, drawn, pruner, number=1)
    assert np.any(again["shuffled"]["first"] != found["shuffled"]["first"])
    assert found["redrawn"]["bias"] == fresh["bias"] and found["shuffled"]["bias"] == [7]


def test_moved_weights_stay_where_they_are_kept_and_others_are_the_initial_ones():
    pruner, loaded = ticket("edge_popup")
    moved = {leaf: np.where(w != 0, w + 9, 0) for leaf, w in loaded.weights.items()}
    found = ablations.networks(loaded._replace(weights=moved), 7, drawn, pruner)["shuffled"]
    values = np.where(loaded.masks["first"], moved["first"], drawn(7)["first"])
    there = found["first"] != 0
    np.testing.assert_array_equal(found["first"][there], values[there])


def test_a_tensor_that_keeps_nothing_is_told():
    mask = {"a": np.zeros((3, 2), bool), "b": np.array([[True, False], [False, False]]), "c": None}
    found = ablations.tensors(mask, pruners.kernel_axes)
    assert found[0] == ("a", 0, 6, 3, 3, 2, 2) and found[1] == ("b", 1, 4, 1, 2, 1, 2)


@pytest.mark.parametrize(
    "flags, said",
    [
        ([], "--run or --ticket must be given, and not both"),
        (["--run=a", "--ticket=b"], "--run or --ticket must be given, and not both"),
        (["--run=nothing"], "--run: nothing: no tickets with a mask"),
        (["--ticket=nothing"], "nothing: No such file"),
        (["--ticket=tests/tickets/construction.ticket"], "no network of a model by name"),
        (["--run=a", "--draws=0"], "--draws must be at least 1, got 0"),
    ],
)
def test_bad_input_is_one_line(flags, said, capsys):
    argv = [*flags, "--nocompile_cache"]
    assert cli.main(ablate.run, ablate.Config(), "", argv) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1


@pytest.mark.slow
def test_ablations_of_a_run_destroy_its_tickets(tmp_path, capsys):
    out = tmp_path / "run"
    more = {"keep_tickets": "true", "method": "prune,joint,dense", "train_size": "1000"}
    more |= {"prune_epochs": "10", "width": "0.2", "sparsity": "0.75", "eps": "0.03"}
    assert small_study.main(out, **more) == 0
    argv = [f"--run={out}", "--draws=3", "--nocompile_cache"]
    capsys.readouterr()
    assert cli.main(ablate.run, ablate.Config(), "", argv) == 0
    said = capsys.readouterr().out
    assert "| joint | 0.03 | 0.75 | 2 |" in said and "Dense_0/kernel: not collapsed" in said
    rows = json.loads((out / "ablations.json").read_text())
    by_lane = {(r["method"], r["seed"]): r for r in small_study.rows(out)}
    assert len(rows) == 4  # dense has no mask
    for row in rows:
        accuracy = row["accuracy"]
        assert accuracy["ticket"] == [by_lane[row["method"], row["seed"]]["test_accuracy"]]
        assert [len(accuracy[name]) for name in ablations.NAMES] == [3, 3, 1, 3]
        # Ten classes; 360 images give chance to about 2 %.
        assert accuracy["ticket"][0] > 0.75
        assert max(v for name in ablations.NAMES for v in accuracy[name]) < 0.4
    one = next((out / "tickets").glob("prune_*.ticket"))
    assert cli.main(ablate.run, ablate.Config(), "", [f"--ticket={one}", "--nocompile_cache"]) == 0
    assert one.with_name(f"{one.name}.json").exists()
