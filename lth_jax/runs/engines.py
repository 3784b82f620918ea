"""Where the lanes of a study run: in this process, or on the workers of a Ray cluster (on_ray.py).

An engine cuts a grid into jobs and gives, as they come, the events of each, snapshots now and then,
and None at a job's end. Whoever takes them writes the folder.
"""

import dataclasses
import importlib.util
import re
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, Protocol

from lth_jax import sweep, training
from lth_jax.runs import jobs
from lth_jax.sweep import plan, snapshots

# None as a job: what is told of all together. None of a job: it is done.
Item = tuple[jobs.Job | None, sweep.Event | snapshots.Snapshot | None]


def _setting(default: Any, about: str) -> Any:
    """A field with its default and what it is, which a command line may show."""
    return dataclasses.field(default=default, metadata={"help": about})


@dataclasses.dataclass(frozen=True)
class Engine:
    """Where lanes run; it changes no number.

    Raises:
        ValueError: If a value is outside its range; the message begins with the field's name.
    """

    engine: Literal["local", "ray"] = _setting(
        "local", "Where lanes run: local is this process, ray the workers of a Ray cluster."
    )
    ray_address: str = _setting(
        "auto", "auto is the cluster that this machine is in, local one of its own; or HOST:PORT."
    )
    ray_cpus: int = _setting(1, "Cores of a worker; without accelerators also its devices.")
    ray_gpus: int = _setting(0, "GPUs of a worker.")
    ray_tpus: int = _setting(0, "TPU chips of a worker.")

    def __post_init__(self) -> None:
        if self.engine not in ("local", "ray"):
            raise ValueError(f"engine must be local or ray, got {self.engine!r}.")
        port = re.fullmatch(r"[^\s:/]+:(\d{1,5})", self.ray_address, re.ASCII)
        if self.ray_address not in ("auto", "local") and not (port and 0 < int(port[1]) < 2**16):
            raise ValueError(
                f"ray_address must be auto, local or HOST:PORT, got {self.ray_address!r}."
            )
        for name, least in (("ray_cpus", 1), ("ray_gpus", 0), ("ray_tpus", 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ValueError(f"{name} must be at least {least}, a whole number, got {value!r}.")
        if self.engine == "ray" and importlib.util.find_spec("ray") is None:
            raise ValueError("engine: ray is not installed here; pip install 'lth-jax[ray]'.")


class Work(Protocol):
    """A grid that runs as long as somebody takes what it gives."""

    def __iter__(self) -> Iterator[Item]:
        """What happens, in the order in which it comes."""

    def stop(self) -> Iterator[Item]:
        """Lanes that are done already and snapshots of what runs; no more steps are taken."""

    def close(self) -> None:
        """Gives back what it holds."""


class Local:
    """The devices of this process."""

    def __init__(self, runner: sweep.Runner):
        """Has the data on its devices.

        Args:
            runner: Runs lanes.
        """
        self.runner, self.devices = runner, runner.programs.devices

    def block_size(self, count: int) -> int:
        """Lanes per block for a grid of `count`."""
        return self.runner.block_size(count)

    def start(self, grid: jobs.Grid, minutes: float) -> Work:
        """Plans a grid.

        Args:
            grid: The grid.
            minutes: Between snapshots.
        """
        return _LocalWork(self.runner, grid, minutes)


class _LocalWork:
    """One job after the other."""

    def __init__(self, runner: sweep.Runner, grid: jobs.Grid, minutes: float):
        self._runner, self._seconds = runner, 60 * minutes
        self._size = runner.block_size(len(grid.wanted))
        self._jobs = jobs.as_one(grid, self._size)
        self._tally = Tally(self._jobs, self._size, runner.steps, grid.config)
        self._now: tuple[jobs.Job, sweep.Run] | None = None

    def __iter__(self) -> Iterator[Item]:
        saved_at = time.monotonic()
        for job in self._jobs:
            run = self._runner.run(job.lanes, job.done, job.saved, self._size, job.cut)
            self._now = job, run
            for event in run:
                if isinstance(event, sweep.Progress):
                    if time.monotonic() - saved_at >= self._seconds:
                        yield from self.stop()
                        saved_at = time.monotonic()
                    if len(self._jobs) > 1:
                        event = self._tally.progress(job, event, event.stage)
                elif isinstance(event, sweep.Finished):
                    self._tally.lanes += 1
                yield job, event
            self._tally.end(job)
            yield job, None

    def stop(self) -> Iterator[Item]:
        if self._now is not None:
            job, run = self._now
            yield from ((job, event) for event in run.ready())
            if (snapshot := run.snapshot()) is not None:
                yield job, snapshot

    def close(self) -> None:
        self._now = None


class Tally:
    """The progress of jobs as one."""

    def __init__(
        self,
        some: Sequence[jobs.Job],
        size: int,
        steps: Callable[[training.Stage], int],
        config: training.TrainConfig,
    ):
        """Counts what there is to do.

        Args:
            some: The jobs.
            size: Nodes per block.
            steps: Of a stage.
            config: See plan.nodes_of.
        """
        self.lanes = 0  # that are done
        self._all_lanes = sum(len({*job.lanes} - job.done) for job in some)
        self._begun: float | None = None
        self._taken, self._all = dict.fromkeys((job.place for job in some), 0), {}
        for job in some:
            blocks = list(plan.blocks(job.lanes, job.done, job.cut or size, config))
            self._all[job.place] = plan.lane_steps(blocks, steps)

    def end(self, job: jobs.Job) -> None:
        """A job is done: one that was found at its last step told of none, and takes none."""
        self._all[job.place] = self._taken[job.place]

    def progress(
        self, job: jobs.Job | None, event: sweep.Progress | None, stage: str
    ) -> sweep.Progress:
        """What is known of all jobs.

        Args:
            job: The one that has news; None without news.
            event: The news.
            stage: What to show as the stage.

        Returns:
            Steps and lanes of all. Time is that of the clock since the first news, and what is left
            goes on at the pace so far.
        """
        if job is not None and event is not None:
            self._taken[job.place], self._all[job.place] = event.lane_steps, event.all_lane_steps
            self._begun = time.monotonic() if self._begun is None else self._begun
        seconds = 0.0 if self._begun is None else time.monotonic() - self._begun
        taken, whole = sum(self._taken.values()), sum(self._all.values())
        left = seconds * (whole - taken) / taken if taken else None
        return sweep.Progress(stage, taken, whole, seconds, self.lanes, self._all_lanes, left)
