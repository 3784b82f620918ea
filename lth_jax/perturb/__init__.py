"""How far a weight may move: the ε-ball, rounding to a known side, moves of a few bits."""

from lth_jax.perturb.ball import (
    NORMS,
    UNITS,
    Norm,
    Unit,
    displacement,
    keep_in_ball,
    project,
    radii,
    random_in_ball,
)
from lth_jax.perturb.rounding import round_toward_zero

__all__ = [
    "NORMS",
    "UNITS",
    "Norm",
    "Unit",
    "displacement",
    "keep_in_ball",
    "project",
    "radii",
    "random_in_ball",
    "round_toward_zero",
]
