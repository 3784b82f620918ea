"""Many processes on one folder: who is who, who runs what, and one file of rows in the end.

Lanes need nothing of each other, so processes meet only to learn their numbers and that the folder
is theirs; then they leave jax.distributed again and each works on its own devices. Had they stayed,
its coordination service would end all of them when one is lost.
"""

import contextlib
import os
import pathlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax

from lth_jax import errors, locks, plan, results

_PATTERN = "results.part-*.jsonl"
_PAUSE = 0.2  # seconds between two looks at the other processes


class Process(NamedTuple):
    """One of `count` processes."""

    index: int = 0
    count: int = 1

    @property
    def name(self) -> str:
        """As in the names of its files."""
        return f"part-{self.index}-of-{self.count}"

    @property
    def results(self) -> str | None:
        """Its file of rows; None for the only process, which writes the run's own."""
        return None if self.count == 1 else f"results.{self.name}.jsonl"

    @property
    def lock(self) -> str:
        """Its lock."""
        return f".{self.name}.lock"

    @property
    def checkpoints(self) -> str:
        """Its folder of checkpoints."""
        return "checkpoints" if self.count == 1 else f"checkpoints-{self.name}"


def join(
    coordinator: str | None = None,
    processes: int | None = None,
    process: int | None = None,
    timeout: int = 300,
) -> Process:
    """Meets the other processes of this job; call it before anything has used a device.

    Args:
        coordinator: "host:port" of process 0; None where jax detects the cluster.
        processes: How many there are; None likewise.
        process: Which one this is; None likewise.
        timeout: Seconds to wait for the others.

    Returns:
        Which process this is. `agree` works until `leave`.

    Raises:
        InputError: If there is no cluster to detect or the others do not come.
    """
    try:
        bind = None
        if coordinator is not None and coordinator.rpartition(":")[0] in ("127.0.0.1", "localhost"):
            bind = coordinator  # Else it would listen on all interfaces.
        jax.distributed.initialize(
            coordinator,
            processes,
            process,
            initialization_timeout=timeout,
            coordinator_bind_address=bind if process == 0 else None,
        )
        return Process(jax.process_index(), jax.process_count())
    except (RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else "no cluster"
        raise errors.InputError(f"--distributed: {reason}") from None


def agree(fine: bool) -> list[int]:
    """Waits for all processes.

    Args:
        fine: Whether this one can go on.

    Returns:
        The numbers of those that cannot.
    """
    import numpy as np
    from jax.experimental import multihost_utils

    everyone = np.ravel(multihost_utils.process_allgather(np.int32(fine)))
    return [index for index, fine in enumerate(everyone) if not fine]


def leave() -> None:
    """Ends `join`: from now on this process sees its own devices alone, as if it had none beside.

    Arrays and compiled programs from before are lost.
    """
    from jax.extend import backend

    jax.distributed.shutdown()
    backend.clear_backends()


def deal(wanted: Sequence[plan.Lane], process: Process, scaled: bool = False) -> list[plan.Lane]:
    """The lanes that one process runs: whole trees, so that shared stages stay shared.

    Args:
        wanted: The whole grid.
        process: Which one.
        scaled: See plan.nodes_of.

    Returns:
        Its lanes, in order. Every lane is dealt to one process.
    """
    roots: dict[tuple, dict[plan.Node, int]] = {}
    mine = []
    for lane in wanted:
        root = plan.nodes_of(lane, scaled)[0]
        group = roots.setdefault(root.stages, {})
        if group.setdefault(root, len(group)) % process.count == process.index:
            mine.append(lane)
    return mine


def merge(path: str | os.PathLike, wanted: Sequence[plan.Lane], scaled: bool, size: int) -> None:
    """Appends the rows of all parts to the run's results and deletes the parts.

    Killed at any moment it leaves every row in some file, and the next call goes on.

    Args:
        path: The run's folder, held alone.
        wanted: The whole grid: rows go in the order in which one process would have written them.
        scaled: See plan.nodes_of.
        size: Nodes per block of that one process.

    Raises:
        InputError: If a part cannot be read.
        RunError: If the rows cannot be written.
    """
    path = pathlib.Path(path)
    parts = sorted(path.glob(_PATTERN))
    if not parts:
        return
    whole = path / "results.jsonl"
    rows, end = results.read(whole)
    if whole.exists() and whole.stat().st_size > end:
        os.truncate(whole, end)
    there = {results.lane_of(row) for row in rows}
    found = {}
    for part in parts:
        for row in results.read(part)[0]:
            found.setdefault(results.lane_of(row), row)
    order = {lane: place for place, lane in enumerate(_in_order(wanted, scaled, size))}
    fresh = [lane for lane in found if lane not in there]
    fresh.sort(key=lambda lane: order.get(lane, len(order)))  # Stable: others come last.
    if fresh:
        results.append(whole, [found[lane] for lane in fresh])
    for part in parts:
        part.unlink()


def _in_order(wanted, scaled, size) -> Iterator[plan.Lane]:
    def walk(block):
        for ending in block.lanes:
            yield from ending
        for follower in block.followers:
            yield from walk(follower)

    for block in plan.blocks(wanted, set(), size, scaled):
        yield from walk(block)


def wait_for_others(
    path: str | os.PathLike, process: Process, tell: Callable[[str], None]
) -> list[int]:
    """Waits until every other process has ended, by its lock.

    Args:
        path: The run's folder.
        process: This one.
        tell: Gets one line when waiting begins.

    Returns:
        Nothing is said about how they ended: look for missing rows.
    """
    path = pathlib.Path(path)
    told = False
    for index in range(process.count):
        other = Process(index, process.count)
        while index != process.index and locks.is_held(path / other.lock):
            if not told:
                tell("waiting for the other processes")
                told = True
            time.sleep(_PAUSE)


def clean(path: str | os.PathLike) -> None:
    """Deletes the locks of parts; for a finished folder, held alone."""
    for file in pathlib.Path(path).glob(".part-*.lock*"):
        with contextlib.suppress(OSError):
            file.unlink()
