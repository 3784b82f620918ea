"""Two CPU devices and JAX's strict switches for every test."""

import collections
import functools
import tempfile

import chex
import hostile
import jax
import pytest
import study

jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_debug_key_reuse", True)
# Nearly all of a test's time is compiling: what two tests both need is compiled once a session.
_cache = tempfile.TemporaryDirectory(prefix="lth_jax_compiled_")
jax.config.update("jax_compilation_cache_dir", _cache.name)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
jax.devices()  # The backend is up from here on: no study's main() can change these settings.


@pytest.fixture(autouse=True)
def _fresh_trace_counters():
    """Trace counters of chex are global: without this, one test's traces count in another's."""
    chex.clear_trace_counter()


_compiled = collections.Counter()


def _count_compiles(event, duration, **about):
    if event == "/jax/core/compile/backend_compile_duration":
        _compiled[about["fun_name"].removeprefix("jit(").removesuffix(")")] += 1


jax.monitoring.register_event_duration_secs_listener(_count_compiles)


@pytest.fixture
def compiles():
    """Says how often XLA was asked for a program, by its name, since the test began."""
    before = collections.Counter(_compiled)
    return lambda: _compiled - before


@pytest.fixture
def key():
    return jax.random.key(0)


@pytest.fixture(scope="session")
def plain(tmp_path_factory):
    """The folder of an undisturbed run of the small study; look, do not touch."""
    out = tmp_path_factory.mktemp("plain") / "run"
    assert study.main(out) == 0
    return out


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
