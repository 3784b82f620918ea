"""SIGINT, SIGTERM, SIGHUP: leave at once or, while arrays are in the making, when they are safe."""

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import NoReturn

_NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_ONE_REQUEST = 2.0  # seconds

_Handler = Callable[[int, FrameType | None], None]


class Stopped(KeyboardInterrupt):
    """The user or the system asked the program to stop."""

    def __init__(self, number: int):
        """Keeps the signal's number."""
        super().__init__(signal.Signals(number).name)
        self.status = 128 + number


class Pending:
    """What has been asked for so far."""

    number: int | None = None


_raised = Pending()


def _raise(number: int, frame: FrameType | None) -> NoReturn:
    del frame
    _raised.number = number
    raise Stopped(number)


@contextlib.contextmanager
def _handled(handler: _Handler) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # Only the main thread may; a program is always there.
        return
    mine = [n for n in _NUMBERS if n != signal.SIGHUP or signal.getsignal(n) != signal.SIG_IGN]
    before = {number: signal.signal(number, handler) for number in mine}  # nohup stays nohup.
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


@contextlib.contextmanager
def raised() -> Iterator[None]:
    """While this context lasts, the signals raise Stopped; at the latest when it ends.

    Libraries lose an exception that is raised in a callback or a destructor of theirs.
    """
    _raised.number = None
    with _handled(_raise):
        yield
        _check()


def _check() -> None:
    if _raised.number is not None:
        raise Stopped(_raised.number)


@contextlib.contextmanager
def deferred() -> Iterator[Pending]:
    """While this context lasts, the first signal is only noted; one more, later, raises Stopped."""
    _check()
    pending = Pending()
    noted_at = 0.0

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal noted_at
        # Some launchers send a signal to the process and to its group: that is one request.
        if pending.number is not None and time.monotonic() - noted_at > _ONE_REQUEST:
            _raise(number, frame)
        if pending.number is None:
            pending.number, noted_at = number, time.monotonic()

    with _handled(note):
        yield pending
