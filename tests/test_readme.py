"""The code of README, then of lth_jax/README.md, runs as it stands there, in one session."""

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
DETAIL = README.parent / "lth_jax" / "README.md"
PAGES = ["README.md", "lth_jax/README.md", "experiments/README.md"]


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """The folder in which the examples ran, and how many there were and failed."""
    folder = tmp_path_factory.mktemp("readme")
    with pytest.MonkeyPatch.context() as patch, registered.meanwhile():
        patch.chdir(folder)
        # Blocks of one size give the same rows, and fewer programs to compile.
        patch.setattr(sweep.Runner, "block_size", lambda self, count: jax.local_device_count())
        runner, names = doctest.DocTestRunner(), {"__name__": "__main__"}
        for page in (README, DETAIL):
            found = doctest.DocTestParser().get_doctest(
                page.read_text(), names, page.name, str(page), lineno=0
            )
            runner.run(found, clear_globs=False)
            names = found.globs  # The next page goes on with them.
    return folder, runner.summarize(verbose=False)


@pytest.mark.slow
def test_the_examples_do_what_they_say(ran):
    folder, found = ran
    assert found.attempted >= 40 and found.failed == 0
    assert {path.name for path in (folder / "runs").iterdir()} == {"mine", "extended"}


def of_the_exported_network(folder):
    """Test images as torch takes them, their labels, and the accuracy of the network's row."""
    lines = (folder / "runs/mine/results.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    # The last of the first call's lanes; a later one has added rows behind them.
    test = datasets.load("digits", train_size=256).test
    return np.moveaxis(test.images, -1, 1), test.labels, rows[5]["test_accuracy"]


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
def test_torch_reads_the_exported_network_in_the_pages_lines(ran, monkeypatch):
    torch = pytest.importorskip("torch", reason="torch is not installed: NumPy alone was asked")
    folder, _ = ran
    monkeypatch.chdir(folder)
    images, labels, accuracy = of_the_exported_network(folder)
    (lines,) = re.findall(r"```python\n(import[^`]*torch.*?)```", DETAIL.read_text(), re.DOTALL)
    assert len([line for line in lines.splitlines() if line and "import" not in line]) == 6
    names = {"images": torch.tensor(images)}
    exec(lines, names)
    found = names["logits"].argmax(-1).numpy()
    assert np.mean(found == labels) == pytest.approx(accuracy, abs=1e-6)


@pytest.mark.parametrize("page", PAGES)
def test_its_pictures_are_there_and_small(page):
    page = README.parent / page
    found = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", page.read_text())
    assert found or page == DETAIL
    for picture in found:
        assert 0 < (page.parent / picture).stat().st_size <= 60_000, picture


def anchor(heading):
    """A heading's anchor, as GitHub makes it."""
    return re.sub(r"[^\w -]", "", heading.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES)
def test_its_links_lead_to_files_and_headings(page):
    page = README.parent / page
    found = re.findall(r"\]\((?!https:)([^)]+)\)", page.read_text())
    assert found
    for place, _, part in (link.partition("#") for link in found):
        target = page.parent / place if place else page
        assert target.exists(), place
        if part:
            headings = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
            assert part in map(anchor, headings), f"{place}#{part}"
