"""What the benchmark's rows are made of: times taken in turn, ratios, lanes ready to step."""

import dataclasses
import fnmatch
import importlib.util
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from experiments.benchmark import torch_peers
from lth_jax import datasets, models, numerics, pruners, training
from lth_jax.sweep import programs
from lth_jax.training import methods

HAS_TORCH = importlib.util.find_spec("torch") is not None


@dataclasses.dataclass(frozen=True)
class Row:
    """One comparison; `target` is the least ratio asked for, None where nothing is."""

    name: str
    ours_ms: float | None
    peer_ms: float | None
    target: float | None
    notes: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    skipped: str | None = None

    @property
    def ratio(self) -> float | None:
        """The peer's time over ours."""
        return self.peer_ms / self.ours_ms if self.ours_ms and self.peer_ms else None

    def as_json(self) -> dict[str, Any]:
        """What benchmark.json holds."""
        ratio = self.ratio
        reached = None if ratio is None or self.target is None else ratio >= self.target
        return {
            "name": self.name,
            "ours_ms": self.ours_ms,
            "peer_ms": self.peer_ms,
            "ratio": ratio,
            "target": self.target,
            "reached": reached,
            **({"skipped": self.skipped} if self.skipped else {}),
            **self.notes,
        }


@dataclasses.dataclass(frozen=True)
class Group:
    """Rows that are measured together."""

    targets: Mapping[str, float | None]  # by the row's name
    measure: Callable[["Group", int], list[Row]]  # (group with the wanted targets only, rounds)
    needs_torch: bool = True

    def wanted(self, pattern: str) -> "Group":
        """The group with only the rows that match."""
        some = {k: v for k, v in self.targets.items() if fnmatch.fnmatchcase(k, pattern)}
        return dataclasses.replace(self, targets=some)

    def skip(self, why: str) -> list[Row]:
        """All rows, unmeasured."""
        return [Row(name, None, None, target, {}, why) for name, target in self.targets.items()]


def milliseconds(function: Callable[[], Any]) -> float:
    """Time until the result of a call is there."""
    begun = time.perf_counter()
    jax.block_until_ready(function())  # type: ignore[no-untyped-call]  # Of JAX.
    return 1e3 * (time.perf_counter() - begun)


def in_turn(
    timed: Mapping[str, Callable[[], float]], rounds: int, contest: Sequence[str] = ()
) -> dict[str, list[float]]:
    """Calls functions that return milliseconds, one after the other, round by round.

    So that whatever else the machine does falls on all of them. The first round warms up.

    Args:
        timed: The functions, by name.
        rounds: How many rounds count.
        contest: Names of which only the three fastest go on after two rounds more.

    Returns:
        The times of those that went on.
    """
    for function in timed.values():
        function()
    if len(contest) > 3:
        # Each by its better round, or a disturbance would throw out the best peer.
        tried = [{name: timed[name]() for name in contest} for _ in range(2)]
        slow = sorted(contest, key=lambda name: min(round_[name] for round_ in tried))[3:]
        timed = {name: f for name, f in timed.items() if name not in slow}
    times: dict[str, list[float]] = {name: [] for name in timed}
    for _ in range(rounds):
        for name, function in timed.items():
            times[name].append(function())
    return times


def median(times: Mapping[str, Sequence[float]], prefix: str) -> tuple[str, float]:
    """The least median among the names that begin with `prefix`, with its name."""
    found = {name: statistics.median(t) for name, t in times.items() if name.startswith(prefix)}
    name = min(found, key=found.__getitem__)
    return name, found[name]


def random_data(net: str, count: int = 0) -> datasets.Dataset:
    """Images of noise, for times do not depend on what is in them; as many as the peers have."""
    random = np.random.default_rng(0)
    many, side, channels = torch_peers.SIZES[net]
    count = count or many

    def split(n: int) -> datasets.Split:
        images = random.integers(0, 256, (n, side, side, channels), np.uint8)
        return datasets.Split(images, random.integers(0, 10, n).astype(np.int32))

    mean, std = (np.full(channels, value, np.float32) for value in (127.5, 74.0))
    return datasets.Dataset("noise", split(count), split(500), split(500), 10, mean, std, "")


def problem(
    net: str,
    width: float = 1,
    epochs: int = 50,
    batch: int = torch_peers.BATCH,
    microbatch: int | None = None,
    precision: numerics.Precision = "highest",
) -> training.Problem:
    """Edge-popup on a net of the models, as the studies train it on a CPU unless it is said."""
    count, side, channels = torch_peers.SIZES[net]
    del count
    if microbatch is None:
        microbatch = 0 if net == "lenet" else 16
    config = training.TrainConfig(
        perturb_epochs=epochs,
        prune_epochs=epochs,
        batch_size=batch,
        microbatch=microbatch,
        precision=precision,
    )
    model = models.build_model(net, (side, side, channels), 10, width=width)
    return training.Problem(model, pruners.edge_popup(), config)


class Stepper:
    """A block of lanes in the middle of a stage."""

    def __init__(
        self,
        problem: training.Problem,
        dataset: datasets.Dataset,
        kind: training.StageKind = methods.PRUNE,
        size: int = 8,
        sparsity: float = 0.5,
        strategy: Any = "map",
        eps: float = math.inf,
        devices: Sequence[jax.Device] | None = None,
    ):
        """Compiles: `compile_ms` is the time of it, with the first draw of everything."""
        begun = time.perf_counter()
        self._kind, self.size = kind, size
        self.programs = programs.Programs(problem, strategy, devices)
        sizes = training.lane_shapes(problem)
        tasks = [training.lane_task(problem, sizes, seed, eps, sparsity) for seed in range(size)]
        self._task = self.programs.tasks(tasks, tasks[0], size)
        self._data, _ = self.programs.everywhere(training.lane_data(dataset))
        origin = self.programs.initial(self._task)
        begin = (origin.weights, origin.scores)
        self.state = self.programs.start(kind, self._task, begin, origin)
        self.step(0)
        self.compile_ms = 1e3 * (time.perf_counter() - begun)

    def lowered(self) -> Any:
        """The training program for these arguments, lowered for the devices."""
        number = np.int32(0)
        program: Any = self.programs.advance_program(self._kind)
        return program.lower(self.state, self._task, (self._data, number, number, number))

    def put(self, state: training.State) -> None:
        """Goes on from another state, whose arrays are on the host."""
        self.state = self.programs.over_lanes(state)

    def advance(self, step: int, until: int) -> None:
        """Takes every lane from one step to another, and waits for it."""
        self.state = self.programs.advance(
            self._kind, self.state, self._task, self._data, step, until, 10_000
        )
        jax.block_until_ready(self.state)  # type: ignore[no-untyped-call]  # Of JAX.

    def step(self, steps: int) -> float:
        """Takes steps of every lane from the start of an epoch: milliseconds per step and lane."""
        begun = time.perf_counter()
        self.advance(0, steps)
        return 1e3 * (time.perf_counter() - begun) / max(steps, 1) / self.size
