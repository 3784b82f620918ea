"""Many lanes in one compiled program."""

from lth_jax.sweep.events import Compiled, Compiling, Event, Finished, Progress
from lth_jax.sweep.plan import Lane, lanes
from lth_jax.sweep.programs import Strategy
from lth_jax.sweep.runner import Run, Runner, check

__all__ = [
    "Compiled",
    "Compiling",
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
