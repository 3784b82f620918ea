"""Stages and methods of one lane: what moves, through which mask, for how long."""

from lth_jax.training.stage import (
    Data,
    Initial,
    Outcome,
    Problem,
    State,
    Task,
    advance,
    finish,
    initial,
    start,
    subnetwork,
)

__all__ = [
    "Data",
    "Initial",
    "Outcome",
    "Problem",
    "State",
    "Task",
    "advance",
    "finish",
    "initial",
    "start",
    "subnetwork",
]
