"""A process of the cluster: it runs one job after the other and gives one event at a time."""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax

from lth_jax import datasets, sweep, training
from lth_jax.runs import folder, jobs
from lth_jax.sweep import programs, snapshots

_SWITCHES = (
    "jax_threefry_partitionable",
    "jax_default_matmul_precision",
    "jax_enable_x64",
    "jax_compilation_cache_dir",
    "jax_persistent_cache_min_compile_time_secs",
)


class Setup(NamedTuple):
    """What every worker needs; its arrays travel once per node."""

    problem: training.Problem
    dataset: datasets.Dataset
    strategy: programs.Strategy
    max_lanes: int


def about() -> dict[str, Any]:
    """What rows of this process depend on: versions, switches, code, device."""
    code = {"lth_jax": sys.modules["lth_jax"].__version__, "git": folder.git_revision()}
    return folder.environment() | code | {"platform": jax.local_devices()[0].platform}


def switches() -> dict[str, Any]:
    """How JAX is set up here."""
    return {name: getattr(jax.config, name) for name in _SWITCHES}


class Worker:
    """An actor; its calls are made in order."""

    def __init__(self, cpu_devices: int, switches: Mapping[str, Any]):
        """Sets JAX up as the driver has it: its process has no other use, and no backend yet.

        Args:
            cpu_devices: Of JAX, and threads of XLA: as many CPUs as Ray keeps for this process. By
                default XLA takes a thread per core, in each of the processes that share a node.
            switches: From `switches`.
        """
        os.environ.setdefault("NPROC", str(cpu_devices))
        set_jax: Callable[[str, Any], None] = jax.config.update
        for name, value in {"jax_num_cpu_devices": cpu_devices, **switches}.items():
            set_jax(name, value)
        self._runner: sweep.Runner | None = None
        self._run: sweep.Run | None = None

    def about(self) -> dict[str, Any]:
        """See the function."""
        return about()

    def begin(
        self, setup: Sequence[Any], own: Sequence[training.Method], count: int, job: jobs.Job
    ) -> None:
        """Plans a job.

        Args:
            setup: A reference to a Setup.
            own: Methods that are not built in.
            count: Of lanes, for the size of a block.
            job: The job.
        """
        if self._runner is None:
            import ray

            self._runner = sweep.Runner(*ray.get(setup[0]))
        for method in own:
            if method.name not in training.METHODS:  # What is sent again is no longer the same.
                training.METHODS.register(method.name, method)
        size = self._runner.block_size(count)
        self._run = self._runner.run(job.lanes, job.done, job.saved, size, job.cut)

    def next(self) -> sweep.Event | None:
        """Runs up to the next event; None at the end."""
        return None if self._run is None else next(self._run, None)

    def snapshot(self) -> snapshots.Snapshot | None:
        """What another worker would need to go on."""
        return None if self._run is None else self._run.snapshot()

    def stop(self) -> tuple[list[sweep.Finished], snapshots.Snapshot | None]:
        """Lanes that are done, and the snapshot."""
        return [] if self._run is None else list(self._run.ready()), self.snapshot()
