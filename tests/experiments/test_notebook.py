"""The notebook runs from its first cell to its last, anywhere, and what it shows is in order."""

import os
import pathlib
import re
import subprocess
import sys
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


# A program of its own: what the client of the kernel leaves unclosed is a warning here, an error.
EXECUTE = """
import sys, jupyter_client, nbclient, nbformat
source, target, private, folder = sys.argv[1:]
notebook = nbformat.read(source, as_version=4)
for cell in notebook.cells:
    if cell.cell_type == "code":
        cell["outputs"] = []
# Sockets in files: so there is no port, and no network, to need.
kernel = jupyter_client.AsyncKernelManager(
    kernel_name="python3", transport="ipc", connection_file=private + "/k.json"
)
where = {"metadata": {"path": folder}}
nbclient.NotebookClient(
    notebook, kernel, timeout=300, startup_timeout=300, resources=where
).execute()
nbformat.write(notebook, target)
"""


@pytest.mark.slow
def test_it_runs_from_first_to_last(tmp_path):
    pytest.importorskip("nbclient", reason="nbclient, of the extra test, is not installed")
    # The name of a socket is short, as that of a test's folder may not be.
    with tempfile.TemporaryDirectory() as private:
        own = ("JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "IPYTHONDIR")
        folders = {name: os.path.join(private, name.lower()) for name in own}
        folders |= {"PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(tmp_path / "cache")}
        done = tmp_path / "done.ipynb"
        command = [sys.executable, "-c", EXECUTE, str(NOTEBOOK), str(done), private, str(tmp_path)]
        ran = subprocess.run(
            command, env=os.environ | folders, capture_output=True, text=True, timeout=900
        )
    assert ran.returncode == 0, ran.stderr
    check(shown(nbformat.read(done, as_version=4)))
    assert (tmp_path / "runs/first_look/accuracy.png").exists()
