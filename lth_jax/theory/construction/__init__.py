"""Theorem 2 as a program: build the 2L-layer ticket, bound its error, look for a larger one."""

from lth_jax.theory.construction.approximate import (
    Construction,
    approximate,
    checked,
    counts,
    theorem,
)

__all__ = ["Construction", "approximate", "checked", "counts", "theorem"]
