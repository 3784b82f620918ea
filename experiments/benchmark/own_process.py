"""Our own side of the benchmark in a process of its own: on one core, or fresh, or just started.

What `python -m experiments.benchmark.own_process` takes:

    grid CORE LANES              a run of a grid, and its time, for every line of standard input
    growth DEVICES LANES WIDTH   time and memory of a step
    start FLAGS                  the digits study, up to its first step
"""

import json
import os
import pathlib
import resource
import runpy
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax

from experiments.benchmark import measure, processes
from lth_jax import sweep
from lth_jax.sweep import plan
from lth_jax.training import methods

_MODULE = "experiments.benchmark.own_process"  # Started as a program it is called __main__.
COUNT = 12_800  # images, 100 steps


def on_core(core: int) -> processes.Process:
    """A process that runs a grid of one lane whenever it is asked, whatever the line says."""
    return processes.Process(_MODULE, "grid", core, 1)


def growth(devices: int, lanes: int, width: float) -> dict[str, float]:
    """Time and memory of one lane's step, measured in a fresh process.

    Returns:
        n: weights; ms: per step and lane; mb: peak of the process over what it had before.
    """
    command = processes.command(_MODULE, "growth", devices, lanes, width)
    text = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    found: dict[str, float] = json.loads(text.splitlines()[-1])
    return found


def first_step(cache: str) -> float:
    """Milliseconds that the digits study takes to its first step, with a folder for its cache."""
    with tempfile.TemporaryDirectory() as out:
        begun = time.perf_counter()
        subprocess.run(
            processes.command(_MODULE, "start", f"--out={out}/run"),
            check=True,
            stdout=subprocess.DEVNULL,
            env=os.environ | {"XDG_CACHE_HOME": cache},
        )
        return 1e3 * (time.perf_counter() - begun)


def grid_of(
    lanes: int, count: int = COUNT
) -> tuple[sweep.Runner, list[plan.Lane], Callable[[], object]]:
    """A grid of LeNet lanes over an epoch of noise, its lanes, and a call that runs it."""
    runner = sweep.Runner(measure.problem("lenet", epochs=1), measure.random_data("lenet", count))
    wanted = plan.lanes(["prune"], [], [0.5], range(lanes))
    return runner, wanted, lambda: list(runner.run(wanted))


def _grid(core: int, lanes: int) -> None:
    os.sched_setaffinity(0, {core})
    _set_devices(1)
    _, _, run = grid_of(lanes)
    for _ in sys.stdin:
        begun = time.perf_counter()
        run()
        print(1e3 * (time.perf_counter() - begun), flush=True)


def _set_devices(count: int) -> None:
    jax.config.update("jax_num_cpu_devices", count)  # type: ignore[no-untyped-call]  # Of JAX.


def _peak_mb() -> float:
    try:
        # Not ru_maxrss: on Linux a process inherits it from the one that started it.
        text = pathlib.Path("/proc/self/status").read_text()
        return int(text.split("VmHWM:")[1].split()[0]) / 1024
    except (OSError, IndexError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _growth(devices: int, lanes: int, width: float) -> None:
    _set_devices(devices)
    dataset, problem = measure.random_data("lenet", 2_560), measure.problem("lenet", width)
    jax.numpy.zeros(1).block_until_ready()
    before = _peak_mb()
    stepper = measure.Stepper(problem, dataset, methods.PRUNE, lanes)
    stepper.step(2)
    ms = min(stepper.step(10) for _ in range(5))
    n = sum(leaf.size for leaf in jax.tree.leaves(stepper.state.scores)) // lanes
    print(json.dumps({"n": n, "ms": ms, "mb": _peak_mb() - before}))


def _start(argv: Sequence[str]) -> None:
    run = sweep.Runner.run

    def first(*arguments: Any) -> Any:
        for _ in run(*arguments):
            os._exit(0)  # The first slice compiles and has no steps.

    sweep.Runner.run = first  # type: ignore[assignment, method-assign]  # It ends this process.
    sys.argv[1:] = argv
    runpy.run_module("experiments.digits", run_name="__main__")


def main(argv: list[str]) -> None:
    """Does what the first word says."""
    if argv[0] == "grid":
        _grid(int(argv[1]), int(argv[2]))
    elif argv[0] == "growth":
        _growth(int(argv[1]), int(argv[2]), float(argv[3]))
    else:
        _start(argv[1:])


if __name__ == "__main__":
    main(sys.argv[1:])
