"""Lanes over devices: the programs that run a block of lanes, one compile per kind of stage.

On a CPU lanes are mapped, one after the other on each device (`map`): the same bits as a lane
alone. On accelerators they step together: all in batched operations (`vmap`), or so but for
networks with convolutions, of which a lane nearly fills a device and a batch of kernels is slow:
their gradients and scores are taken of one lane after the other (`hybrid`).
"""

import typing
from collections.abc import Callable, Sequence
from typing import Any, Literal

import chex
import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from lth_jax import numerics, training
from lth_jax.perturb import shards
from lth_jax.training import scoring

Chosen = Literal["map", "vmap", "hybrid"]
Strategy = Literal["auto", Chosen]
STRATEGIES: tuple[str, ...] = typing.get_args(Strategy)


def strategy_for(strategy: Strategy, platform: str | None = None) -> Chosen:
    """Resolves "auto": map on CPU, hybrid elsewhere.

    Args:
        strategy: What was asked for.
        platform: That programs are for; None is that of this process's devices.

    Raises:
        ValueError: If the strategy is not one of STRATEGIES.
    """
    if strategy not in STRATEGIES:
        raise ValueError(f"strategy must be one of {', '.join(STRATEGIES)}, got {strategy!r}.")
    if strategy != "auto":
        return strategy
    return "map" if (platform or jax.local_devices()[0].platform) == "cpu" else "hybrid"


