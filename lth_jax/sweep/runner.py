"""Many lanes: walks the plan block by block, in slices, and tells the caller what happens."""

import collections
import functools
import time
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from typing import Any, TypeVar

import chex
import jax
import numpy as np

from lth_jax import datasets, numerics, pruners, training
from lth_jax.perturb import ball
from lth_jax.sweep import (
    events,
    fits,
    memory,
    pace,
    plan,
    programs,
    resume,
    rows,
    snapshots,
)

_T = TypeVar("_T")

_FIRST_SLICE = 1  # steps; of a deep net on a CPU one may take minutes, and it hears no signal
_MOST_STEPS = 2**31 - 1  # they are counted in int32


def check(problem: training.Problem, dataset: datasets.Dataset, max_lanes: int) -> training.Initial:
    """Finds out, without computing anything, whether lanes can run.

    Args:
        problem: Model, pruner and config.
        dataset: Its training split must fill one batch.
        max_lanes: Most lanes held at once.

    Returns:
        The shapes of a lane's weights and scores.

    Raises:
        ValueError: If max_lanes < 1, jax's own switch contradicts the precision, the batch or the
            number of steps is too large, the model does not fit the images, nothing of it is
            pruned, the pruner does not keep its contract or does not fit the config, or one lane
            does not fit the memory.
    """
    config, images = problem.config, len(dataset.train.labels)
    fits.check(problem.pruner, config)
    if max_lanes < 1:
        raise ValueError(f"max_lanes must be at least 1, got {max_lanes}.")
    numerics.check_precision(config.precision)
    if config.batch_size > images:
        raise ValueError(
            f"batch_size must be at most the {images} training images, got {config.batch_size}."
        )
    steps = (config.perturb_epochs + config.prune_epochs) * config.steps_per_epoch(images)
    if steps > _MOST_STEPS:
        raise ValueError(f"epochs must come to at most {_MOST_STEPS} steps, got {steps}.")
    architecture, shape = problem.model.architecture, dataset.train.images.shape[1:]
    if config.augment and len(shape) != 3:
        raise ValueError(f"augment must be false for inputs that are no images [h, w, c]: {shape}.")
    if architecture is not None and architecture.shape != shape:
        raise ValueError(f"model: made for images {architecture.shape}, the data set has {shape}.")
    pruners.check(problem.pruner)
    sizes = training.lane_shapes(problem)
    if not any(leaf.size for leaf in jax.tree.leaves(sizes.scores)):
        raise ValueError(
            f"model: {problem.model.name!r} has nothing that {problem.pruner.name!r} prunes; say "
            "what its kernels are with prunable= or kernel_axes=."
        )
    memory.check_one_lane(problem, sizes)
    outputs = training.lane_outputs(problem, sizes, dataset)
    if outputs != dataset.outputs:
        what = "classes" if dataset.classes else "numbers"
        raise ValueError(f"model: gives {outputs} outputs for {dataset.outputs} {what}.")
    return sizes


