"""Many lanes in one compiled program."""

from lth_jax.sweep.runner import Finished, Grid, Progress, check

__all__ = ["Finished", "Grid", "Progress", "check"]
