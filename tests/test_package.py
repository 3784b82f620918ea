"""What the package says of itself, and what importing it costs."""

import importlib.metadata
import pathlib
import subprocess
import sys
import tomllib

import yaml

import lth_jax

ROOT = pathlib.Path(__file__).parents[1]
# What takes a tenth of a second or more to import, or is optional: imported where it is used.
HEAVY = (
    *("matplotlib", "scipy.stats", "scipy.optimize", "scipy.special", "sklearn", "pooch"),
    *("requests", "rich", "pandas", "orbax", "tensorboardX", "equinox", "torch", "IPython"),
)


def test_the_version_has_one_place():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "version" in project["project"]["dynamic"] and "version" not in project["project"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "lth_jax.__version__"}
    try:
        assert importlib.metadata.version("lth-jax") == lth_jax.__version__
    except importlib.metadata.PackageNotFoundError:  # In a checkout it is not installed.
        assert lth_jax.__version__.count(".") == 2


def test_the_citation_is_of_this_version_and_of_the_paper():
    said = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert said["cff-version"] == "1.2.0" and {"message", "title", "authors"} <= set(said)
    assert str(said["version"]) == lth_jax.__version__
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert said["license"] == project["license"]
    (paper,) = said["references"]
    assert {one["family-names"] for one in paper["authors"]} == {"Xiong", "Liao", "Kyrillidis"}
    assert paper["identifiers"][0]["value"] == project["urls"]["Paper"]
    assert project["urls"]["Paper"] in (ROOT / "README.md").read_text()


def test_importing_the_library_imports_nothing_heavy():
    code = (
        "import sys, jax, flax, optax\n"
        "before = set(sys.modules)\n"
        "import lth_jax\n"
        f"print(*(name for name in {HEAVY!r} if name in set(sys.modules) - before))\n"
    )
    command = [sys.executable, "-c", code]
    ran = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=120)
    assert ran.stdout.split() == []
