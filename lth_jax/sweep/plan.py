"""Which lanes a grid has, and the order in which their stages run, each shared one once.

The tree of a grid: a node is a stage with all that its result depends on, so that 11 eps × 9
sparsities perturb 11 times per seed, not 99, and `prune` serves `prune_then_perturb` as well.
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from lth_jax.training import methods


class Lane(NamedTuple):
    """One cell of the grid and one seed; None where the method does not use the axis."""

    method: str
    eps: float | None
    sparsity: float | None
    seed: int


class Node(NamedTuple):
    """A stage and everything that its result depends on."""

    stages: tuple[methods.Stage, ...]  # the way here, this stage last
    eps: float | None
    sparsity: float | None
    seed: int

    @property
    def kind(self) -> str:
        """The kind of this stage."""
        return self.stages[-1].kind


class Block(NamedTuple):
    """Nodes of one kind and length that run together, and what is to be done with the results."""

    nodes: tuple[Node, ...]
    parents: tuple[int, ...]  # of each node, its place in the block before; empty for a first stage
    lanes: tuple[tuple[Lane, ...], ...]  # of each node, the lanes that end here
    needed: tuple[bool, ...]  # of each node, whether any lane below it is still wanted
    followers: tuple["Block", ...]  # run them while this block's results are held


def lanes(
    names: Sequence[str], eps: Sequence[float], sparsity: Sequence[float], seeds: Sequence[int]
) -> list[Lane]:
    """All lanes of a grid in plan order, an axis that a method does not use taken once.

    Args:
        names: Names of methods.METHODS.
        eps: Radii, at least 0; math.inf is allowed.
        sparsity: Fractions removed, in [0, 1).
        seeds: Integers.

    Returns:
        Lanes without repetitions, seeds innermost.
    """
    found = {}
    for method in names:
        kinds = {stage.kind for stage in methods.METHODS[method]}
        ball = method != "dense" and kinds & set(methods.IN_BALL)
        masked = kinds & set(methods.MASKED)
        for e in eps if ball else [None]:
            for s in sparsity if masked else [None]:
                for seed in seeds:
                    found[Lane(method, e, s, seed)] = None
    return list(found)


def nodes_of(lane: Lane, scaled: bool = False) -> list[Node]:
    """The lane's stages, first to last, as nodes of the tree.

    Args:
        lane: The lane.
        scaled: Whether already the initial weights depend on the sparsity (scale_init).

    Returns:
        One node per stage of the lane's method.
    """
    stages = methods.METHODS[lane.method]
    path = []
    for end in range(1, len(stages) + 1):
        kinds = {stage.kind for stage in stages[:end]}
        eps = lane.eps if kinds & set(methods.IN_BALL) else None
        if lane.method == "dense":
            eps = math.inf
        sparsity = lane.sparsity if scaled or kinds & set(methods.MASKED) else None
        path.append(Node(stages[:end], eps, sparsity, lane.seed))
    return path


def blocks(
    wanted: Sequence[Lane], done: set[Lane], size: int, scaled: bool = False
) -> Iterator[Block]:
    """The first-stage blocks of a grid, each with its followers, in the order to run them.

    Blocks are cut from all lanes, done or not, so that a grid that was interrupted is cut the same
    way again. A block none of whose lanes is wanted any more is left out.

    Args:
        wanted: All lanes of the grid.
        done: Lanes whose rows are there.
        size: Most nodes per block.
        scaled: See `nodes_of`.

    Yields:
        Blocks.
    """
    children: dict[Node | None, dict[Node, None]] = {}
    ends: dict[Node, list[Lane]] = {}
    for lane in wanted:
        parent = None
        for node in nodes_of(lane, scaled):
            children.setdefault(parent, {})[node] = None
            parent = node
        ends.setdefault(parent, []).append(lane)

    def needed(node):
        mine = any(lane not in done for lane in ends.get(node, ()))
        return mine or any(needed(child) for child in children.get(node, ()))

    def cut(parents):
        """Blocks of the parents' children (of the tree's roots for None), grouped by stage."""
        groups: dict[tuple, list[tuple[Node, int]]] = {}
        for place, parent in enumerate(parents):
            for node in children.get(parent, ()):
                groups.setdefault(node.stages, []).append((node, place))
        for group in groups.values():
            for first in range(0, len(group), size):
                part = group[first : first + size]
                nodes = tuple(node for node, _ in part)
                live = tuple(needed(node) for node in nodes)
                if any(live):
                    ending = (tuple(x for x in ends.get(n, ()) if x not in done) for n in nodes)
                    places = () if parents == (None,) else tuple(place for _, place in part)
                    yield Block(nodes, places, tuple(ending), live, tuple(cut(nodes)))

    yield from cut((None,))


def lane_steps(some: Sequence[Block], steps: dict[tuple, int]) -> int:
    """Gradient steps times lanes that blocks still have to take, for a progress bar.

    Args:
        some: Blocks.
        steps: Steps of a stage.

    Returns:
        The sum over the blocks and their followers.
    """
    total = 0
    for block in some:
        total += sum(block.needed) * steps[block.nodes[0].stages[-1]]
        total += lane_steps(block.followers, steps)
    return total
