"""Jobs dealt to workers as they come and go: what is lost runs again elsewhere.

One worker more is asked for than there is room, as long as jobs wait: so nodes that join are used,
and a cluster that grows when it is asked does.
"""

import collections
import dataclasses
import time
from collections.abc import Iterator, Sequence
from typing import Any

from lth_jax import errors, sweep, training
from lth_jax.runs import engines, jobs
from lth_jax.runs.on_ray import cluster as ray_cluster
from lth_jax.runs.on_ray import worker
from lth_jax.sweep import snapshots

_TICK = 1.0  # seconds without news until progress is told all the same, and nodes looked for
_MOST_LOSSES = 5  # of one job's workers between two lanes or snapshots
_PATIENCE = 120.0  # seconds to wait for the last snapshots


class Engine:
    """A cluster and what its workers are to run: an engine like engines.Local."""

    def __init__(
        self, cluster: ray_cluster.Cluster, setup: worker.Setup, own: Sequence[training.Method]
    ):
        """Sends the data.

        Args:
            cluster: The cluster.
            setup: What is run.
            own: Methods that are not built in.

        Raises:
            InputError: If something in it cannot be sent to another process.
        """
        self.cluster, self.setup, self.own, self.devices = cluster, setup, own, cluster.devices
        try:
            self.sent = cluster.ray.put(setup)
        except Exception as error:  # Whatever pickle makes of it.
            what = ray_cluster.last_line(error)
            raise errors.InputError(f"engine: this study cannot be sent: {what}") from None

    def block_size(self, count: int) -> int:
        """Nodes per block of a single process whose rows stand in the same order."""
        return min(self.setup.max_lanes, count)

    def start(self, grid: jobs.Grid, minutes: float) -> engines.Work:
        """Plans a grid, see engines.Local."""
        return Work(self, grid, minutes)


@dataclasses.dataclass(eq=False)
class _Slot:
    """A worker as the driver knows it."""

    actor: Any
    job: jobs.Job | None = None
    saved_at: float = 0.0


