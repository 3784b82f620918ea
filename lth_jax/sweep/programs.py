"""Lanes over devices: the programs that run a block of lanes, one compile per kind of stage.

On a CPU lanes are mapped, one after the other on each device (`map`): the same bits as a lane
alone. On accelerators they are batched (`vmap`).
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from lth_jax import training

PyTree = Any
STRATEGIES = ("auto", "map", "vmap")


def strategy_for(strategy: str) -> str:
    """Resolves "auto": map on CPU, vmap elsewhere.

    Raises:
        ValueError: If the strategy is not one of STRATEGIES.
    """
    if strategy not in STRATEGIES:
        raise ValueError(f"strategy must be one of {', '.join(STRATEGIES)}, got {strategy!r}.")
    if strategy != "auto":
        return strategy
    return "map" if jax.default_backend() == "cpu" else "vmap"


class Programs:
    """The compiled programs of one problem, for blocks of lanes over all devices.

    Each is compiled when it is first called for a block size, and once per kind of stage,
    whatever eps, sparsity, seeds and slices are. Every argument with a lane axis is sharded.
    """

    def __init__(self, problem: training.Problem, strategy: str = "auto"):
        """Looks at the devices; compiles nothing yet."""
        self.problem = problem
        self.strategy = strategy_for(strategy)
        # Of this process: lanes need nothing of each other, so processes share no mesh.
        devices = jax.local_devices()
        self.devices = len(devices)
        auto = (AxisType.Auto,)
        mesh = jax.make_mesh((self.devices,), ("lanes",), axis_types=auto, devices=devices)
        self.mesh = mesh
        self._kinds: dict[tuple[str, str], Callable] = {}

        def initial(task):
            return training.initial(problem, task.key, task.scale)

        # Always mapped: a vectorized draw may round by its place in the vector, and then the
        # same seed would not stand for the same weights in every block.
        self.initial = self._over_lanes(lambda task, _: initial(task), "map")
        # (tree, rows): the rows of a block as the lanes of the next one.
        self.gather = jax.jit(
            lambda tree, rows: jax.tree.map(lambda x: x[rows], tree),
            out_shardings=NamedSharding(mesh, P("lanes")),
        )
        # ((weights, scores, model_state), task), (data, test): the kind of stage does not matter.
        self.finish = self._over_lanes(
            lambda lane, shared: training.finish(problem, *lane[0], lane[1], *shared)
        )

    def start(self, kind: str) -> Callable:
        """(task, begin, origin), None -> the state at a stage's first step."""

        def start(lane, _):
            return training.start(self.problem, kind, *lane)

        return self._of_kind("start", kind, lambda: self._over_lanes(start))

    def advance(self, kind: str) -> Callable:
        """State (donated), task, (data, step, until, total) -> the state at `until`."""

        def advance(lane, shared):
            state, task = lane
            data_, step, until, total = shared
            if self.strategy == "map":  # Padding and finished lanes take no steps.
                until = jnp.where(task.active, until, step)
            return training.advance(self.problem, kind, state, task, data_, step, until, total)

        def make():
            over = self._over_lanes(advance, jit=False)
            return jax.jit(lambda s, task, shared: over((s, task), shared), donate_argnums=0)

        return self._of_kind("advance", kind, make)

    def _of_kind(self, name, kind, make):
        if (name, kind) not in self._kinds:
            self._kinds[name, kind] = make()
        return self._kinds[name, kind]

    def _over_lanes(self, function, strategy=None, jit=True):
        """Makes f(one lane's arguments, shared ones) a program for the lanes of all devices."""
        strategy = strategy or self.strategy

        def local(lanes, shared):
            one = functools.partial(_swap(function), shared)
            return jax.lax.map(one, lanes) if strategy == "map" else jax.vmap(one)(lanes)

        sharded = jax.shard_map(
            local,
            mesh=self.mesh,
            in_specs=(P("lanes"), P()),
            out_specs=P("lanes"),
            check_vma=False,
        )
        return jax.jit(sharded) if jit else sharded

    def everywhere(self, tree: PyTree) -> PyTree:
        """Puts a copy of arrays on every device."""
        return jax.device_put(tree, NamedSharding(self.mesh, P()))

    def over_lanes(self, tree: PyTree) -> PyTree:
        """Deals the rows of [lanes, ...] arrays out to the devices."""
        return jax.device_put(tree, NamedSharding(self.mesh, P("lanes")))

    def places(self, count: int, size: int) -> np.ndarray:
        """Where `count` nodes sit in a block of `size` lanes: dealt out to the devices in turn.

        A block that is not full so keeps all devices busy.

        Returns:
            [count] int, places in the block.
        """
        index = np.arange(count)
        return index % self.devices * (size // self.devices) + index // self.devices

    def stack(self, values: Sequence[PyTree], spare: PyTree, size: int) -> PyTree:
        """Stacks one tree per node into a block's arrays, padded with `spare`.

        Args:
            values: Trees of NumPy scalars or arrays, at most `size`.
            spare: Tree like them.
            size: Lanes in a block.

        Returns:
            Tree of [size, ...] arrays, sharded.
        """
        slots = [spare] * size
        for place, value in zip(self.places(len(values), size), values, strict=True):
            slots[place] = value
        stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *slots)
        return self.over_lanes(stacked)


def _swap(function):
    return lambda shared, lane: function(lane, shared)
