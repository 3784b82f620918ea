"""How much the accelerator rows measure: all of it, or small enough to try the way on a CPU."""

from typing import NamedTuple

import jax

LANES = {"lenet": (1, 16, 64, 256)} | dict.fromkeys(("conv2", "conv4", "resnet18"), (1, 8, 32))
MOST_STEPS = 100  # of a measurement: less than an epoch


class Sizes(NamedTuple):
    """Of the laws and of what is timed."""

    width: float  # of the nets
    batch: int  # images per step
    ball_entries: int  # near the ends of the ball, over all norms and units
    selection: tuple[int, int]  # lanes, scores of each
    law_nets: tuple[str, ...]
    law_lanes: int
    seconds: float  # that one measurement takes, if MOST_STEPS are as many
    side: int  # of the matrices whose product is timed
    copied: int  # floats that are read and written to time the memory
    most_processes: int  # of PyTorch at once


FULL = Sizes(
    width=1.0,
    batch=128,
    ball_entries=10**9,
    selection=(64, 300_001),
    law_nets=("lenet", "conv2"),
    law_lanes=8,
    seconds=0.25,
    side=8192,
    copied=2**28,
    most_processes=8,
)
SMALL = Sizes(
    width=0.03,
    batch=16,
    ball_entries=60_000,
    selection=(3, 301),
    law_nets=("lenet",),
    law_lanes=2,
    seconds=0.0,
    side=256,
    copied=2**16,
    most_processes=2,
)


def accelerator() -> jax.Device | None:
    """The first device of this process that is no CPU."""
    return next((d for d in jax.local_devices() if d.platform != "cpu"), None)
