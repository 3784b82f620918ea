"""What users do on their first day: every script of tests/scripts, as a process, twice."""

import json
import os
import pathlib
import subprocess
import sys

import pytest
import small_study

SCRIPTS = sorted((pathlib.Path(__file__).parent / "scripts").glob("*.py"))
# Path and fan-in of all that is pruned, for scripts whose point it is.
_ATTENTION = "MultiHeadDotProductAttention_0"
PRUNED = {
    "linen_transformer": {
        **{f"{_ATTENTION}/{name}/kernel": 16 for name in ("key", "query", "value", "out")},
        "Dense_0/kernel": 8,
        "Dense_1/kernel": 32,
        "Dense_2/kernel": 16,
    }
}


def run(script, folder):
    """Runs a script in a folder as a user does; returns what it printed."""
    environment = os.environ | {"PYTHONPATH": str(small_study.ROOT), "PYTHONWARNINGS": "default"}
    command = [sys.executable, str(script)]
    options = {"capture_output": True, "text": True, "timeout": 600}
    found = subprocess.run(command, cwd=folder, env=environment, **options)
    assert found.returncode == 0, found.stderr
    return found.stdout


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=[path.stem for path in SCRIPTS])
def test_a_short_script_fills_a_folder_and_again_changes_nothing(script, tmp_path):
    assert len(script.read_text().splitlines()) < 25
    said = run(script, tmp_path)
    first = small_study.tree(tmp_path)
    folders = [path.parent for path in tmp_path.rglob("results.jsonl")]
    assert folders and said
    for folder in folders:
        rows = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
        assert rows
        for row in rows:
            assert row["diverged"] is None and 0 < row["kept"] <= row["total"]
            assert 0 <= row["test_accuracy"] <= 1
        config = json.loads((folder / "config.json").read_text())
        assert sum(leaf["size"] for leaf in config["pruned"]) == rows[0]["total"]
        pruned = {leaf["path"]: leaf["fan_in"] for leaf in config["pruned"]}
        assert pruned == PRUNED.get(script.stem, pruned)
    assert run(script, tmp_path) == said
    assert small_study.tree(tmp_path) == first
