"""How long the rest of a grid takes, by what its parts have taken so far.

What has not run yet is taken for like what has: a kind of stage for the kind that is most alike.
"""

import collections
import time
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from lth_jax import datasets, training
from lth_jax.sweep import plan
from lth_jax.training import methods, statistics


class _Spent(NamedTuple):
    amount: float = 0.0  # of steps, blocks or nodes
    seconds: float = 0.0


class Pace:
    """Seconds by what they went into, of blocks of one size."""

    def __init__(self, devices: int, together: bool, scoring: float):
        """Knows nothing yet.

        Args:
            devices: Among which a block's lanes are dealt out.
            together: Whether lanes of a device step together, however many are wanted.
            scoring: How many steps of a lane take about as long as scoring a block in the end, as
                long as no block was scored.
        """
        self.compiled: dict[str, float] = {}  # by program, see events.Compiling
        self.slices: dict[methods.StageKind, int] = {}  # steps in the next one
        self._devices, self._together, self._scoring = devices, together, scoring
        self._steps: dict[methods.StageKind, _Spent] = collections.defaultdict(_Spent)
        self._finishes = _Spent()  # by block
        self._around = _Spent()  # all other seconds, by needed node

    def add_steps(self, block: plan.Block, steps: int, seconds: float) -> None:
        """A slice of a block took so long."""
        before = self._steps[block.stage.kind]
        amount = before.amount + steps * self._turns(block)
        self._steps[block.stage.kind] = _Spent(amount, before.seconds + seconds)

    def add_finish(self, seconds: float) -> None:
        """Scoring a block in the end took so long."""
        self._finishes = _Spent(self._finishes.amount + 1, self._finishes.seconds + seconds)

    def add_around(self, block: plan.Block, seconds: float) -> None:
        """A block is done that took so long beside its steps, its scoring and what it compiled."""
        nodes, before = sum(block.needed), self._around
        self._around = _Spent(before.amount + nodes, before.seconds + seconds)

    def left(
        self,
        blocks: Sequence[plan.Block],
        steps: Callable[[methods.Stage], int],
        done: int,
    ) -> float | None:
        """Seconds until the blocks are done; None before any step was timed.

        Args:
            blocks: All that are not done, the running one first.
            steps: Of a stage.
            done: Steps that the running block has taken.
        """
        if not any(spent.amount for spent in self._steps.values()):
            return None
        total, nodes = 0.0, 0
        for number, block in enumerate(blocks):
            ahead = steps(block.stage) - (done if number == 0 else 0)
            if ahead:
                total += ahead * self._turns(block) * self._seconds_per_step(block.stage.kind)
            if any(block.lanes):
                total += self._seconds_per_finish(block.stage.kind)
            nodes += sum(block.needed)
        total += nodes * self._around.seconds / max(self._around.amount, 1)
        wanted = self._to_compile(blocks, steps)
        return total + sum(self.compile_seconds(name, kind) for name, kind in wanted)

    def _turns(self, block: plan.Block) -> int:
        """How many lanes a device takes one after the other."""
        return 1 if self._together else -(-sum(block.needed) // self._devices)

    def _seconds_per_step(self, kind: methods.StageKind) -> float:
        known = {k: s.seconds / s.amount for k, s in self._steps.items() if s.amount}
        return _of_the_most_alike(kind, known)

    def _seconds_per_finish(self, kind: methods.StageKind) -> float:
        if self._finishes.amount:
            return self._finishes.seconds / self._finishes.amount
        return self._scoring * self._seconds_per_step(kind)

    def _to_compile(
        self, blocks: Iterable[plan.Block], steps: Callable[[methods.Stage], int]
    ) -> list[tuple[str, methods.StageKind]]:
        """The programs that are not compiled yet, each with a kind that needs it."""
        found: dict[str, methods.StageKind] = {}
        for block in blocks:
            kind = block.stage.kind
            names = [start_name(kind)]
            names += [advance_name(kind)] if steps(block.stage) else []
            names += [FINISH] if any(block.lanes) else []
            found |= {name: kind for name in names if name not in self.compiled}
        return list(found.items())

    def compile_seconds(self, name: str, kind: methods.StageKind) -> float:
        """How long a program takes to compile that a kind of stage needs; 0 if none is known."""
        # A program that scores is of a size between the one that begins and the one that trains.
        like = {start_name(kind): [start_name], advance_name(kind): [advance_name]}
        verbs = like.get(name, [start_name, advance_name])
        return sum(self._compiled_like(verb, kind) for verb in verbs) / len(verbs)

    def _compiled_like(
        self, verb: Callable[[methods.StageKind], str], kind: methods.StageKind
    ) -> float:
        kinds = [*self._steps, kind]
        known = {k: self.compiled[verb(k)] for k in kinds if verb(k) in self.compiled}
        return _of_the_most_alike(kind, known) if known else 0.0


INITIAL, FINISH = "initial", "finish"


def scoring_steps(problem: training.Problem, dataset: datasets.Dataset) -> float:
    """How many of a lane's steps take about as long as scoring it in the end.

    A training image counts three times an image that is scored, for its gradient.

    Args:
        problem: For its batches, and whether the model finds its final state anew.
        dataset: For the sizes of its splits.
    """
    config = problem.config
    scored = len(dataset.watched.labels) + len(dataset.test.labels)
    if problem.model.batch_state is not None:
        scored += statistics.looked_at(len(dataset.train.labels))
    steps = config.steps_per_epoch(len(dataset.train.labels))
    epoch = 3 * steps * config.batch_size + len(dataset.watched.labels)
    return steps * scored / max(epoch, 1)


def start_name(kind: methods.StageKind) -> str:
    """The name of the program that begins a stage."""
    return f"start_{kind.name}"


def advance_name(kind: methods.StageKind) -> str:
    """The name of the program that takes a stage's steps."""
    return f"advance_{kind.name}"


def _of_the_most_alike(kind: methods.StageKind, known: dict[methods.StageKind, float]) -> float:
    """The mean of what is known of the kinds that do most of what this one does."""
    if kind in known:
        return known[kind]

    def likeness(other: methods.StageKind) -> tuple[bool, ...]:
        same_scores = ("scores" in other.moves) == ("scores" in kind.moves)
        same_weights = ("weights" in other.moves) == ("weights" in kind.moves)
        return (same_scores, other.masked == kind.masked, same_weights)

    most = max(map(likeness, known))
    values = [value for other, value in known.items() if likeness(other) == most]
    return sum(values) / len(values)


class Stopwatch:
    """The seconds since it was last read, without those that are taken out."""

    def __init__(self) -> None:
        self._begun = time.perf_counter()

    def take_out(self, seconds: float) -> None:
        """Does not count these."""
        self._begun += seconds

    def read(self) -> float:
        """The seconds since the last time; begins again."""
        now = time.perf_counter()
        seconds, self._begun = now - self._begun, now
        return seconds