class Runner:
    """A problem and its data on the devices, ready to run any lanes."""

    def __init__(
        self,
        problem: training.Problem,
        dataset: datasets.Dataset,
        strategy: programs.Strategy = "auto",
        max_lanes: int = 16,
        slice_seconds: float = 5.0,
    ):
        """Places the data on all devices.

        Args:
            problem: Model, pruner and config.
            dataset: Its training split must fill one batch.
            strategy: "auto", "map", "vmap" or "hybrid", see programs.py.
            max_lanes: Most lanes held at once by each accelerator, or by all devices of a CPU,
                which share its memory; fewer if memory.py says that they do not fit.
            slice_seconds: About how long a slice takes: how soon a caller can react.

        Raises:
            ValueError: If the strategy is unknown, or `check` refuses the rest.
        """
        self.sizes = check(problem, dataset, max_lanes)
        problem = problem._replace(config=problem.config.on(numerics.platform()))
        self.problem, self.dataset = problem, dataset
        self.max_lanes, self.slice_seconds = max_lanes, slice_seconds
        self.programs = programs.Programs(problem, strategy)
        self.data, self.test = self.programs.everywhere(training.lane_data(dataset))
        strategy, platform = self.programs.strategy, self.programs.platform
        self._fitting = memory.lanes_per_device(problem, strategy, self.data, self.test, platform)
        self._paces: dict[int, pace.Pace] = {}
        self._steps_per_epoch = problem.config.steps_per_epoch(len(dataset.train.labels))

    def steps(self, stage: training.Stage) -> int:
        """Gradient steps of a stage."""
        return stage.steps(self.problem.config, self._steps_per_epoch)

    def pace(self, size: int) -> pace.Pace:
        """What is known of the speed of blocks of a size: theirs are programs of their own."""
        if size not in self._paces:
            devices, strategy = self.programs.devices, self.programs.strategy
            scoring = pace.scoring_steps(self.problem, self.dataset) * size / devices
            self._paces[size] = pace.Pace(devices, strategy != "map", scoring)
        return self._paces[size]

    def block_size(self, count: int) -> int:
        """Lanes per block for a grid of `count`: a multiple of the devices, none without work.

        At most what `max_lanes` says, and no more than fit the devices by memory.py's estimate.
        """
        devices = self.programs.devices
        each = self.max_lanes // devices if self.programs.platform == "cpu" else self.max_lanes
        most = max(min(each, self._fitting), 1) * devices
        return min(most, -(-count // devices) * devices)

    def run(
        self,
        wanted: Sequence[plan.Lane],
        done: Collection[plan.Lane] = (),
        saved: Sequence[snapshots.Snapshot] = (),
        size: int | None = None,
        cut: int | None = None,
    ) -> "Run":
        """Runs every lane that is not done, as the caller takes events from what is returned.

        Args:
            wanted: The whole grid, in plan order.
            done: Lanes to leave out.
            saved: Snapshots of earlier runs of the same problem, the best first; a block whose
                lanes are all in one of them goes on from there.
            size: Lanes per block, a multiple of the devices; None is `block_size` of `wanted`.
            cut: How many of them may be taken; None is all.

        Returns:
            An iterator of events.

        Raises:
            ValueError: If there is a lane that `sweep.lanes` would not make.
        """
        return Run(self, wanted, done, saved, size or self.block_size(len(wanted)), cut)


class Run(Iterator[events.Event]):
    """One walk over a plan: an iterator of events.

    It gives Progress after every slice, at least once per block, and Finished for every lane, in an
    order that does not depend on what was done before; Compiling and Compiled around a program's
    first call.
    """

    def __init__(
        self,
        runner: Runner,
        wanted: Sequence[plan.Lane],
        done: Collection[plan.Lane],
        saved: Sequence[snapshots.Snapshot],
        size: int,
        cut: int | None = None,
    ):
        """Plans; nothing runs before the first event is asked for."""
        plan.check(wanted)
        self._runner, self._programs = runner, runner.programs
        self._size = size
        first = list(plan.blocks(wanted, set(done), min(cut or size, size), runner.problem.config))
        self._seconds, self._taken = 0.0, 0
        self._all = plan.lane_steps(first, runner.steps)
        self._pace, self._todo = runner.pace(self._size), collections.deque(plan.in_order(first))
        self._lanes, self._watch = 0, pace.Stopwatch()
        self._all_lanes = sum(len(ending) for block in self._todo for ending in block.lanes)
        self._saved = list(saved)
        self._above: list[resume.FinishedBlock] = []
        self._running: resume.RunningBlock | None = None
        self._ready: collections.deque[events.Finished] = collections.deque()
        self._events = self._walk(first)

    def __next__(self) -> events.Event:
        """Runs up to the next event."""
        return next(self._events)

    def ready(self) -> Iterator[events.Finished]:
        """The lanes that are done already, for a caller who stops here: takes no more steps."""
        while self._ready:
            yield self._ready.popleft()

    def snapshot(self) -> snapshots.Snapshot | None:
        """What another run would need to go on from here; call it between two events.

        Returns:
            Arrays on the host, or None if no block is in the middle of its steps.
        """
        return resume.snapshot(self._programs, self._size, self._above, self._running)

    def _walk(self, blocks: Sequence[plan.Block]) -> Iterator[events.Event]:
        for block in blocks:
            finished = self._from_snapshot(block)
            if finished is None:
                self._watch.read()
                finished = yield from self._run_stage(block)
                self._pace.add_around(block, self._watch.read())
            self._todo.popleft()
            self._above.append(finished)
            yield from self._walk(block.followers)
            self._above.pop()

    def _from_snapshot(self, block: plan.Block) -> resume.FinishedBlock | None:
        """The block as an earlier run left it; one with a row to write has to be run again."""
        if not self._saved or any(block.lanes):
            return None
        shapes = jax.eval_shape(self._programs.initial, self._task(block))
        radii = jax.eval_shape(self._radii, shapes)
        finished = resume.find_finished(
            self._programs, self._size, self._saved, block, shapes, radii
        )
        if finished is not None:
            self._all -= sum(block.needed) * self._runner.steps(block.stage)
        return finished

    def _task(self, block: plan.Block) -> training.Task:
        task_of = functools.partial(training.lane_task, self._runner.problem, self._runner.sizes)
        pairs = list(zip(block.nodes, block.needed, strict=True))
        values = [task_of(n.seed, n.eps, n.sparsity, active) for n, active in pairs]
        first = block.nodes[0]
        spare = task_of(first.seed, first.eps, first.sparsity, False)
        return self._programs.tasks(values, spare, self._size)

    def _least(self, lane: plan.Lane) -> chex.ArrayTree | None:
        """The floors of a lane, None without."""
        problem, sizes = self._runner.problem, self._runner.sizes
        kept = training.lane_task(problem, sizes, lane.seed, lane.eps, lane.sparsity).kept
        return getattr(kept, "least", None)

    def _radii(self, initial: training.Initial) -> chex.ArrayTree:
        """The radii of all lanes, for their shapes."""
        config = self._runner.problem.config

        def one(weights: chex.ArrayTree, scores: chex.ArrayTree) -> chex.ArrayTree:
            center = pruners.choose(weights, scores)
            return ball.radii(center, np.float32(1), config.eps_unit, config.norm)

        return jax.vmap(one)(initial.weights, initial.scores)

    def _begin(self, block: plan.Block, task: training.Task) -> training.State:
        """The block at its first step."""
        origin = self._programs.initial(task)
        begin = (origin.weights, origin.scores)
        if self._above:
            parent = self._above[-1]
            places = self._programs.places(len(block.nodes), self._size)
            above = self._programs.places(len(parent.history), self._size)
            places_above = np.zeros(self._size, np.int32)
            places_above[places] = above[list(block.parents)]
            begin = self._programs.gather((parent.weights, parent.scores), places_above)
        return self._programs.start(block.stage.kind, task, begin, origin)

    def _run_stage(self, block: plan.Block) -> Generator[events.Event, None, resume.FinishedBlock]:
        """Runs a block from its start or from a snapshot; gives events, returns what it leaves."""
        task = self._task(block)
        begin = functools.partial(self._begin, block, task)
        if self._saved:
            shapes = jax.eval_shape(begin)
            self._running = resume.find_running(
                self._programs, self._size, self._saved, block, shapes
            )
        if self._running is None:
            draw = functools.partial(self._programs.initial, task)
            if pace.INITIAL not in self._pace.compiled:  # Else `begin` would compile two at once.
                yield from self._first(pace.INITIAL, block, draw)
            state = yield from self._first(pace.start_name(block.stage.kind), block, begin)
            self._running = resume.RunningBlock(block, 0, state, 0.0)
            del state
        if self._runner.steps(block.stage):
            yield from self._advance(self._running, task)
        else:  # So that a caller can react between any two blocks.
            yield self._progress(block, 0)
        return (yield from self._end(task))

    def _first(
        self, program: str, block: plan.Block, call: Callable[[], _T]
    ) -> Generator[events.Event, None, _T]:
        """Calls; if for the first time, says so before and after, for that compiles."""
        if program in self._pace.compiled:
            return call()
        yield self._compiling(program, block)
        begun = time.perf_counter()
        result: _T = jax.block_until_ready(call())
        yield self._compiled(program, time.perf_counter() - begun)
        return result

    def _compiling(self, program: str, block: plan.Block) -> events.Compiling:
        return events.Compiling(program, self._pace.compile_seconds(program, block.stage.kind))

    def _compiled(self, program: str, seconds: float) -> events.Compiled:
        self._pace.compiled[program] = seconds
        self._watch.take_out(seconds)
        return events.Compiled(program, seconds)

    def _end(self, task: training.Task) -> Generator[events.Event, None, resume.FinishedBlock]:
        """The rows of the lanes that end with the running block; returns what followers need."""
        assert self._running is not None
        runner, block, state = self._runner, self._running.block, self._running.state
        aside: Any = dict.fromkeys(("weights", "pruner_state", "opt_state"), ())
        read: Any = state._replace(**aside)
        outcome: Any = ()
        if any(block.lanes):
            given = (state, task, runner.data, runner.test)
            compile_it = functools.partial(self._programs.compile_finish, *given)
            yield from self._first(pace.FINISH, block, compile_it)
            begun = time.perf_counter()
            outcome = jax.device_get(self._programs.finish(*given))
            seconds = time.perf_counter() - begun
            self._pace.add_finish(seconds)
            self._watch.take_out(seconds)
            del given, compile_it  # They hold the state.
        ended, self._running = self._running, None
        read = jax.device_get(read)
        finished = resume.FinishedBlock(block, state.weights, state.scores, [])
        seconds, steps = ended.seconds / sum(block.needed), runner.steps(block.stage)
        del state, ended
        parent = self._above[-1] if self._above else None
        images = len(runner.dataset.watched.labels)
        places = self._programs.places(len(block.nodes), self._size)
        for index, place in enumerate(places):
            before = parent.history[block.parents[index]] if parent else rows.History()
            if not block.needed[index]:  # A snapshot may have had nothing of it.
                finished.history.append(before)
                continue
            own, ours = jax.tree.map(lambda leaf, at=place: leaf[at], (read, outcome))
            history = rows.extend(before, block.stage.kind, steps, own, images, seconds)
            finished.history.append(history)
            for lane in block.lanes[index]:
                config = runner.problem.config
                row = rows.make_row(lane, history, ours, own.center, runner.dataset, config)
                row["strategy"] = self._programs.strategy
                if runner.problem.pruner.scope != "tensor":
                    row |= rows.by_tensor(ours.mask, self._least(lane))
                refound = runner.problem.model.batch_state is not None
                model_state = ours.model_state if refound else own.model_state
                left = (own.center, ours.weights, ours.mask, model_state, ours.network)
                self._ready.append(events.Finished(lane, row, *left, own.scores))
                self._lanes += 1
        while self._ready:
            yield self._ready.popleft()
        return finished

    def _advance(self, running: resume.RunningBlock, task: training.Task) -> Iterator[events.Event]:
        """Takes the steps of a block, slice by slice."""
        block, step, state, spent = running
        kind, total = block.stage.kind, self._runner.steps(block.stage)
        program, slices = pace.advance_name(kind), self._pace.slices
        del running
        active = sum(block.needed)
        self._all -= active * step
        while step < total:
            # The first slice has no steps: it compiles. The second is short: it tells the speed.
            compiles = program not in self._pace.compiled
            until = step if compiles else min(total, step + slices.get(kind, _FIRST_SLICE))
            if compiles:
                yield self._compiling(program, block)
            # Its arrays are given away: if the slice fails there is nothing to snapshot.
            self._running = None
            begun = time.perf_counter()
            state = self._programs.advance(kind, state, task, self._runner.data, step, until, total)
            jax.block_until_ready(state.diverged)
            seconds = time.perf_counter() - begun
            if not compiles:
                spent += seconds
                self._seconds += seconds
                self._pace.add_steps(block, until - step, seconds)
                self._watch.take_out(seconds)
                slices[kind] = max(1, int(self._runner.slice_seconds * (until - step) / seconds))
            self._taken += active * (until - step)
            step = until
            self._running = resume.RunningBlock(block, step, state, spent)
            if compiles:
                yield self._compiled(program, seconds)
            yield self._progress(block, step)

    def _progress(self, block: plan.Block, step: int) -> events.Progress:
        left = self._pace.left(list(self._todo), self._runner.steps, step)
        counts = (self._taken, self._all, self._seconds, self._lanes, self._all_lanes)
        return events.Progress(block.stage.kind.name, *counts, left)
