"""Theorem 2 as a program: build the 2L-layer ticket, bound its error, look for a larger one."""

from lth_jax.theory.construction.approximation import Construction, approximate, checked_target
from lth_jax.theory.construction.examination import counts, examine, widths_by_theory
from lth_jax.theory.construction.random_network import Layout

__all__ = [
    "Construction",
    "Layout",
    "approximate",
    "checked_target",
    "counts",
    "examine",
    "widths_by_theory",
]
