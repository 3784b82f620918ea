"""Many lanes in one compiled program."""

from lth_jax.sweep.plan import Lane, lanes
from lth_jax.sweep.programs import Strategy
from lth_jax.sweep.runner import Event, Finished, Progress, Run, Runner, check

__all__ = [
    "Event",
    "Finished",
    "Lane",
    "Progress",
    "Run",
    "Runner",
    "Strategy",
    "check",
    "lanes",
]
