"""Many processes on one folder: who is who, who runs what, and one file of rows in the end.

Lanes need nothing of each other, so processes meet only to learn their numbers and that the folder
is theirs; then each works on its own devices and writes its own file. If they stayed connected, the
coordination service of jax.distributed would end all of them when one is lost.
"""

import contextlib
import dataclasses
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import IO, Any, Self

from lth_jax import errors, training
from lth_jax.runs import locks, results
from lth_jax.sweep import plan

_PAUSE = 0.2  # seconds between two looks at the other processes


@dataclasses.dataclass(frozen=True)
class Process:
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


class Meeting:
    """The processes of one job, as long as they wait for each other; a context.

    A child process meets the others through jax.distributed; this one never joins it, so that its
    devices are its own and no lost process can end it.
    """

    def __init__(
        self,
        coordinator: str | None = None,
        processes: int | None = None,
        process: int | None = None,
        timeout: int = 300,
    ) -> None:
        """Meets the other processes.

        Args:
            coordinator: "host:port" of process 0; None where jax detects the cluster.
            processes: How many there are; None likewise.
            process: Which one this is; None likewise.
            timeout: Seconds to wait for the others.

        Raises:
            InputError: If there is no cluster to detect or the others do not come.
        """
        names = [] if coordinator is None else [coordinator, str(processes), str(process)]
        program = pathlib.Path(__file__).with_name("meeting.py")
        ours, theirs = os.pipe()
        command = [sys.executable, "-P", str(program), str(theirs), str(timeout), *names]
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115
        self._child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self._complaints,
            pass_fds=[theirs],
            start_new_session=True,  # A Ctrl-C is for the parent, which then ends the child.
        )
        os.close(theirs)
        self._answers = open(ours)  # noqa: SIM115
        assert self._child.stdin is not None  # For it is a pipe.
        self._questions: IO[bytes] = self._child.stdin
        try:
            self.process = Process(*self._next())
        except BaseException:
            self.__exit__()
            raise

    def agree(self, fine: bool) -> list[int]:
        """Waits for all processes.

        Args:
            fine: Whether this one can go on.

        Returns:
            The numbers of those that cannot.

        Raises:
            InputError: If one of them was lost.
        """
        try:
            self._questions.write(b"%d\n" % fine)
            self._questions.flush()
        except OSError:
            raise self._trouble() from None
        return [index for index, fine in enumerate(self._next()) if not fine]

    def _next(self) -> list[int]:
        line = self._answers.readline()
        if not line:
            raise self._trouble()
        return [int(word) for word in line.split()]

    def _trouble(self) -> errors.InputError:
        self._child.wait()
        self._complaints.seek(0)
        lines = self._complaints.read().decode(errors="replace").strip().splitlines()
        reason = " ".join(lines[-1].split())[:200] if lines else "the other processes were lost"
        return errors.InputError(f"no meeting with the other processes: {reason}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        exception: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        """Leaves: the others wait no more."""
        with contextlib.suppress(OSError):
            self._questions.close()
        if kind is not None:
            self._child.terminate()
        try:
            self._child.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._answers.close()
        self._complaints.close()


def deal(
    wanted: Sequence[plan.Lane],
    process: Process,
    config: training.TrainConfig,
) -> list[plan.Lane]:
    """The lanes that one process runs: whole trees, so that shared stages stay shared.

    Args:
        wanted: The whole grid.
        process: Which one.
        config: See plan.nodes_of.

    Returns:
        Its lanes, in order. Every lane is dealt to one process.
    """
    roots: dict[object, dict[plan.Node, int]] = {}  # by the first stage
    mine = []
    for lane in wanted:
        root = plan.nodes_of(lane, config)[0]
        group = roots.setdefault(root.stages, {})
        if group.setdefault(root, len(group)) % process.count == process.index:
            mine.append(lane)
    return mine


def merge(
    path: str | os.PathLike[str],
    wanted: Sequence[plan.Lane],
    config: training.TrainConfig,
    size: int,
) -> None:
    """Appends the rows of all parts to the run's results and deletes the parts.

    Killed at any moment it leaves every row in some file, and the next call goes on.

    Args:
        path: The run's folder, held alone.
        wanted: The whole grid: rows go in the order in which one process would have written them.
        config: See plan.nodes_of.
        size: Nodes per block of that one process.

    Raises:
        InputError: If a part cannot be read.
        RunError: If the rows cannot be written.
    """
    path = pathlib.Path(path)
    parts = sorted(path.glob(results.PARTS))
    if not parts:
        return
    whole = path / results.RESULTS
    rows, end = results.read(whole)
    if whole.exists() and whole.stat().st_size > end:
        os.truncate(whole, end)
    there = {results.lane_of(row) for row in rows}
    found: dict[plan.Lane, dict[str, Any]] = {}
    for part in parts:
        for row in results.read(part)[0]:
            found.setdefault(results.lane_of(row), row)
    order = {lane: place for place, lane in enumerate(_in_order(wanted, config, size))}
    fresh = [lane for lane in found if lane not in there]
    fresh.sort(key=lambda lane: order.get(lane, len(order)))  # Stable: others come last.
    if fresh:
        results.append(whole, [found[lane] for lane in fresh])
    for part in parts:
        part.unlink()


def _in_order(
    wanted: Sequence[plan.Lane], config: training.TrainConfig, size: int
) -> Iterator[plan.Lane]:
    """The lanes of a grid in the order in which one process finishes them."""

    def walk(block: plan.Block) -> Iterator[plan.Lane]:
        for ending in block.lanes:
            yield from ending
        for follower in block.followers:
            yield from walk(follower)

    for block in plan.blocks(wanted, set(), size, config):
        yield from walk(block)


def wait_for_others(
    path: str | os.PathLike[str], process: Process, tell: Callable[[str], None]
) -> None:
    """Waits until every other process has ended, by its lock.

    How they ended is not known here: rows that are missing tell.

    Args:
        path: The run's folder.
        process: This one.
        tell: Gets one line when waiting begins.
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


def clean(path: str | os.PathLike[str]) -> None:
    """Deletes the locks of parts; for a finished folder, held alone."""
    for file in pathlib.Path(path).glob(f"{locks.PARTS}*"):
        with contextlib.suppress(OSError):
            file.unlink()
