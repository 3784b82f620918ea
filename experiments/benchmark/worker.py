"""Our own side of the benchmark in a process of its own: on one core, or fresh, or just started.

python -m experiments.benchmark.worker grid CORE LANES   # a time per line of standard input
python -m experiments.benchmark.worker growth DEVICES LANES WIDTH
python -m experiments.benchmark.worker start   # the digits study, up to its first step
"""

import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

import jax

COUNT = 12_800  # images, 100 steps


def command(*words: object) -> list[str]:
    """How to start it."""
    return [sys.executable, "-m", "experiments.benchmark.worker", *map(str, words)]


class Single:
    """A process that runs a grid of its own whenever it is asked, on one core."""

    def __init__(self, core: int, lanes: int = 1):
        """Starts it."""
        self._process = subprocess.Popen(
            command("grid", core, lanes), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self) -> None:
        """Sends it off."""
        self._process.stdin.write("go\n")
        self._process.stdin.flush()

    def answer(self) -> float:
        """Milliseconds of the run that it was sent off on."""
        return float(self._process.stdout.readline())

    def close(self) -> None:
        """Ends the process."""
        self._process.stdin.close()
        self._process.wait()


def growth(devices: int, lanes: int, width: float) -> dict[str, float]:
    """Time and memory of one lane's step, measured in a fresh process.

    Returns:
        n: weights; ms: per step and lane; mb: peak of the process over what it had before.
    """
    text = subprocess.run(
        command("growth", devices, lanes, width), check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    return json.loads(text.splitlines()[-1])


def first_step(cache: str) -> float:
    """Milliseconds that the digits study takes to its first step, with a folder for its cache."""
    with tempfile.TemporaryDirectory() as out:
        begun = time.perf_counter()
        subprocess.run(
            command("start", f"--out={out}/run"),
            check=True,
            stdout=subprocess.DEVNULL,
            env=os.environ | {"XDG_CACHE_HOME": cache},
        )
        return 1e3 * (time.perf_counter() - begun)


def grid_of(lanes: int, count: int = COUNT):
    """A grid of LeNet lanes over an epoch of noise, and a call that runs it."""
    from experiments.benchmark import measure
    from lth_jax import sweep
    from lth_jax.sweep import plan

    runner = sweep.Runner(measure.problem("lenet", epochs=1), measure.random_data("lenet", count))
    wanted = plan.lanes(["prune"], [], [0.5], range(lanes))
    return runner, wanted, lambda: list(runner.run(wanted))


def _grid(core, lanes):
    os.sched_setaffinity(0, {core})
    jax.config.update("jax_num_cpu_devices", 1)
    _, _, run = grid_of(lanes)
    for _ in sys.stdin:
        begun = time.perf_counter()
        run()
        print(1e3 * (time.perf_counter() - begun), flush=True)


def _peak_mb():
    try:
        # Not ru_maxrss: on Linux a process inherits it from the one that started it.
        text = pathlib.Path("/proc/self/status").read_text()
        return int(text.split("VmHWM:")[1].split()[0]) / 1024
    except (OSError, IndexError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _growth(devices, lanes, width):
    jax.config.update("jax_num_cpu_devices", devices)
    from experiments.benchmark import measure

    dataset, problem = measure.random_data("lenet", 2_560), measure.problem("lenet", width)
    jax.block_until_ready(jax.numpy.zeros(1))
    before = _peak_mb()
    stepper = measure.Stepper(problem, dataset, "prune", lanes)
    stepper.step(2)
    ms = min(stepper.step(10) for _ in range(5))
    n = sum(leaf.size for leaf in jax.tree.leaves(stepper.state.scores)) // lanes
    print(json.dumps({"n": n, "ms": ms, "mb": _peak_mb() - before}))


def _start(argv):
    import runpy

    from lth_jax import sweep

    run = sweep.Runner.run

    def first(*arguments):
        for _ in run(*arguments):
            os._exit(0)  # The first slice compiles and has no steps.

    sweep.Runner.run = first
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
