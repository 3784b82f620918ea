"""A grid in jobs: lanes with all that they share, which one worker runs by itself."""

import hashlib
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from lth_jax import training
from lth_jax.sweep import plan, snapshots


class Job(NamedTuple):
    """Whole trees of the plan, and what is known of them."""

    lanes: tuple[plan.Lane, ...]
    done: frozenset[plan.Lane]
    saved: tuple[snapshots.Snapshot, ...]  # to go on from, the best first
    place: str = "checkpoints"  # its folder of checkpoints in the run's
    cut: int | None = None  # nodes per block, at most; None is a block's size


class Grid(NamedTuple):
    """What is asked for, and what an earlier run left of it."""

    wanted: Sequence[plan.Lane]
    done: Collection[plan.Lane]
    saved: Sequence[snapshots.Snapshot]  # the best first
    config: training.TrainConfig


def order(grid: Grid, size: int) -> Iterator[plan.Lane]:
    """All lanes of a grid in the order in which one process finishes them in blocks of a size."""
    whole = list(plan.blocks(grid.wanted, set(), size, grid.config))
    return (lane for block in plan.in_order(whole) for lane in _ending(block))


def as_one(grid: Grid, size: int) -> list[Job]:
    """A grid for one worker: jobs for snapshots of another cut, then one that has all the rest.

    Runs that cut the grid otherwise, in other blocks or in more jobs, leave snapshots that no block
    of this one can go on from.

    Args:
        grid: The grid.
        size: Nodes per block.

    Returns:
        Jobs.
    """
    jobs, done = _of_snapshots(grid, size)
    return [*jobs, Job(tuple(grid.wanted), frozenset(done), tuple(grid.saved))]


def as_many(grid: Grid, size: int) -> list[Job]:
    """A grid for many workers: likewise, the rest in a job per block of first stages.

    Args:
        grid: The grid.
        size: Nodes per block.

    Returns:
        Jobs, in plan order.
    """
    jobs, done = _of_snapshots(grid, size)
    # Cut from all lanes, as a single process would do it, and with the same blocks in each job.
    for block in plan.blocks(grid.wanted, set(), size, grid.config):
        lanes = [lane for each in plan.in_order([block]) for lane in _ending(each)]
        if not done.issuperset(lanes):
            names = [snapshots.name_of(node) for node in block.nodes]
            jobs.append(_job(lanes, done.intersection(lanes), names, grid))
    return jobs


def _of_snapshots(grid: Grid, size: int) -> tuple[list[Job], set[plan.Lane]]:
    """Jobs for the snapshots that no block of the grid could go on from; lanes done or in these."""
    jobs: list[Job] = []
    done = set(grid.done)
    if not grid.saved:
        return jobs, done
    whole = list(plan.blocks(grid.wanted, done, size, grid.config))
    blocks = [_needed(block) for block in plan.in_order(whole)]
    roots = {x: snapshots.name_of(plan.nodes_of(x, grid.config)[0]) for x in grid.wanted}
    for one in grid.saved:
        if not any(snapshots.find(names, one.nodes) is not None for names in blocks):
            names = _roots(one)
            lanes = [lane for lane in roots if lane not in done and roots[lane] in names]
            if lanes:
                jobs.append(_job(lanes, (), names, grid, len(one.nodes)))
                done.update(lanes)
    return jobs, done


def _job(
    lanes: Sequence[plan.Lane],
    done: Collection[plan.Lane],
    roots: Sequence[str],
    grid: Grid,
    cut: int | None = None,
) -> Job:
    saved = tuple(one for one in grid.saved if not {*roots}.isdisjoint(_roots(one)))
    # By what it is about: the next run finds the same job under the same name.
    name = hashlib.sha256("".join(roots).encode()).hexdigest()[:10]
    return Job(tuple(lanes), frozenset(done), saved, f"checkpoints-{name}", cut)


def _roots(one: snapshots.Snapshot) -> Sequence[str]:
    return one.levels[0].nodes if one.levels else one.nodes


def _needed(block: plan.Block) -> list[str]:
    pairs = zip(block.nodes, block.needed, strict=True)
    return [snapshots.name_of(node) for node, needed in pairs if needed]


def _ending(block: plan.Block) -> Iterator[plan.Lane]:
    return (lane for ending in block.lanes for lane in ending)
