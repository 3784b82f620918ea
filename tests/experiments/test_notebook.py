"""The notebook runs from its first cell to its last, anywhere, and what it shows is in order."""

import os
import pathlib
import re
import tempfile

import pytest

ROOT = pathlib.Path(__file__).parents[2]
NOTEBOOK = ROOT / "experiments" / "first_look.ipynb"
nbformat = pytest.importorskip("nbformat", reason="nbclient, of the extra test, is not installed")


def text_of(output):
    data = output.get("data", {})
    return output.get("text", "") + data.get("text/plain", "") + data.get("text/html", "")


def shown(notebook):
    """The outputs of each cell of code."""
    return [cell["outputs"] for cell in notebook.cells if cell.cell_type == "code"]


def check(outputs):
    """What the text around the outputs says of them."""
    assert not any(one.output_type == "error" or one.get("name") == "stderr"
                   for cell in outputs for one in cell)  # fmt: skip
    assert [len(cell) for cell in outputs] == [0, 1, 1, 1, 1]
    _, table, gains, figure, network = (text_of(one) for cell in outputs for one in cell or [{}])
    assert "joint" in table and "prune_longer" in table and "±" in table
    assert "ε = 0.05" in gains and gains.count("<td>0.0</td>") >= 6  # ε = 0 is prune_longer.
    assert "Figure" in figure and "image/png" in outputs[3][0]["data"]
    left, kept = re.search(r"([\d,]+) of [\d,]+ weights are left, ([\d,]+) by", network).groups()
    ours, rows = re.search(r"([\d.]+)% in NumPy, ([\d.]+)% by the row", network).groups()
    assert left == kept and ours == rows and float(ours) > 90


def test_its_committed_outputs_are_in_order():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    check(shown(notebook))
    assert NOTEBOOK.stat().st_size <= 120_000
    assert not re.search(r"/(home|root|tmp|Users|work)\b", NOTEBOOK.read_text())


@pytest.mark.slow
def test_it_runs_from_first_to_last(tmp_path, monkeypatch):
    nbclient = pytest.importorskip("nbclient", reason="nbclient, of the extra test, is missing")
    jupyter_client = pytest.importorskip("jupyter_client")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    # Sockets in files, whose names are bounded: so there is no port, and no network, to need.
    with tempfile.TemporaryDirectory() as private:
        for name in ("JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "IPYTHONDIR"):
            monkeypatch.setenv(name, os.path.join(private, name.lower()))
        kernel = jupyter_client.AsyncKernelManager(
            kernel_name="python3", transport="ipc", connection_file=os.path.join(private, "k.json")
        )
        notebook = nbformat.read(NOTEBOOK, as_version=4)
        for outputs in shown(notebook):
            outputs.clear()
        where = {"metadata": {"path": str(tmp_path)}}
        client = nbclient.NotebookClient(notebook, kernel, timeout=300, resources=where)
        client.execute()
    check(shown(notebook))
    assert (tmp_path / "runs/first_look/accuracy.png").exists()
