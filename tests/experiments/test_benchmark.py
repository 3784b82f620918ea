"""The benchmark: its rows, its file, and that the peers do what their papers say."""

import functools
import json

import numpy as np
import pytest

from experiments import cli
from experiments.benchmark import command, measure, torch_peers


def test_a_row_is_reached_if_the_peer_takes_long_enough():
    row = measure.Row("a", ours_ms=2.0, peer_ms=6.0, target=3.0).as_json()
    assert row["ratio"] == 3 and row["reached"] is True
    assert measure.Row("a", 2.0, 5.9, 3.0).as_json()["reached"] is False
    skipped = measure.Row("a", None, None, 3.0, skipped="why").as_json()
    assert skipped["reached"] is None and skipped["skipped"] == "why"


def test_all_take_their_turn_and_only_the_fast_stay():
    calls = []

    def timed(name, value):
        calls.append(name)
        return value

    four = {
        name: functools.partial(timed, name, ms)
        for name, ms in zip("abcd", (3, 1, 2, 4), strict=True)
    }
    times = measure.in_turn(four, 2, contest="abcd")
    assert times == {"a": [3, 3], "b": [1, 1], "c": [2, 2]}
    assert "".join(calls) == 3 * "abcd" + "abcabc"


def test_a_disturbed_round_does_not_throw_out_the_best():
    rounds = {"a": [1, 9, 1, 1], "b": [2] * 4, "c": [3] * 4, "d": [4] * 4}
    timed = {name: functools.partial(iter(times).__next__) for name, times in rounds.items()}
    assert set(measure.in_turn(timed, 1, contest="abcd")) == {"a", "b", "c"}


def test_names_are_not_cut_short_in_a_file(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(measure, "HAS_TORCH", False)
    argv = ["--only=edge_popup/conv*", f"--out={tmp_path / 'b.json'}"]
    assert cli.main(command.run, command.Config(), "", argv) == 0
    out = capsys.readouterr().out
    assert "│ edge_popup/conv2/torch.best " in out and "skipped: torch is not installed" in out
    assert measure.median({"x 1": [1, 5, 3], "x 2": [4], "y": [0]}, "x") == ("x 1", 3)


def test_names_of_rows_are_unique_and_documented_ones_exist():
    names = [name for group in command.GROUPS for name in group.targets]
    assert len(set(names)) == len(names)
    for name in ("selection/n=235200/torch.kthvalue", "edge_popup/lenet/torch.sort"):
        assert name in names


def test_without_torch_its_rows_are_skipped(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(measure, "HAS_TORCH", False)
    path = tmp_path / "b.json"
    argv = ["--only=edge_popup/conv2/*", f"--out={path}"]
    assert cli.main(command.run, command.Config(), "", argv) == 0
    (row,) = json.loads(path.read_text())["rows"]
    assert row["skipped"] == "torch is not installed" and row["ratio"] is None
    assert "skipped" in capsys.readouterr().out


@pytest.mark.parametrize(
    "argv, said",
    [
        ("--only=nothing", "expected a pattern"),
        ("--rounds=0", "--rounds must be"),
        ("--out=/no/such/folder/b.json", "no such folder"),
    ],
)
def test_bad_flags_are_one_line(argv, said, capsys):
    assert cli.main(command.run, command.Config(), "", [argv]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1


@pytest.mark.parametrize("how", ["sort", "kthvalue"])
def test_the_peer_keeps_the_top_scores_and_passes_the_gradient(how):
    torch = pytest.importorskip("torch")
    random = np.random.default_rng(0)
    scores = torch.from_numpy(random.uniform(size=(7, 11)).astype(np.float32)).requires_grad_()
    mask = torch_peers._masked(torch, how, 30)(scores)
    flat = scores.detach().numpy().reshape(-1)
    expected = np.zeros(77)
    expected[np.argsort(flat)[-30:]] = 1
    np.testing.assert_array_equal(mask.detach().numpy().reshape(-1), expected)
    weights = torch.arange(77.0).reshape(7, 11)
    (mask * weights).sum().backward()
    np.testing.assert_array_equal(scores.grad.numpy(), weights.numpy())
