"""Stages and methods of one lane: what moves, through which mask, for how long."""

from lth_jax.training.config import SCHEDULES, TrainConfig
from lth_jax.training.lane import data as lane_data
from lth_jax.training.lane import outputs as lane_outputs
from lth_jax.training.lane import shapes as lane_shapes
from lth_jax.training.lane import task as lane_task
from lth_jax.training.methods import (
    METHODS,
    Method,
    MethodName,
    Stage,
    StageKind,
    register,
)
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
    "METHODS",
    "SCHEDULES",
    "Data",
    "Initial",
    "Method",
    "MethodName",
    "Outcome",
    "Problem",
    "Stage",
    "StageKind",
    "State",
    "Task",
    "TrainConfig",
    "advance",
    "finish",
    "initial",
    "lane_data",
    "lane_outputs",
    "lane_shapes",
    "lane_task",
    "register",
    "start",
    "subnetwork",
]
