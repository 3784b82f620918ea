"""Theorem 2 as a program: build the 2L-layer ticket, bound its error, look for a larger one."""

from lth_jax.theory.construction.approximation import Construction, approximate, checked_target
from lth_jax.theory.construction.certified import ASSIGNMENTS, Assignment, Least, least
from lth_jax.theory.construction.examination import (
    counts,
    examine,
    sizes_by_theory,
    widths_by_theory,
)
from lth_jax.theory.construction.random_network import Layout

__all__ = [
    "ASSIGNMENTS",
    "Assignment",
    "Construction",
    "Layout",
    "Least",
    "approximate",
    "checked_target",
    "counts",
    "examine",
    "least",
    "sizes_by_theory",
    "widths_by_theory",
]