class Work:
    """A grid on a cluster."""

    def __init__(self, engine: Engine, grid: jobs.Grid, minutes: float):
        """Cuts the grid; nothing runs before the first item is asked for."""
        cluster, setup = engine.cluster, engine.setup
        self._cluster, self._ray, self._seconds = cluster, cluster.ray, 60 * minutes
        devices = int(cluster.environment["devices"])
        # Lanes of a block wait for each other. Mapped ones gain nothing by that.
        count = 1 if setup.strategy == "map" else len(grid.wanted)
        size = min(max(setup.max_lanes // devices, 1), -(-count // devices)) * devices
        some = jobs.as_many(grid, size)
        self._given = ([engine.sent], engine.own, count)
        per_epoch = grid.config.steps_per_epoch(len(setup.dataset.train.labels))
        self._tally = engines.Tally(
            some, size, lambda stage: stage.steps(grid.config, per_epoch), grid.config
        )
        self._queue = collections.deque(some)
        self._slots: list[_Slot] = []
        self._asked: dict[Any, tuple[_Slot, str, jobs.Job | None]] = {}
        self._losses: collections.Counter[str] = collections.Counter()
        self._looked_at = -_TICK

    def __iter__(self) -> Iterator[engines.Item]:
        while self._queue or any(slot.job for slot in self._slots):
            self._hire()
            ready, _ = self._ray.wait(list(self._asked), timeout=_TICK)
            for answered in ready:
                yield from self._take(answered)
            if not ready:
                yield None, self._progress(None, None)

    def _hire(self) -> None:
        """Asks for as many workers as there are jobs, but only one more than there is room for."""
        if not self._queue or time.monotonic() - self._looked_at < _TICK:
            return
        self._looked_at = time.monotonic()
        busy = sum(slot.job is not None for slot in self._slots)
        wanted = min(busy + len(self._queue), self._cluster.room() + 1)
        while len(self._slots) < wanted:
            actor, self._cluster.spare = self._cluster.spare, None
            slot = _Slot(actor or self._cluster.hire())
            self._slots.append(slot)
            self._ask(slot, "about")

    def _ask(self, slot: _Slot, call: str, *given: Any) -> None:
        self._asked[getattr(slot.actor, call).remote(*given)] = (slot, call, slot.job)

    def _take(self, answered: Any) -> Iterator[engines.Item]:
        slot, call, job = self._asked.pop(answered, (None, "", None))
        if slot is None:
            return  # It was lost meanwhile.
        try:
            answer = self._ray.get(answered)
        except self._ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, errors.InputError | errors.RunError | MemoryError):
                raise error.cause from None
            raise
        except self._ray.exceptions.RayError as error:
            self._lose(slot, ray_cluster.last_line(error))
            return
        if call == "about":
            self._cluster.check(answer)
            self._assign(slot)
        elif call == "begin":
            self._ask(slot, "next")
        elif call == "snapshot":
            yield from self._keep(slot, job, answer)
        elif answer is None:
            if job is not None:
                self._tally.end(job)
            yield job, None
            self._assign(slot)
        else:
            yield from self._event(slot, answer)

    def _assign(self, slot: _Slot) -> None:
        """Gives a worker its next job; one without is given back."""
        slot.job, slot.saved_at = None, time.monotonic()
        if self._queue:
            slot.job = self._queue.popleft()
            self._ask(slot, "begin", *self._given, slot.job)
        else:
            self._dismiss(slot)

    def _keep(self, slot: _Slot, job: jobs.Job | None, answer: Any) -> Iterator[engines.Item]:
        if answer is not None and job is not None:
            self._losses.pop(job.place, None)
            if slot.job is not None and slot.job.place == job.place:
                slot.job = slot.job._replace(saved=(answer,))
            yield job, answer

    def _event(self, slot: _Slot, event: sweep.Event) -> Iterator[engines.Item]:
        job = slot.job
        assert job is not None  # It has news.
        if isinstance(event, sweep.Finished):
            self._tally.lanes += 1
            self._losses.pop(job.place, None)
            slot.job = job = job._replace(done=job.done | {event.lane})
        elif isinstance(event, sweep.Progress):
            if time.monotonic() - slot.saved_at >= self._seconds:
                slot.saved_at = time.monotonic()
                self._ask(slot, "snapshot")
            event = self._progress(job, event)
        self._ask(slot, "next")  # While the caller writes.
        yield job, event

    def _progress(self, job: jobs.Job | None, event: sweep.Progress | None) -> sweep.Progress:
        busy = sum(slot.job is not None for slot in self._slots)
        stage = f"{busy} {'worker' if busy == 1 else 'workers'}" if busy else "waiting for workers"
        return self._tally.progress(job, event, stage)

    def _lose(self, slot: _Slot, why: str) -> None:
        """Puts a lost worker's job first in the queue, with what is known of it."""
        self._dismiss(slot)
        place = "" if slot.job is None else slot.job.place
        self._losses[place] += 1
        if self._losses[place] >= _MOST_LOSSES:
            raise errors.RunError(f"{_MOST_LOSSES} workers in turn were lost: {why}")
        if slot.job is not None:
            self._queue.appendleft(slot.job)
            self._cluster.tell(f"a worker was lost, its job runs again: {why}")
        self._looked_at = -_TICK

    def _dismiss(self, slot: _Slot) -> None:
        self._slots.remove(slot)
        self._asked = {ref: about for ref, about in self._asked.items() if about[0] is not slot}
        self._ray.kill(slot.actor)

    def stop(self) -> Iterator[engines.Item]:
        """See engines.Work: waits for the slices that run."""
        busy = [slot for slot in self._slots if slot.job is not None]
        last = [(slot, slot.actor.stop.remote()) for slot in busy]
        until = time.monotonic() + _PATIENCE
        for slot, asked in last:
            before = [ref for ref, about in self._asked.items() if about[:2] == (slot, "next")]
            try:
                left = max(0.0, until - time.monotonic())
                *events, (ready, snapshot) = self._ray.get([*before, asked], timeout=left)
            except self._ray.exceptions.RayError as error:
                why = ray_cluster.last_line(error)
                self._cluster.tell(f"a worker's last steps are not saved: {why}")
                continue
            done = [event for event in [*events, *ready] if isinstance(event, sweep.Finished)]
            yield from ((slot.job, event) for event in done)
            if isinstance(snapshot, snapshots.Snapshot):
                yield slot.job, snapshot

    def close(self) -> None:
        """Gives all workers back."""
        for slot in [*self._slots]:
            self._dismiss(slot)
