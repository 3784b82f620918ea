"""Benchmark: whole grids, checkpoints, starting from a warm cache, and how costs grow."""

import os
import statistics
import tempfile
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from experiments.benchmark import measure, own_process, processes
from experiments.cli import image_flags
from lth_jax import sweep, training
from lth_jax.runs import checkpoints
from lth_jax.sweep import memory, snapshots

_LANES = 32
_WIDTHS, _BLOCKS = (1, 2, 4, 8), (2, 4, 8, 16)


def _grid(group: measure.Group, rounds: int) -> list[measure.Row]:
    """A grid of 32 lanes against a run of one lane on each core, at the same time."""
    _, _, run = own_process.grid_of(_LANES)
    cores = sorted(os.sched_getaffinity(0))[: len(jax.local_devices())]
    singles = [own_process.on_core(core) for core in cores]
    timed = {
        "ours": lambda: measure.milliseconds(run) / _LANES,
        "peer": lambda: processes.together(singles, "go"),
    }
    times = measure.in_turn(timed, rounds)
    for single in singles:
        single.close()
    notes = {"peer": "a run of one lane on each core, over their number", "steps": 100}
    ours, peer = (statistics.median(times[name]) for name in ("ours", "peer"))
    return [measure.Row(name, ours, peer, t, notes) for name, t in group.targets.items()]


def _checkpoint(group: measure.Group, rounds: int) -> list[measure.Row]:
    """The time between two checkpoints with and without writing one, for a block of 16 lanes."""
    runner, wanted, _ = own_process.grid_of(16, 1_280)
    times: list[float] = []
    size = 0
    with tempfile.TemporaryDirectory() as folder:
        while len(times) < rounds + 1:
            run = runner.run(wanted)
            for event in run:
                if not isinstance(event, sweep.Progress) or len(times) == rounds + 1:
                    continue

                def save(run: sweep.Run = run) -> None:
                    nonlocal size
                    meta, arrays = snapshots.to_stored(run.snapshot())
                    size = sum(a.nbytes for a in arrays.values())
                    checkpoints.save(folder, meta, arrays)

                times.append(measure.milliseconds(save))
    save_ms = statistics.median(times[1:])
    between = 60e3 * image_flags.Config().checkpoint_minutes
    notes = {"save_ms": save_ms, "megabytes": size / 1e6, "overhead": save_ms / between}
    return [
        measure.Row(name, between + save_ms, between, target, notes)
        for name, target in group.targets.items()
    ]


def _startup(group: measure.Group, rounds: int) -> list[measure.Row]:
    """A second start against the first, with an empty cache folder in every round."""
    cold, warm = [], []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as cache:
            cold.append(own_process.first_step(cache))
            warm.append(own_process.first_step(cache))
    ours, peer = statistics.median(warm), statistics.median(cold)
    return [
        measure.Row(name, ours, peer, target, {"peer": "the first start"})
        for name, target in group.targets.items()
    ]


def exponent(x: Sequence[float], y: Sequence[float]) -> float:
    """The p of the power law y = c · x^p that fits best in logarithms."""
    return float(np.polyfit(np.log(x), np.log(np.maximum(y, 1e-9)), 1)[0])


def _estimate() -> int:
    data, test = training.lane_data(measure.random_data("lenet", 2_560))
    return memory.of_run(measure.problem("lenet"), "map", data, test, "cpu").lane


def _growth(group: measure.Group, rounds: int) -> list[measure.Row]:
    """Each point in a process of its own; the peer is what linear growth would take."""
    del rounds  # A point is the least of five already.
    devices = len(jax.local_devices())
    points = {
        "growth/weights": [(devices, devices, width) for width in _WIDTHS],
        "growth/lanes": [(devices, lanes, 1) for lanes in _BLOCKS],
        "growth/devices": [(count, 8, 1) for count in range(1, devices + 1)],
    }
    rows = []
    for name, target in group.targets.items():
        found = [own_process.growth(*point) for point in points[name]]
        axes: dict[str, list[float]] = {
            "growth/weights": [f["n"] for f in found],
            "growth/lanes": [lanes for _, lanes, _ in points[name]],
            "growth/devices": [devices for devices, _, _ in points[name]],
        }
        x = axes[name]
        # Per block: a step of all its lanes.
        ms = [f["ms"] * p[1] for f, p in zip(found, points[name], strict=True)]
        notes: dict[str, Any] = {"x": x, "ms": ms, "mb": [f["mb"] for f in found]}
        if name == "growth/lanes":
            notes["mb_per_lane"] = float(np.polyfit(x, notes["mb"], 1)[0])
            notes["mb_per_lane_estimated"] = _estimate() / 1e6
        if len(x) > 1:
            notes["exponent_time"] = exponent(x, ms)
            notes["exponent_memory"] = exponent(x, notes["mb"])
        scale = x[0] / x[-1] if name == "growth/devices" else x[-1] / x[0]
        rows.append(measure.Row(name, ms[-1], ms[0] * scale, target, notes))
    return rows


GROUPS = [
    measure.Group({"grid/32_lanes": 1 / 1.05}, _grid, needs_torch=False),
    measure.Group({"checkpoint/16_lanes": 0.97}, _checkpoint, needs_torch=False),
    measure.Group({"startup/warm_cache": 2.0}, _startup, needs_torch=False),
    measure.Group(
        {"growth/weights": None, "growth/lanes": None, "growth/devices": None},
        _growth,
        needs_torch=False,
    ),
]
