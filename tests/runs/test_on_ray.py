"""How jobs are dealt to workers that come and go, on a cluster that is made up: no Ray needed."""

import collections
import itertools
import types

import pytest
import tiny

from lth_jax import errors, sweep
from lth_jax.runs import jobs
from lth_jax.runs.on_ray import work, worker
from lth_jax.sweep import plan, snapshots

WANTED = plan.lanes(["perturb_then_prune", "prune"], [0.0, 0.1], [0.5, 0.9], range(3))


class RayError(Exception):
    pass


class RayTaskError(RayError):
    def __init__(self, cause):
        super().__init__(f"trace\n{cause}")
        self.cause = cause


class Answer:
    def __init__(self, result=None, error=None):
        self.result, self.error = result, error

    def get(self):
        if self.error is not None:
            raise self.error
        return self.result


class Actor:
    """Calls are made at once and in order; a worker that is lost answers no more."""

    def __init__(self, cluster):
        self.cluster, self.alive, self.events = cluster, True, iter(())

    def __getattr__(self, name):
        def remote(*given):
            try:
                result = self.answer(name, *given)
            except RayError as error:
                return Answer(error=error)
            return Answer(result)

        return types.SimpleNamespace(remote=remote)

    def answer(self, name, *given):
        if not self.alive:
            raise RayError("trace\nthe node is gone")
        if name == "about":
            return {}
        if name == "begin":
            self.job = given[-1]
            self.cluster.begun.append(self.job)
            self.events = self.run(self.job)
        elif name == "next":
            return next(self.events, None)
        return ([], self.state()) if name == "stop" else self.state()

    def state(self):
        return snapshots.Snapshot((), ("node",), self.steps, 0.0, {})

    def run(self, job):
        left = [lane for lane in job.lanes if lane not in job.done]
        for self.steps, lane in enumerate(left, 1):
            yield sweep.Progress("prune", self.steps, len(left), 1.0)
            self.cluster.at(self, lane)
            self.cluster.ran.append(lane)
            yield sweep.Finished(lane, {}, (), (), (), ())


class Cluster:
    def __init__(self, room=2, at=lambda actor, lane: None):
        self.slots, self.at, self.spare = room, at, None
        self.begun, self.told, self.ran, self.most, self.actors = [], [], [], 0, []
        self.environment, self.tell, self.check = {"devices": 1}, self.told.append, lambda about: 0
        self.devices, self.ray = room, self
        self.exceptions = types.SimpleNamespace(RayError=RayError, RayTaskError=RayTaskError)

    def room(self):
        return self.slots

    def hire(self):
        self.actors.append(Actor(self))
        self.most = max(self.most, sum(actor.alive for actor in self.actors))
        return self.actors[-1]

    def put(self, setup):
        return setup

    def kill(self, actor):
        actor.alive = False

    def wait(self, asked, timeout):
        return asked[:1], []

    def get(self, asked, timeout=None):
        return [one.get() for one in asked] if isinstance(asked, list) else asked.get()


def started(cluster, minutes=0.0):
    setup = worker.Setup(tiny.problem(), tiny.dataset(), "map", 16)
    engine = work.Engine(cluster, setup, [])
    return engine.start(jobs.Grid(WANTED, (), (), tiny.CONFIG), minutes)


def lose(actor, lane):
    actor.alive = False
    raise RayError("trace\nkilled")


def test_every_lane_is_finished_once_and_never_more_workers_are_asked_for_than_one_too_many():
    cluster = Cluster()
    running = started(cluster)
    items = list(running)
    done = [item.lane for _, item in items if isinstance(item, sweep.Finished)]
    assert collections.Counter(done) == collections.Counter(WANTED)
    assert [job.place for job, item in items if item is None] and cluster.most == 3
    last = [item for _, item in items if isinstance(item, sweep.Progress)][-1]
    assert last.lane_steps == last.all_lane_steps == last.all_lanes == len(WANTED)
    assert not any(actor.alive for actor in cluster.actors)  # Given back, without being closed.


def test_a_lost_workers_job_goes_on_from_what_is_known_of_it():
    lost = []

    def at(actor, lane):
        if actor.steps == 2 and not lost:
            lost.append(actor.job)
            lose(actor, lane)

    cluster = Cluster(at=at)
    items = list(started(cluster))
    done = [item.lane for _, item in items if isinstance(item, sweep.Finished)]
    assert collections.Counter(done) == collections.Counter(WANTED)
    (again,) = [job for job in cluster.begun if job.place == lost[0].place and job is not lost[0]]
    assert len(again.done) == 1 and again.saved[0].step == 2
    assert cluster.told == ["a worker was lost, its job runs again: killed"]


def test_a_job_that_ends_every_worker_ends_the_run_in_a_line():
    cluster = Cluster(at=lambda actor, lane: lose(actor, lane) if lane == WANTED[4] else None)
    with pytest.raises(errors.RunError, match="5 workers in turn were lost: killed"):
        list(started(cluster, minutes=1.0))


def test_what_a_worker_refuses_is_told_as_if_it_were_here():
    def at(actor, lane):
        raise RayTaskError(errors.RunError("no memory"))

    with pytest.raises(errors.RunError, match="^no memory$"):
        list(started(Cluster(at=at)))


@pytest.mark.parametrize("count", range(1, 40))
def test_stopping_at_any_moment_saves_what_runs_and_loses_no_lane(count):
    cluster = Cluster()
    running = started(cluster, minutes=1.0)
    items = list(itertools.islice(iter(running), count)) + (stopped := list(running.stop()))
    done = [item.lane for _, item in items if isinstance(item, sweep.Finished)]
    assert sorted(done, key=str) == sorted(cluster.ran, key=str)
    assert [job.place for job, item in stopped if isinstance(item, snapshots.Snapshot)]
    running.close()
    assert not any(actor.alive for actor in cluster.actors)
