"""Independent pieces of work of one command: two at once, handed out in order."""

import concurrent.futures
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from experiments.cli import signals
from lth_jax import errors

_AT_ONCE = 2  # While one is in a part that has one thread, the other uses the cores.
_LISTEN = 0.2  # seconds between two looks for a signal

Item = TypeVar("Item")
Result = TypeVar("Result")


def made(
    work: Callable[[Item], Result], items: Sequence[Item]
) -> Iterator[tuple[Item, Result | errors.RunError]]:
    """Does the work of all items and yields each with its result, or with what it failed of.

    The first signal lets pieces end that are at work, and yields them; no other one begins.

    Args:
        work: Is called in a thread.
        items: In the order in which they are yielded.

    Raises:
        Stopped: In the end, if there was a signal.
    """
    with (
        signals.deferred() as pending,
        concurrent.futures.ThreadPoolExecutor(_AT_ONCE) as pool,
    ):
        futures = [pool.submit(work, item) for item in items]
        stopping = False
        try:
            for item, future in zip(items, futures, strict=True):
                while not future.done():
                    if pending.number is not None and not stopping:
                        stopping = True
                        print("stopping: what is at work ends first", file=sys.stderr, flush=True)
                        _cancel(futures)
                    concurrent.futures.wait([future], timeout=_LISTEN)
                if not future.cancelled():
                    yield item, _result(future)
        finally:  # Whoever asks for no more, or a second signal, waits for two pieces, not for all.
            _cancel(futures)
    if pending.number is not None:
        raise signals.Stopped(pending.number)


def _cancel(futures: Sequence[concurrent.futures.Future[Result]]) -> None:
    for future in futures:
        future.cancel()


def _result(future: concurrent.futures.Future[Result]) -> Result | errors.RunError:
    try:
        return future.result()
    except errors.RunError as error:
        return error
