"""Many lanes: walks the plan block by block, in slices, and tells the caller what happens."""

import functools
import math
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from lth_jax import datasets, training
from lth_jax.masks import selection
from lth_jax.perturb import ball, rounding
from lth_jax.pruners import base as pruners
from lth_jax.sweep import memory, plan, programs, resume, rows, snapshots
from lth_jax.training import methods, scoring

PyTree = Any
_FIRST_SLICE = 20  # steps
_MOST_STEPS = 2**31 - 1  # they are counted in int32


class Progress(NamedTuple):
    """A slice is done."""

    kind: str
    lane_steps: int  # gradient steps times lanes since the start of this call
    all_lane_steps: int
    seconds: float  # of the slices so far, compiling left out


class Finished(NamedTuple):
    """A lane is done: its row, and the arrays that a ticket is made of."""

    lane: plan.Lane
    row: dict[str, Any]
    center: PyTree
    weights: PyTree
    mask: PyTree


def check(problem: training.Problem, dataset: datasets.Dataset, max_lanes: int) -> training.Initial:
    """Finds out, without computing anything, whether a grid can run.

    Args:
        problem: Model, pruner and recipe.
        dataset: Its training split must fill one batch.
        max_lanes: Most lanes held at once.

    Returns:
        The shapes of a lane's weights and scores.

    Raises:
        ValueError: If max_lanes < 1, the batch or the number of steps is too large or the model
            does not fit the images.
    """
    recipe, images = problem.recipe, len(dataset.train.labels)
    if max_lanes < 1:
        raise ValueError(f"max_lanes must be at least 1, got {max_lanes}.")
    if recipe.batch_size > images:
        raise ValueError(
            f"batch_size must be at most the {images} training images, got {recipe.batch_size}."
        )
    steps = (recipe.perturb_epochs + recipe.prune_epochs) * (images // recipe.batch_size)
    if steps > _MOST_STEPS:
        raise ValueError(f"epochs must come to at most {_MOST_STEPS} steps, got {steps}.")
    key = jax.eval_shape(lambda: jax.random.key(0))
    return jax.eval_shape(lambda key: training.initial(problem, key), key)


class Grid:
    """A problem and its data on the devices, ready to run any lanes."""

    def __init__(
        self,
        problem: training.Problem,
        dataset: datasets.Dataset,
        strategy: str = "auto",
        max_lanes: int = 16,
        slice_seconds: float = 5.0,
    ):
        """Places the data on all devices.

        Args:
            problem: Model, pruner and recipe.
            dataset: Its training split must fill one batch.
            strategy: "auto", "map" or "vmap", see lanes.py.
            max_lanes: Most lanes held at once; fewer if memory.py says that they do not fit.
            slice_seconds: About how long a slice takes: how soon a caller can react.

        Raises:
            ValueError: If the strategy is unknown, max_lanes < 1, the batch is too large or the
                model does not fit the images.
        """
        initial = check(problem, dataset, max_lanes)
        recipe, images = problem.recipe, len(dataset.train.labels)
        self.problem, self.dataset = problem, dataset
        self.max_lanes, self.slice_seconds = max_lanes, slice_seconds
        self._sizes = initial.scores
        self.programs = programs.Programs(problem, strategy)
        image = jax.ShapeDtypeStruct(dataset.train.images.shape[1:], dataset.train.images.dtype)
        self._fitting = memory.lanes_per_device(problem, self.programs.strategy, image)
        self._data = self.programs.everywhere(
            training.Data(
                *dataset.train, scoring.chunks(dataset.validation), dataset.mean, dataset.std
            )
        )
        self._test = self.programs.everywhere(scoring.chunks(dataset.test))
        self._slice: dict[str, int] = {}  # steps in the next slice, by kind
        steps_per_epoch = images // recipe.batch_size
        self._steps = {
            stage: recipe.epochs(stage) * steps_per_epoch if methods.MOVES[stage.kind] else 0
            for stages in methods.METHODS.values()
            for stage in stages
        }

    def block_size(self, count: int) -> int:
        """Lanes per block for a grid of `count`: a multiple of the devices, none without work.

        At most `max_lanes`, and no more than fit the devices by the estimate of memory.py.
        """
        devices = self.programs.devices
        most = max(min(self.max_lanes // devices, self._fitting), 1) * devices
        return min(most, -(-count // devices) * devices)

    def run(
        self,
        wanted: Sequence[plan.Lane],
        done: set[plan.Lane] = frozenset(),
        saved: Sequence[snapshots.Snapshot] = (),
    ) -> Iterator[Progress | Finished]:
        """Runs every lane that is not done.

        Args:
            wanted: The whole grid, in plan order.
            done: Lanes to leave out.
            saved: Snapshots of earlier runs of the same problem, the best first; a block whose
                lanes are all in one of them goes on from there.

        Yields:
            Progress after every slice, at least once per block, Finished for every lane, in an
            order that does not depend on what was done before.
        """
        self._size = self.block_size(len(wanted))
        scaled = self.problem.recipe.scale_init
        first = list(plan.blocks(wanted, set(done), self._size, scaled))
        self._seconds, self._taken = 0.0, 0
        self._all = plan.lane_steps(first, self._steps)
        self._saved = list(saved)
        self._held, self._running = [], None
        for block in first:
            yield from self._run_block(block)

    def snapshot(self) -> snapshots.Snapshot | None:
        """What `run` would need to go on from here; call it between two of its events.

        Returns:
            Arrays on the host, or None if no block is in the middle of its steps.
        """
        return resume.snapshot(self.programs, self._size, self._held, self._running)

    def _task(self, block: plan.Block) -> training.Task:
        scope = self.problem.pruner.scope
        whole = sum(leaf.size for leaf in jax.tree.leaves(self._sizes))

        def one(node, active):
            kept = selection.tree_kept(self._sizes, node.sparsity or 0, scope)
            left = sum(jax.tree.leaves(kept)) / whole
            return training.Task(
                key=np.uint32(node.seed),
                eps=rounding.round_toward_zero(
                    math.inf if node.eps is None else node.eps, np.float32
                ),
                kept=jax.tree.map(np.int32, kept),
                scale=np.float32(left**-0.5),
                active=np.bool_(active),
            )

        values = [one(*pair) for pair in zip(block.nodes, block.needed, strict=True)]
        task = self.programs.stack(values, one(block.nodes[0], False), self._size)
        return task._replace(key=jax.vmap(jax.random.key)(task.key))

    def _run_block(self, block: plan.Block):
        held = None
        if self._saved and not any(block.lanes):  # With a row to write it has to be run again.
            shapes = jax.eval_shape(self.programs.initial, self._task(block), ())
            radii = jax.eval_shape(self._radii, shapes)
            held = resume.held(self.programs, self._size, self._saved, block, shapes, radii)
            if held is not None:
                self._all -= sum(block.needed) * self._steps[block.nodes[0].stages[-1]]
        if held is None:
            held = yield from self._run_stage(block)
        self._held.append(held)
        for follower in block.followers:
            yield from self._run_block(follower)
        self._held.pop()

    def _radii(self, initial: training.Initial) -> PyTree:
        """The radii of all lanes, for their shapes."""
        recipe = self.problem.recipe

        def one(weights, scores):
            center = pruners.choose(weights, scores)
            return ball.radii(center, np.float32(1), recipe.unit, recipe.norm)

        return jax.vmap(one)(initial.weights, initial.scores)

    def _begin(self, block: plan.Block, kind: str, task: training.Task) -> training.State:
        """The block at its first step."""
        origin = self.programs.initial(task, ())
        begin = (origin.weights, origin.scores)
        if self._held:
            parent = self._held[-1]
            places = self.programs.places(len(block.nodes), self._size)
            above = self.programs.places(len(parent.history), self._size)
            places_above = np.zeros(self._size, np.int32)
            places_above[places] = above[list(block.parents)]
            begin = self.programs.gather((parent.weights, parent.scores), places_above)
        return self.programs.start(kind)((task, begin, origin), ())

    def _run_stage(self, block: plan.Block):
        kind = block.nodes[0].kind
        total = self._steps[block.nodes[0].stages[-1]]
        places = self.programs.places(len(block.nodes), self._size)
        task = self._task(block)
        begin = functools.partial(self._begin, block, kind, task)
        if self._saved:
            shapes = jax.eval_shape(begin)
            self._running = resume.running(self.programs, self._size, self._saved, block, shapes)
        if self._running is None:
            self._running = resume.Running(block, 0, begin(), 0.0)
        if total:
            yield from self._advance(kind, task, total, sum(block.needed))
        else:  # So that a caller can react between any two blocks.
            yield Progress(kind, self._taken, self._all, self._seconds)
        state, seconds = self._running.state, self._running.seconds / sum(block.needed)
        self._running = None
        keep = ("center", "radii", "curve", "diverged")
        read = training.State(*(getattr(state, f) if f in keep else () for f in state._fields))
        outcome = ()
        if any(block.lanes):
            final = (state.weights, state.scores, state.model_state)
            outcome = self.programs.finish((final, task), (self._data, self._test))
        read, outcome = jax.device_get((read, outcome))
        held = resume.Held(block, state.weights, state.scores, [])
        del state
        parent = self._held[-1] if self._held else None
        for index, place in enumerate(places):
            own, ours = jax.tree.map(lambda leaf, at=place: leaf[at], (read, outcome))
            before = parent.history[block.parents[index]] if parent else rows.History()
            images = len(self.dataset.validation.labels)
            history = rows.extend(before, kind, total, own, images, seconds)
            held.history.append(history)
            for lane in block.lanes[index]:
                norm = self.problem.recipe.norm
                row = rows.row(lane, history, ours, own.center, self.dataset, norm)
                row["strategy"] = self.programs.strategy
                yield Finished(lane, row, own.center, ours.weights, ours.mask)
        return held

    def _advance(self, kind, task, total, active):
        """Takes the steps of the running block, slice by slice."""
        advance = self.programs.advance(kind)
        self._all -= active * self._running.step
        while self._running.step < total:
            block, step, state, spent = self._running
            # Its arrays are given away: if the slice fails there is nothing to snapshot.
            self._running = None
            # The first slice has no steps: it compiles. The second is short: it tells the speed.
            until = min(total, step + self._slice.get(kind, 0))
            begun = time.perf_counter()
            shared = (self._data, np.int32(step), np.int32(until), np.int32(total))
            state = advance(state, task, shared)
            jax.block_until_ready(state.diverged)
            seconds = time.perf_counter() - begun
            if kind in self._slice:
                spent += seconds
                self._seconds += seconds
                self._slice[kind] = max(1, int(self.slice_seconds * (until - step) / seconds))
            else:
                self._slice[kind] = _FIRST_SLICE
            self._taken += active * (until - step)
            self._running = resume.Running(block, until, state, spent)
            del state
            yield Progress(kind, self._taken, self._all, self._seconds)
