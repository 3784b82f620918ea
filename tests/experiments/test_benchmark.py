"""The benchmark: its rows, its file, and that the peers do what their papers say."""

import functools
import json
import math

import jax
import numpy as np
import pytest

from experiments import cli
from experiments.benchmark import command, measure, torch_peers
from experiments.benchmark.accelerator import hardware, lane_laws, laws, torch_resnet, torch_steps
from lth_jax import training


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


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Of torch's own.
@pytest.mark.parametrize("how", ["sort", "kthvalue"])
def test_the_compiled_peer_takes_the_step_of_the_eager_one(how):
    torch = pytest.importorskip("torch")
    if not torch_peers.CAN_COMPILE:
        pytest.skip("there is no C++ compiler")
    random = np.random.default_rng(0)
    weights = torch.from_numpy(random.normal(size=(7, 11)).astype(np.float32))
    mask = torch_peers._masked(torch, how, 30)

    def gradient(compiled):
        scores = torch.linspace(-1, 1, 77).reshape(7, 11).requires_grad_()
        loss_of = lambda s: (weights * mask(s.abs())).square().sum()  # noqa: E731
        (torch.compile(loss_of) if compiled else loss_of)(scores).backward()
        return scores.grad.numpy()

    np.testing.assert_allclose(gradient(True), gradient(False), rtol=1e-6)


def test_without_an_accelerator_one_line_says_so(capsys):
    assert cli.main(command.run, command.Config(), "", ["--only=accelerator/conv2/8_lanes/*"]) == 2
    error = capsys.readouterr().err
    assert "no accelerator is here" in error and error.count("\n") == 1
    for strategy in lane_laws.STRATEGIES:
        assert f"accelerator/conv2/8_lanes/{strategy}" in error


def test_a_broken_law_ends_the_accelerators_rows(tmp_path, monkeypatch, capsys):
    broken = {"exact ball": lambda size: {"holds": False, "balls_left": 3}}
    monkeypatch.setattr(laws, "LAWS", broken)
    path = tmp_path / "b.json"
    argv = ["--only=accelerator/lenet/*", "--smoke", f"--out={path}"]
    assert cli.main(command.run, command.Config(), "", argv) == 1
    assert "exact ball does not hold on this device" in capsys.readouterr().err
    found = json.loads(path.read_text())
    assert found["laws"][0]["balls_left"] == 3 and found["rows"] == []


def test_laws_do_not_lose_a_nan():
    ones, broken = np.ones(2), np.array([1, np.nan])
    assert lane_laws._difference([ones, ones + 1], [ones, ones]) == 1
    for ours in ([broken, ones], [ones, broken]):
        assert math.isnan(lane_laws._difference(ours, [ones, ones]))


@pytest.mark.slow
def test_pytorchs_resnet_has_our_kernels():
    weights = training.lane_shapes(measure.problem("resnet18", 0.5)).weights
    ours = sorted(math.prod(leaf.shape) for leaf in jax.tree.leaves(weights))
    convs, denses = torch_resnet.shapes(0.5)
    assert ours == sorted(math.prod(shape) for shape in [*convs, *denses])


@pytest.mark.slow
def test_the_way_of_an_accelerators_rows_in_small(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(measure, "HAS_TORCH", False)
    path = tmp_path / "b.json"
    argv = ["--only=accelerator/lenet/1_lanes/vmap", "--smoke", "--rounds=1", f"--out={path}"]
    assert cli.main(command.run, command.Config(), "", argv) == 0
    found = json.loads(path.read_text())
    assert [law["name"] for law in found["laws"]] == list(laws.LAWS)
    assert all(law["holds"] for law in found["laws"])
    (row,) = found["rows"]
    assert row["lane_steps_per_second"] == pytest.approx(1e3 / row["ours_ms"])
    assert row["step_bytes"] > 0 and row["peer"] is None
    assert "lane-steps a second" in capsys.readouterr().out


def test_lengths_in_a_ball_are_counted_by_its_norm():
    center, moved = {"a": np.zeros(3, np.float32)}, {"a": np.float32([0, 1, -1])}
    for norm, length in (("linf", 1.0), ("l2", 2**0.5), ("l2_global", 2**0.5)):
        assert laws._lengths(center, moved, {"a": np.float32(1)}, norm) == [(length, 1.0)]


@pytest.mark.parametrize(
    "kind, found",
    [("NVIDIA H100 80GB HBM3", 3.35e12), ("NVIDIA H200", 4.8e12), ("cpu", None)],
)
def test_data_sheets_are_found_by_the_name_that_jax_gives(kind, found):
    sheet = hardware.peak(kind)
    assert (sheet and sheet.bandwidth) == found


@pytest.mark.parametrize("how", ["sort", "kthvalue"])
@pytest.mark.parametrize("way", ["vmap", "graph"])
def test_the_peers_of_an_accelerator_take_steps(how, way):
    pytest.importorskip("torch")
    request = {"net": "conv2", "how": how, "way": way, "lanes": 1, "small": True}
    assert 0 < torch_steps._answer({**request, "precision": "highest"}) < 1e5
