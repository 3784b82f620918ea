"""Two CPU devices and JAX's strict switches for every test."""

import matplotlib

matplotlib.use("Agg")

import chex
import jax
import pytest

jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_debug_key_reuse", True)


@pytest.fixture(autouse=True)
def _fresh_trace_counters():
    """Trace counters of chex are global: without this, one test's traces count in another's."""
    chex.clear_trace_counter()


@pytest.fixture
def key():
    return jax.random.key(0)
