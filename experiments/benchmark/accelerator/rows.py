"""Lane-steps per second of edge-popup on one accelerator: strategies side by side, and PyTorch's.

A row is a net, a number of lanes and a strategy. What it may reach is told by the bytes and the
operations of a step: bytes are at most those that the kernels of the compiled program read and
write, operations are three times those of a forward pass.
"""

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax

from experiments.aot import counts, ideal
from experiments.benchmark import measure
from experiments.benchmark.accelerator import hardware, lane_laws, sizes, torch_steps
from lth_jax import numerics
from lth_jax.training import methods


def names(net: str, lanes: int) -> list[str]:
    """The rows of a net and a number of lanes."""
    return [f"accelerator/{net}/{lanes}_lanes/{s}" for s in lane_laws.STRATEGIES]


def groups(size: sizes.Sizes, precision: numerics.Precision) -> list[measure.Group]:
    """All rows; those of a net and a number of lanes take turns, with PyTorch."""
    return [
        measure.Group(
            dict.fromkeys(names(net, lanes)),
            functools.partial(_measure, net, lanes, size, precision),
            needs_torch=False,
        )
        for net, several in sizes.LANES.items()
        for lanes in several
    ]


def _measure(
    net: str,
    lanes: int,
    size: sizes.Sizes,
    precision: numerics.Precision,
    group: measure.Group,
    rounds: int,
) -> list[measure.Row]:
    peers, others = torch_steps.timed(net, lanes, size, precision)  # They start meanwhile.
    problem = measure.problem(net, size.width, batch=size.batch, microbatch=0, precision=precision)
    dataset = measure.random_data(net, 2 * sizes.MOST_STEPS * size.batch)
    ours: dict[str, measure.Stepper] = {}
    failed: dict[str, str] = {}
    for name in group.targets:
        strategy = name.rsplit("/")[-1]
        device = [jax.local_devices()[0]]
        try:
            ours[name] = measure.Stepper(
                problem, dataset, methods.PRUNE, lanes, strategy=strategy, devices=device
            )
        except jax.errors.JaxRuntimeError as error:  # As it does not fit the memory.
            failed[name] = " ".join(str(error).split())[:200]
    timed: dict[str, Callable[[], float]] = {
        name: functools.partial(stepper.step, _steps(stepper, size))
        for name, stepper in ours.items()
    }
    times = measure.in_turn({**timed, **peers}, rounds, list(peers))
    for process in others:
        process.close()
    said = {name: min(t) for name, t in times.items() if name not in ours}
    able = {name: ms for name, ms in said.items() if math.isfinite(ms)}
    best = measure.median({n: times[n] for n in able}, "") if able else (None, None)
    rates = hardware.measured(size, precision)
    rows = [measure.Row(name, None, None, None, {}, why) for name, why in failed.items()]
    for name, stepper in ours.items():
        ms = measure.median({name: times[name]}, "")[1]
        notes = {
            "lanes": lanes,
            "precision": precision,
            "compile_ms": stepper.compile_ms,
            "peer": best[0],
            "peers_ms": {n: ms if math.isfinite(ms) else None for n, ms in said.items()},
            **_shares(stepper, ms, rates, precision),
        }
        rows.append(measure.Row(name, ms, best[1], None, notes))
    return rows


def _steps(stepper: measure.Stepper, size: sizes.Sizes) -> int:
    """So many that a call takes as long as it should."""
    stepper.step(1)
    ms = stepper.step(2) * stepper.size
    return max(2, min(sizes.MOST_STEPS, math.ceil(1e3 * size.seconds / ms)))


def _shares(
    stepper: measure.Stepper, ms: float, rates: Mapping[str, float], precision: str
) -> dict[str, Any]:
    """Of what the card can do in the time of a step."""
    strategy, lanes = stepper.programs.strategy, stepper.size
    text = stepper.lowered().compile().as_text()
    in_a_loop = lanes if strategy == "map" and lanes > 1 else None
    counted = counts.of(text, in_a_loop, around=int(strategy != "map" or lanes > 1))
    problem = stepper.programs.problem
    shape = problem.model.architecture.shape
    seconds = 1e-3 * ms * lanes  # of a step of all lanes
    moved, done = counted.bytes / seconds, ideal.step_flops(problem, shape) * lanes / seconds
    found = {
        "lane_steps_per_second": 1e3 / ms,
        "kernels": counted.kernels,
        "dynamic_loops": counted.dynamic_loops,
        "step_bytes": counted.bytes,
        "share_of_measured_bandwidth": moved / rates["bytes_per_second"],
        "share_of_measured_product": done / rates["flops_per_second"],
        **rates,
    }
    if sheet := hardware.peak(jax.local_devices()[0].device_kind):
        found["share_of_bandwidth"] = moved / sheet.bandwidth
        found["share_of_matrix_peak"] = done / sheet._asdict()[precision]
    return found
