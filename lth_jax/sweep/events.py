"""What a run over many lanes tells its caller while it goes on."""

from typing import Any, NamedTuple

import chex

from lth_jax.sweep import plan


class Compiling(NamedTuple):
    """A program is about to be compiled, or to be read from a cache; Compiled follows."""

    program: str  # as start_joint, advance_joint or finish
    expected: float = 0.0  # seconds that Progress.left had in it for this


class Compiled(NamedTuple):
    """A program is compiled and was run once: a start or a finish with its work, or no steps."""

    program: str
    seconds: float


class Progress(NamedTuple):
    """A slice is done."""

    stage: str  # name of the kind of stage, or how many workers there are
    lane_steps: int  # gradient steps times lanes since the run began
    all_lane_steps: int
    seconds: float  # of the slices so far, compiling left out
    lanes: int = 0  # that ended since the run began
    all_lanes: int = 0  # that the run is to end
    left: float | None = None  # seconds to the last lane, compiling and scoring among them


class Finished(NamedTuple):
    """A lane is done: its row, and the arrays that a ticket is made of."""

    lane: plan.Lane
    row: dict[str, Any]
    center: chex.ArrayTree
    weights: chex.ArrayTree
    mask: chex.ArrayTree
    state: chex.ArrayTree  # of the model: its running statistics
    network: chex.ArrayTree = ()  # where the pruner changes kept weights: what it made of them
    scores: chex.ArrayTree = ()  # None where a leaf is not pruned


Event = Compiling | Compiled | Progress | Finished
