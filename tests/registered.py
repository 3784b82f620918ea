"""Names that a test registers: known within it, and forgotten afterwards."""

import contextlib

import lth_jax

REGISTRIES = (lth_jax.DATASETS, lth_jax.MODELS, lth_jax.PRUNERS, lth_jax.METHODS)


@contextlib.contextmanager
def meanwhile():
    """Forgets what was registered within the context."""
    before = [set(registry) for registry in REGISTRIES]
    try:
        yield
    finally:
        for registry, known in zip(REGISTRIES, before, strict=True):
            for name in set(registry) - known:
                registry.remove(name)
