"""Which lanes a grid has, and the order in which their stages run, each shared one once.

The tree of a grid: a node is a stage with all that its result depends on, so that 11 eps × 9
sparsities perturb 11 times per seed, not 99, and `prune` serves `prune_then_perturb` as well.
"""

import math
import operator
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lth_jax.training import config as train_config
from lth_jax.training import methods

_MOST_LANES = 1_000_000
_MOST_SEED = 2**32 - 1
_NUMBERS: tuple[type, ...] = (int, float, np.integer, np.floating, jax.Array)


class Lane(NamedTuple):
    """One cell of the grid and one seed.

    eps: inf is no bound, None is weights that do not move. sparsity: None is no mask.
    """

    method: str
    eps: float | None
    sparsity: float | None
    seed: int


class Node(NamedTuple):
    """A stage and everything that its result depends on; eps and sparsity as in a Lane."""

    stages: tuple[methods.Stage, ...]  # the way here, this stage last
    eps: float | None
    sparsity: float | None
    seed: int

    @property
    def stage(self) -> methods.Stage:
        """The stage itself."""
        return self.stages[-1]


class Block(NamedTuple):
    """Nodes of one kind and length that run together, and what is to be done with the results."""

    nodes: tuple[Node, ...]
    parents: tuple[int, ...]  # of each node, its place in the block before; empty for a first stage
    lanes: tuple[tuple[Lane, ...], ...]  # of each node, the lanes that end here
    needed: tuple[bool, ...]  # of each node, whether any lane below it is still wanted
    followers: tuple["Block", ...]  # run them while this block's results are held

    @property
    def stage(self) -> methods.Stage:
        """The stage of all its nodes."""
        return self.nodes[0].stage


def lanes(
    names: Sequence[str | methods.Method],
    eps: Sequence[float] = (),
    sparsity: Sequence[float] = (),
    seeds: Sequence[int] = (0,),
) -> list[Lane]:
    """All lanes of a grid in plan order, an axis that a method does not use taken once.

    Args:
        names: Methods, or their names.
        eps: Radii, at least 0; math.inf is no bound.
        sparsity: Fractions removed, in [0, 1).
        seeds: Integers in [0, 2^32).

    Returns:
        Lanes without repetitions, seeds innermost.

    Raises:
        ValueError: If a method is unknown, an axis that a method needs is empty, a value lies
            outside its range, or the grid has more than a million lanes.
    """
    for axis, values in (("method", names), ("eps", eps), ("sparsity", sparsity), ("seeds", seeds)):
        # A set has no order that holds from run to run; an array of no axes has no entries.
        listed = isinstance(values, Sequence) and not isinstance(values, str | bytes)
        if not listed and not getattr(values, "shape", ()):
            raise ValueError(f"{axis} must be a list, got {values!r}.")
    found = [methods.find(name) for name in names]
    _check(found, eps, sparsity, seeds)
    eps, sparsity = [_plain(e) for e in eps], [_plain(s) for s in sparsity]
    wanted: dict[Lane, None] = {}
    for method in found:
        for e in eps if method.takes_eps else [method.eps]:
            for s in sparsity if method.takes_sparsity else [None]:
                for seed in seeds:
                    wanted[Lane(method.name, e, s, operator.index(seed))] = None
    return list(wanted)


def _check(
    found: Sequence[methods.Method],
    eps: Sequence[float],
    sparsity: Sequence[float],
    seeds: Sequence[int],
) -> None:
    if not found:
        raise ValueError("method must not be an empty list.")
    for name, values, needed in (
        ("eps", eps, any(method.takes_eps for method in found)),
        ("sparsity", sparsity, any(method.takes_sparsity for method in found)),
        ("seeds", seeds, True),
    ):
        if needed and not len(values):
            raise ValueError(f"{name} must not be an empty list.")
    for value in (*eps, *sparsity):
        _check_number(value)
    for value in eps:
        _check_eps(value, found)
    for value in sparsity:
        _check_sparsity(value)
    # Before any list is made of them: a range may be as long as it likes.
    count = len(found) * max(len(eps), 1) * max(len(sparsity), 1) * len(seeds)
    if count > _MOST_LANES:
        raise ValueError(f"seeds: a grid of {count} lanes is more than {_MOST_LANES}.")
    for seed in seeds:
        _check_seed(seed)


def check(wanted: Sequence[Lane]) -> None:
    """Refuses lanes that `lanes` would not make: they would leave rows that no folder may have.

    Raises:
        ValueError: If one is no Lane, is there twice, its method is unknown, its eps or sparsity is
            outside its range or of a method that has none, or its seed is no seed.
    """
    for lane in wanted:
        if not isinstance(lane, Lane):
            raise ValueError(f"expected a Lane, as lanes() makes them, got {lane!r}.")
        method = methods.find(lane.method)
        for name, value, takes, fixed in (
            ("eps", lane.eps, method.takes_eps, method.eps),
            ("sparsity", lane.sparsity, method.takes_sparsity, None),
        ):
            if takes:
                _check_number(value)
            elif type(value) is not type(fixed) or value != fixed:
                raise ValueError(f"{name} must be {fixed} for {lane.method!r}, got {value!r}.")
        if method.takes_eps:
            _check_eps(lane.eps, [method])
        if method.takes_sparsity:
            _check_sparsity(lane.sparsity)
        _check_seed(lane.seed)
    if len({*wanted}) < len(wanted):
        raise ValueError("expected every lane once, got one twice.")


