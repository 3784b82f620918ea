"""README's code runs as it stands there, in a folder of its own."""

import doctest
import json
import pathlib
import re

import jax
import numpy as np
import pytest
import registered
import safetensors

from lth_jax import datasets, sweep

README = pathlib.Path(__file__).parents[1] / "README.md"


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """The folder in which README's examples ran, and how that went."""
    folder = tmp_path_factory.mktemp("readme")
    with pytest.MonkeyPatch.context() as patch, registered.meanwhile():
        patch.chdir(folder)
        # Blocks of one size give the same rows, and fewer programs to compile.
        patch.setattr(sweep.Runner, "block_size", lambda self, count: jax.local_device_count())
        found = doctest.testfile(str(README), module_relative=False)
    return folder, found


@pytest.mark.slow
def test_the_examples_do_what_they_say(ran):
    folder, found = ran
    assert found.attempted >= 40 and found.failed == 0
    assert {path.name for path in (folder / "runs").iterdir()} == {"mine", "extended"}


def of_the_exported_network(folder):
    """Test images as torch takes them, their labels, and the accuracy of the network's row."""
    lines = (folder / "runs/mine/results.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    # The fourth of the first call's lanes; a later one has added rows behind them.
    test = datasets.load("digits", train_size=256).test
    return np.moveaxis(test.images, -1, 1), test.labels, rows[3]["test_accuracy"]


@pytest.mark.slow
def test_plain_numpy_reads_the_exported_network(ran):
    folder, _ = ran
    images, labels, accuracy = of_the_exported_network(folder)
    with safetensors.safe_open(folder / "network.safetensors", "np") as file:
        read, said = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118
    mean, std = (np.reshape(json.loads(said[name]), (-1, 1, 1)) for name in ("mean", "std"))
    assert json.loads(said["classes"]) == 10 and json.loads(said["model"]) == "Net"
    x = ((images - mean) / std).reshape(len(images), -1)
    x = np.maximum(x @ read["Dense_0.weight"].T + read["Dense_0.bias"], 0)
    logits = x @ read["Dense_1.weight"].T + read["Dense_1.bias"]
    assert np.mean(logits.argmax(-1) == labels) == pytest.approx(accuracy, abs=1e-6)


@pytest.mark.slow
def test_torch_reads_the_exported_network_in_readmes_lines(ran, monkeypatch):
    torch = pytest.importorskip("torch", reason="torch is not installed: NumPy alone was asked")
    folder, _ = ran
    monkeypatch.chdir(folder)
    images, labels, accuracy = of_the_exported_network(folder)
    (lines,) = re.findall(r"```python\n(import[^`]*torch.*?)```", README.read_text(), re.DOTALL)
    assert len([line for line in lines.splitlines() if line and "import" not in line]) == 6
    names = {"images": torch.tensor(images)}
    exec(lines, names)
    found = names["logits"].argmax(-1).numpy()
    assert np.mean(found == labels) == pytest.approx(accuracy, abs=1e-6)


@pytest.mark.parametrize("page", ["README.md", "experiments/README.md"])
def test_its_pictures_are_there_and_small(page):
    page = README.parent / page
    found = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", page.read_text())
    assert found
    for picture in found:
        assert 0 < (page.parent / picture).stat().st_size <= 60_000, picture
