"""From a grid in the middle of a block to a snapshot, and back onto the devices there are now."""

from collections.abc import Sequence
from typing import NamedTuple

import chex
import jax
import numpy as np
import numpy.typing as npt

from lth_jax import training
from lth_jax.sweep import plan, rows, snapshots
from lth_jax.sweep import programs as sweep_programs

_RADII = "radii"


class FinishedBlock(NamedTuple):
    """A finished block, while its followers need it."""

    block: plan.Block
    weights: chex.ArrayTree  # [lanes, ...], on the devices
    scores: chex.ArrayTree
    history: list[rows.History]  # by node


class RunningBlock(NamedTuple):
    """A block between two slices."""

    block: plan.Block
    step: int
    state: training.State  # [lanes, ...], on the devices
    seconds: float


def snapshot(
    programs: sweep_programs.Programs,
    size: int,
    above: Sequence[FinishedBlock],
    running: RunningBlock | None,
) -> snapshots.Snapshot | None:
    """What a grid needs to go on from here, on the host.

    Args:
        programs: Say where nodes are in a block.
        size: Lanes in a block.
        above: The blocks above the running one, outermost first.
        running: The block that takes steps.

    Returns:
        The snapshot; None if no block is running.
    """
    if running is None:
        return None
    levels = []
    for block, weights, scores, history in above:
        index, places, names = _needed(programs, size, block)
        arrays = snapshots.flatten((weights, scores), places)
        histories = [history[i] for i in index]
        # All or none of a block's nodes have been in a ball.
        radii = [history.radii for history in histories]
        if radii[0] is not None:
            stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *radii)
            own = snapshots.flatten(stacked, range(len(index)))
            arrays |= {f"{_RADII}{path}": leaf for path, leaf in own.items()}
        levels.append(snapshots.Level(tuple(names), tuple(histories), arrays))
    _, places, names = _needed(programs, size, running.block)
    state = snapshots.flatten(running.state, places)
    return snapshots.Snapshot(tuple(levels), tuple(names), running.step, running.seconds, state)


def find_finished(
    programs: sweep_programs.Programs,
    size: int,
    saved: Sequence[snapshots.Snapshot],
    block: plan.Block,
    shapes: training.Initial,
    radii_shapes: chex.ArrayTree,
) -> FinishedBlock | None:
    """A finished block that does not have to be run again.

    Args:
        programs: For the devices.
        size: Lanes in a block.
        saved: Where to look, the best first.
        block: All its needed nodes must be in one snapshot.
        shapes: [lanes, ...] of its weights and scores.
        radii_shapes: [lanes] of its radii, should it have any.

    Returns:
        The block, or None if no snapshot has it.
    """
    index, places, names = _needed(programs, size, block)
    for level in (level for one in saved for level in one.levels):
        at = snapshots.find(names, level.nodes)
        if at is None:
            continue
        radii = {n.removeprefix(_RADII): a for n, a in level.arrays.items() if n.startswith(_RADII)}
        own = {n: a for n, a in level.arrays.items() if not n.startswith(_RADII)}
        both = snapshots.unflatten((shapes.weights, shapes.scores), places, own, at)
        stacked = snapshots.unflatten(radii_shapes, places, radii, at) if radii else ()
        if both is None or stacked is None:
            continue
        history = [rows.History()] * len(block.nodes)
        for i, place, where in zip(index, places, at, strict=True):
            mine = jax.tree.map(lambda leaf, at=place: leaf[at], stacked) if radii else None
            history[i] = level.histories[where]._replace(radii=mine)
        weights, scores = programs.over_lanes(both)
        return FinishedBlock(block, weights, scores, history)
    return None


def find_running(
    programs: sweep_programs.Programs,
    size: int,
    saved: Sequence[snapshots.Snapshot],
    block: plan.Block,
    shapes: training.State,
) -> RunningBlock | None:
    """A block in the middle of its steps.

    Args:
        programs: For the devices.
        size: Lanes in a block.
        saved: Where to look, the best first.
        block: All its needed nodes must be in one snapshot.
        shapes: [lanes, ...] of its state.

    Returns:
        The block, or None if no snapshot has it.
    """
    _, places, names = _needed(programs, size, block)
    for one in saved:
        at = snapshots.find(names, one.nodes)
        state = None if at is None else snapshots.unflatten(shapes, places, one.arrays, at)
        if state is not None:
            return RunningBlock(block, one.step, programs.over_lanes(state), one.seconds)
    return None


def _needed(
    programs: sweep_programs.Programs, size: int, block: plan.Block
) -> tuple[list[int], npt.NDArray[np.int64], list[str]]:
    """The needed nodes of a block: their indices, their places among its lanes, their names."""
    index = [i for i, needed in enumerate(block.needed) if needed]
    places = programs.places(len(block.nodes), size)[index]
    return index, places, [snapshots.name_of(block.nodes[i]) for i in index]
