"""README's code runs as it stands there, in a folder of its own."""

import doctest
import pathlib
import re

import jax
import pytest
import registered

from lth_jax import sweep

README = pathlib.Path(__file__).parents[1] / "README.md"


@pytest.mark.slow
def test_the_examples_do_what_they_say(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # Blocks of one size give the same rows, and fewer programs to compile.
    monkeypatch.setattr(sweep.Runner, "block_size", lambda self, count: jax.local_device_count())
    with registered.meanwhile():
        found = doctest.testfile(str(README), module_relative=False)
    assert found.attempted >= 40 and found.failed == 0
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {"mine", "extended"}


@pytest.mark.parametrize("page", ["README.md", "experiments/README.md"])
def test_its_pictures_are_there_and_small(page):
    page = README.parent / page
    found = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", page.read_text())
    assert found
    for picture in found:
        assert 0 < (page.parent / picture).stat().st_size <= 60_000, picture