class Programs:
    """The compiled programs of one problem, for blocks of lanes over all devices.

    Each is compiled when it is first called for a block size, and once per kind of stage,
    whatever eps, sparsity, seeds and slices are. Every argument with a lane axis is sharded.
    """

    def __init__(
        self,
        problem: training.Problem,
        strategy: Strategy = "auto",
        devices: Sequence[jax.Device] | None = None,
    ):
        """Looks at the devices; compiles nothing yet.

        Args:
            problem: Model, pruner and config.
            strategy: How lanes share a device.
            devices: To run on, or, of a topology, to compile for; None takes those of this process.
                Lanes need nothing of each other, so processes share no mesh.

        Raises:
            ValueError: If the strategy is unknown.
        """
        devices = jax.local_devices() if devices is None else devices
        self.strategy = strategy_for(strategy, devices[0].platform)
        self.devices, self.platform = len(devices), devices[0].platform
        config = problem.config.on(self.platform)
        self.problem = problem._replace(config=config, in_turn=self.strategy == "hybrid")
        auto = (AxisType.Auto,)
        mesh = jax.make_mesh((self.devices,), (shards.LANES,), axis_types=auto, devices=devices)
        self.mesh = mesh
        self._of_kind: dict[tuple[str, training.StageKind], Callable[..., Any]] = {}
        # Always mapped: a vectorized draw may round by its place in the vector, and then the
        # same seed would not stand for the same weights in every block.
        self._initial = _jit("initial", self._over_lanes(self._initial_of_lane, "map"))
        self._on_host = _jit(
            "initial_on_host",
            lambda tasks: jax.lax.map(lambda task: self._initial_of_lane(task, ()), tasks),
        )
        precision = config.precision
        finish = self._over_lanes(self._finish_of_lane, self.strategy)
        # ((weights, scores, model_state), task), (data, test) -> Outcome.
        self.finish_program: Any = _jit("finish", finish, precision)
        # (tree, rows): the rows of a block as the lanes of the next one.
        self._gather = jax.jit(
            lambda tree, rows: jax.tree.map(lambda x: x[rows], tree),
            out_shardings=NamedSharding(mesh, P(shards.LANES)),
        )

    def initial(self, task: training.Task) -> training.Initial:
        """What the lanes' seeds stand for: jitted draws, of the host's CPU whatever runs them."""
        if self.platform != "cpu":
            dealt: training.Initial = self.over_lanes(self.draw_on_host(task))
            return dealt
        found: training.Initial = self._initial(task, ())
        return found

    def draw_on_host(self, task: training.Task) -> training.Initial:
        """The same draws by the host's CPU alone, the result on it."""
        found: training.Initial = self._on_host(jax.device_put(task, numerics.host()))
        return found

    def gather(self, tree: chex.ArrayTree, rows: npt.NDArray[np.int32]) -> chex.ArrayTree:
        """The rows of a block's arrays as the lanes of the next block."""
        return self._gather(tree, rows)

    def start(
        self,
        kind: training.StageKind,
        task: training.Task,
        begin: tuple[chex.ArrayTree, chex.ArrayTree],
        origin: training.Initial,
    ) -> training.State:
        """The state at a stage's first step, see training.start."""
        found: training.State = self.start_program(kind)((task, begin, origin), ())
        return found

    def advance(
        self,
        kind: training.StageKind,
        state: training.State,
        task: training.Task,
        data: training.Data,
        step: int,
        until: int,
        total: int,
    ) -> training.State:
        """The state after `until` steps, see training.advance; `state` is donated."""
        shared = (data, np.int32(step), np.int32(until), np.int32(total))
        found: training.State = self.advance_program(kind)(state, task, shared)
        return found

    def finish(
        self,
        state: training.State,
        task: training.Task,
        data: training.Data,
        test: scoring.Chunks,
    ) -> training.Outcome:
        """Scores the final networks, see training.finish; the kind of stage does not matter."""
        final = (state.weights, state.scores, state.model_state)
        found: training.Outcome = self.finish_program((final, task), (data, test))
        return found

    def compile_finish(
        self,
        state: training.State,
        task: training.Task,
        data: training.Data,
        test: scoring.Chunks,
    ) -> None:
        """Compiles `finish` for these arguments and runs nothing: scoring may take long, too."""
        final = (state.weights, state.scores, state.model_state)
        self.finish_program.lower((final, task), (data, test)).compile()

    def start_program(self, kind: training.StageKind) -> Callable[..., Any]:
        """The jitted ((task, begin, origin), ()) -> state."""

        def start(lane: Any, _: Any) -> training.State:
            return training.start(self.problem, kind, *lane)

        def make(name: str) -> Callable[..., Any]:
            over = self._over_lanes(start, self.strategy)
            return _jit(name, over, self.problem.config.precision)

        return self._made("start", kind, make)

    def advance_program(self, kind: training.StageKind) -> Callable[..., Any]:
        """The jitted (state, task, (data, step, until, total)) -> state."""

        def advance(lane: Any, shared: Any) -> training.State:
            state, task = lane
            data, step, until, total = shared
            if self.strategy == "map":  # Padding and finished lanes take no steps.
                until = jnp.where(task.active, until, step)
            else:  # The images are laid out for steps to take rows of, once and for all of them.
                data = data._replace(images=data.images.reshape(len(data.labels), -1))
            return training.advance(self.problem, kind, state, task, data, step, until, total)

        def make(name: str) -> Callable[..., Any]:
            over = self._over_lanes(advance, self.strategy)
            precision = self.problem.config.precision
            lanes = lambda s, task, shared: over((s, task), shared)  # noqa: E731
            return _jit(name, lanes, precision, donate_argnums=0)

        return self._made("advance", kind, make)

    def _initial_of_lane(self, task: training.Task, _: Any) -> training.Initial:
        return training.initial(self.problem, task.key, task.scale)

    def _finish_of_lane(self, lane: Any, shared: Any) -> training.Outcome:
        (weights, scores, model_state), task = lane
        data, test = shared
        return training.finish(self.problem, weights, scores, model_state, task, data, test)

    def _made(
        self, name: str, kind: training.StageKind, make: Callable[[str], Callable[..., Any]]
    ) -> Callable[..., Any]:
        if (name, kind) not in self._of_kind:
            self._of_kind[name, kind] = make(f"{name}_{kind.name}")
        return self._of_kind[name, kind]

    def _over_lanes(
        self, function: Callable[[Any, Any], Any], strategy: str
    ) -> Callable[[Any, Any], Any]:
        """Makes f(one lane's arguments, shared ones) a function of the lanes of all devices."""

        def local(lanes: Any, shared: Any) -> Any:
            def one(lane: Any) -> Any:
                return function(lane, shared)

            if strategy == "map":
                return jax.lax.map(one, lanes)
            return jax.vmap(one, axis_name=shards.TOGETHER)(lanes)

        return jax.shard_map(
            local,
            mesh=self.mesh,
            in_specs=(P(shards.LANES), P()),
            out_specs=P(shards.LANES),
            check_vma=False,
        )

    def everywhere(self, tree: chex.ArrayTree) -> chex.ArrayTree:
        """Puts a copy of arrays on every device."""
        return jax.device_put(tree, NamedSharding(self.mesh, P()))

    def over_lanes(self, tree: chex.ArrayTree) -> chex.ArrayTree:
        """Deals the rows of [lanes, ...] arrays out to the devices."""
        return jax.device_put(tree, NamedSharding(self.mesh, P(shards.LANES)))

    def places(self, count: int, size: int) -> npt.NDArray[np.int64]:
        """Where `count` nodes sit in a block of `size` lanes: dealt out to the devices in turn.

        A block that is not full so keeps all devices busy.

        Returns:
            [count] int, places in the block.
        """
        index = np.arange(count)
        return index % self.devices * (size // self.devices) + index // self.devices

    def tasks(
        self, values: Sequence[training.Task], spare: training.Task, size: int
    ) -> training.Task:
        """Stacks one task per node into a block's, padded with `spare`; seeds become keys.

        Args:
            values: From training.lane_task, at most `size`.
            spare: Likewise.
            size: Lanes in a block.

        Returns:
            A task of [size, ...] arrays, sharded.
        """
        slots = [spare] * size
        for place, value in zip(self.places(len(values), size), values, strict=True):
            slots[place] = value
        stacked: training.Task = jax.tree.map(lambda *leaves: np.stack(leaves), *slots)
        dealt: training.Task = self.over_lanes(stacked)
        return dealt._replace(key=jax.vmap(numerics.key)(dealt.key))


def _jit(
    name: str,
    function: Callable[..., Any],
    precision: numerics.Precision = "highest",
    **options: Any,
) -> Callable[..., Any]:
    """jax.jit of a function under a name of its own, by which profiles and tests know it.

    Nothing in it, of a model of the user's own either, is left to the default precision, which is
    another one on every platform.
    """

    def program(*arguments: Any) -> Any:
        with numerics.at_precision(precision):
            return function(*arguments)

    program.__name__ = name
    return jax.jit(program, **options)