def _check_number(value: Any) -> None:
    kind = isinstance(value, _NUMBERS) and not isinstance(value, bool)
    if not kind or isinstance(value, jax.Array) and (value.ndim or jnp.iscomplexobj(value)):
        raise ValueError(f"eps and sparsity must be numbers, got {value!r}.")
    if isinstance(value, int) and value > 2**1000:
        raise ValueError("eps must be inf where there is no bound, got a larger number.")


def _check_eps(value: Any, found: Sequence[methods.Method]) -> None:
    if not value >= 0:
        raise ValueError(f"eps must be at least 0, got {value}.")
    if value == math.inf and any(s.kind.random_start for m in found for s in m.stages):
        raise ValueError("eps must be finite for a random point of the ball, got inf.")


def _check_sparsity(value: Any) -> None:
    if not 0 <= value < 1:
        raise ValueError(f"sparsity must lie in [0, 1), got {value}.")


def _check_seed(value: Any) -> None:
    if isinstance(value, bool) or not 0 <= _index(value) <= _MOST_SEED:
        raise ValueError(f"seeds must lie in [0, 2^32), got {value}.")


def _plain(value: float) -> float:
    """A number as JSON holds it: of NumPy or jax one of Python's, as the decimal that it shows."""
    if value == 0:
        value = abs(value)  # -0.0 is 0.0 in rows as well.
    return value if isinstance(value, int | float) else float(str(value))


def _index(seed: Any) -> int:
    try:
        return operator.index(seed)
    except TypeError:
        raise ValueError(f"seeds must be integers, got {seed!r}.") from None


def nodes_of(lane: Lane, config: train_config.TrainConfig) -> list[Node]:
    """The lane's stages, first to last, as nodes of the tree.

    Args:
        lane: The lane.
        config: Says whether already the initial weights depend on the sparsity (scale_init), and
            whether stages that would move nothing are left out (skip_at_zero).

    Returns:
        One node per stage of the lane's method, one at least.
    """
    stages = methods.find(lane.method).stages
    if config.skip_at_zero and lane.eps == 0:
        moving = tuple(s for s in stages if not s.kind.in_ball or "scores" in s.kind.moves)
        stages = moving or stages[-1:]
    path = []
    for end in range(1, len(stages) + 1):
        kinds = [stage.kind for stage in stages[:end]]
        eps = lane.eps if any(kind.in_ball for kind in kinds) else None
        sparsity = (
            lane.sparsity if config.scale_init or any(kind.masked for kind in kinds) else None
        )
        path.append(Node(stages[:end], eps, sparsity, lane.seed))
    return path


def blocks(
    wanted: Sequence[Lane],
    done: Collection[Lane],
    size: int,
    config: train_config.TrainConfig,
) -> Iterator[Block]:
    """The first-stage blocks of a grid, each with its followers, in the order to run them.

    Blocks are cut from all lanes, done or not, so that a grid that was interrupted is cut the same
    way again. A block none of whose lanes is wanted any more is left out.

    Args:
        wanted: All lanes of the grid.
        done: Lanes whose rows are there.
        size: Most nodes per block.
        config: See `nodes_of`.

    Yields:
        Blocks.
    """
    children: dict[Node | None, dict[Node, None]] = {}
    ends: dict[Node, list[Lane]] = {}
    for lane in wanted:
        path = nodes_of(lane, config)
        for parent, node in zip([None, *path], path, strict=False):
            children.setdefault(parent, {})[node] = None
        ends.setdefault(path[-1], []).append(lane)

    def needed(node: Node) -> bool:
        mine = any(lane not in done for lane in ends.get(node, ()))
        return mine or any(needed(child) for child in children.get(node, ()))

    def cut(parents: Sequence[Node | None]) -> Iterator[Block]:
        """Blocks of the parents' children (of the tree's roots for None), grouped by stage."""
        groups: dict[tuple[methods.Stage, ...], list[tuple[Node, int]]] = {}
        for place, parent in enumerate(parents):
            for node in children.get(parent, ()):
                groups.setdefault(node.stages, []).append((node, place))
        for group in groups.values():
            for first in range(0, len(group), size):
                part = group[first : first + size]
                nodes = tuple(node for node, _ in part)
                live = tuple(needed(node) for node in nodes)
                if any(live):
                    ending = tuple(
                        tuple(x for x in ends.get(n, ()) if x not in done) for n in nodes
                    )
                    places = () if parents[0] is None else tuple(place for _, place in part)
                    yield Block(nodes, places, ending, live, tuple(cut(nodes)))

    yield from cut((None,))


def in_order(some: Sequence[Block]) -> Iterator[Block]:
    """Blocks and their followers, in the order in which they run.

    Args:
        some: First-stage blocks.

    Yields:
        Each block, then those that follow it.
    """
    for block in some:
        yield block
        yield from in_order(block.followers)


def lane_steps(some: Sequence[Block], steps: Callable[[methods.Stage], int]) -> int:
    """Gradient steps times lanes that blocks still have to take, for a progress bar.

    Args:
        some: First-stage blocks.
        steps: Steps of a stage.

    Returns:
        The sum over the blocks and their followers.
    """
    return sum(sum(block.needed) * steps(block.stage) for block in in_order(some))
