"""Exports of a run's tickets, from a Study and from the command line."""

import json

import flax.linen as nn
import numpy as np
import pytest
import safetensors
import small_study

import lth_jax
from experiments import cli, export
from lth_jax import datasets


def logits_of(path, images):
    """Of an exported network of dense layers with ReLU between, of raw images [n, h, w, c]."""
    with safetensors.safe_open(path, "np") as file:
        read = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        said = {k: v for k, v in file.metadata().items() if k not in ("format", "layout")}
    said = {name: json.loads(value) for name, value in said.items()}
    mean, std = (np.reshape(said[name], (-1, 1, 1)) for name in ("mean", "std"))
    x = ((np.moveaxis(images, -1, 1) - mean) / std).reshape(len(images), -1)
    weights = [read[name] for name in sorted(read)]
    for weight in weights[:-1]:
        x = np.maximum(x @ weight.T, 0)
    return x @ weights[-1].T, said


def write(*flags):
    return cli.main(export.run, export.Config(), export.__doc__, list(flags))


@pytest.mark.slow
def test_the_command_line_writes_a_lane_for_torch(tmp_path, capsys):
    assert small_study.main(tmp_path / "run", seeds="1", keep_tickets="true") == 0
    test = datasets.load("digits", train_size=128).test
    rows = map(json.loads, (tmp_path / "run/results.jsonl").read_text().splitlines())
    moved = next(row for row in rows if row["eps"])
    (ticket,) = (tmp_path / "run/tickets").glob(f"*_eps-{moved['eps']}_*")
    out = tmp_path / "a.safetensors"
    assert write(f"--ticket={ticket}", f"--to={out}") == 0
    logits, said = logits_of(out, test.images)
    assert np.mean(logits.argmax(-1) == test.labels) == pytest.approx(moved["test_accuracy"])
    assert (said["model"], said["classes"], said["dataset"]) == ("lenet", 10, "digits")
    capsys.readouterr()
    for flags, line in (
        ([], "--ticket and --to must be given"),
        ([f"--ticket={ticket}", f"--to={out}", "--layout=onnx"], "--layout=onnx"),
        (["--ticket=nowhere", f"--to={out}"], "nowhere: No such file"),
    ):
        assert write(*flags) == 2
        assert line in capsys.readouterr().err
    assert write(f"--ticket={ticket}", "--to=/nowhere/a") == 1


class Tiny(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = x.reshape(len(x), -1)
        return nn.Dense(4, use_bias=False)(nn.relu(nn.Dense(3, use_bias=False, name="A")(x)))


@pytest.mark.slow
def test_a_study_writes_its_own_model_for_torch(tmp_path, capsys):
    rng = np.random.default_rng(0)
    splits = [
        lth_jax.Split(
            rng.integers(0, 9, (12, 2, 3, 2), np.uint8), np.arange(12, dtype=np.int32) % 4
        )
        for _ in range(3)
    ]
    mean, std = np.float32([4, 5]), np.float32([2, 3])
    data = lth_jax.Dataset("pairs", *splits, classes=4, mean=mean, std=std)
    model = lth_jax.from_flax(Tiny(), data.train.images[:1])
    train = lth_jax.TrainConfig(perturb_epochs=1, prune_epochs=1, batch_size=4)
    study = lth_jax.Study(model, data, train=train, out=tmp_path / "run", keep_tickets=True)
    (ticket,) = study.run(["prune"], sparsity=[0.5], seeds=[0]).tickets()
    study.export(ticket, tmp_path / "a.safetensors")
    logits, said = logits_of(tmp_path / "a.safetensors", splits[2].images)
    weights = lth_jax.tickets.load(ticket).weights
    own, _ = model.apply(weights, {}, (splits[2].images - mean) / std, train=False)
    np.testing.assert_allclose(logits, own, atol=1e-5)
    assert (said["model"], said["classes"], said["std"]) == ("Tiny", 4, [2, 3])
    assert write(f"--ticket={ticket}", f"--to={tmp_path / 'b'}") == 2
    assert "only the program that made it knows its model" in capsys.readouterr().err
    with pytest.raises(lth_jax.InputError, match="layout must be"):
        study.export(ticket, tmp_path / "b", layout="onnx")
    with pytest.raises(lth_jax.RunError, match="nowhere"):
        study.export(ticket, "/nowhere/b")
