"""Two CPU devices and JAX's strict switches for every test."""

import functools
import pathlib
import tempfile

import chex
import compiled
import hostile
import jax
import pytest
import small_study

from lth_jax.runs import locks

jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_debug_key_reuse", True)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
# They are programs, which test_scripts.py runs.
collect_ignore_glob = ["scripts/*"]

jax.devices()  # The backend is up from here on: no study's main() can change these settings.

_shared = pytest.StashKey[str]()
# The longest files first, so that no process is left alone with one of them in the end.
LONGEST = ("test_readme", "test_grid", "test_study", "test_resume", "test_faults", "test_training")


def pytest_configure(config):
    """Nearly all of a test's time is compiling: one cache for all processes of a run of the tests.

    The process that starts the others makes its folder, tells them where it is, and removes it.
    """
    if not hasattr(config, "workerinput"):
        made = tempfile.TemporaryDirectory(prefix="lth_jax_tests_")
        config.add_cleanup(made.cleanup)
        config.stash[_shared] = made.name
    else:
        config.stash[_shared] = config.workerinput["shared"]
    jax.config.update("jax_compilation_cache_dir", f"{config.stash[_shared]}/compiled")
    # JAX does not write its cache whole or not at all: who reads an entry too early compiles again.
    early = "ignore:Error reading persistent compilation cache entry:UserWarning"
    config.addinivalue_line("filterwarnings", early)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node):
    """Of pytest-xdist: what a worker gets to know."""
    node.workerinput["shared"] = node.config.stash[_shared]


def pytest_collection_modifyitems(items):
    """Puts the longest files first."""
    place = {name: index for index, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(place)))


@pytest.fixture(autouse=True)
def _fresh_trace_counters():
    """Trace counters of chex are global: without this, one test's traces count in another's."""
    chex.clear_trace_counter()


@pytest.fixture
def compiles():
    """Says how often XLA was asked for a program, by its name, since the test began."""
    before = compiled.counts()
    return lambda: compiled.counts() - before


@pytest.fixture
def key():
    return jax.random.key(0)


@pytest.fixture(scope="session")
def plain(pytestconfig):
    """The folder of an undisturbed run of the small study; look, do not touch."""
    shared = pathlib.Path(pytestconfig.stash[_shared])
    with locks.hold(shared / "plain.lock", wait=True):
        if not (shared / "plain" / "accuracy.png").exists():
            assert small_study.main(shared / "plain") == 0
    return shared / "plain"


@pytest.fixture
def sandbox(tmp_path, monkeypatch):
    """A home, a cache and a working folder of the test's own, everything else being outside."""
    yield from hostile.sandbox(tmp_path, monkeypatch)


@pytest.fixture
def say(record_property):
    """Takes what a test counted; it is printed at the end of the session, passed or not."""
    return functools.partial(record_property, "counted")


def pytest_terminal_summary(terminalreporter):
    for report in [r for kind in ("passed", "failed") for r in terminalreporter.getreports(kind)]:
        for line in (value for name, value in report.user_properties if name == "counted"):
            terminalreporter.write_line(f"{report.nodeid.rpartition('::')[2]}: {line}")
