"""What mypy tells a user: the mistakes of a script that it would otherwise run into."""

import importlib.metadata
import os
import pathlib
import re
import subprocess
import sys

import pytest

TESTS = pathlib.Path(__file__).parent


def looked_at(file, folder):
    """The lines that mypy --strict complains about, as a user would call it."""
    environment = dict(os.environ)
    try:
        importlib.metadata.version("lth-jax")
    except importlib.metadata.PackageNotFoundError:  # In a checkout it is not installed.
        environment["MYPYPATH"] = str(TESTS.parent)
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(folder), str(file)]
    found = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment)
    assert found.returncode in (0, 1), found.stderr
    return {int(n) for n in re.findall(rf"{re.escape(file.name)}:(\d+): error", found.stdout)}


@pytest.mark.slow
def test_a_type_checker_sees_the_mistakes_and_nothing_else(tmp_path):
    script = TESTS / "mistakes.py"
    lines = script.read_text().splitlines()
    planted = {n for n, line in enumerate(lines, 1) if "# mistake: " in line}
    found = looked_at(script, tmp_path)
    assert len(planted) == 9 and found <= planted
    missed = [lines[n - 1].partition("# mistake: ")[2] for n in sorted(planted - found)]
    assert len(found) >= 8, missed
