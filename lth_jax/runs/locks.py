"""One writer per folder: a lock that the system takes back when its process dies.

The promise: of all processes on one machine, and of all machines that share a file system with
working flock (local disks; NFS 3 and 4 on Linux; Lustre mounted with `flock`), one holds the lock.
The kernel frees it when the process ends in any way; an NFS server that loses a whole machine frees
it when that machine's lease ends, after a minute or two. Where the file system has no flock at all,
a file that only one process can create stands in: it is taken over if it names a process of this
machine that is gone, and has to be deleted by hand if it names another machine.
"""

import contextlib
import errno
import fcntl
import json
import os
import pathlib
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

from lth_jax import errors, files

BUSY_STATUS = 3
RUN = ".lock"  # the name of a run's lock
_NO_FLOCK = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL)
_PAUSE = 0.5  # seconds between two attempts


@contextlib.contextmanager
def hold(
    path: str | os.PathLike[str],
    wait: bool = False,
    tell: Callable[[str], None] = lambda line: None,
) -> Iterator[None]:
    """Holds a lock as long as the context lasts.

    Args:
        path: The lock's file; made, and left there. Its folder must exist.
        wait: Whether to wait for another process or to leave at once.
        tell: Gets one line when waiting begins.

    Raises:
        RunError: If another process holds it and `wait` is false; status 3.
        OSError: If the file cannot be made.
    """
    path = pathlib.Path(path)
    told = False
    while (release := _take(path)) is None:
        line = f"{path.parent}: in use by {_holder(path)}"
        if not wait:
            raise errors.RunError(f"{line}.", BUSY_STATUS)
        if not told:
            tell(f"{line}; waiting for it")
            told = True
        time.sleep(_PAUSE)
    try:
        yield
    finally:
        release()


def _take(path: pathlib.Path) -> Callable[[], None] | None:
    """Takes the lock and returns what releases it; None if another process has it."""
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        return None
    except OSError as error:
        os.close(file)
        if error.errno not in _NO_FLOCK:
            raise
        return _take_by_name(path)
    # For the eyes of whoever is refused; the lock itself is the kernel's.
    with contextlib.suppress(OSError):  # A full disk is no reason not to hold it.
        os.ftruncate(file, 0)
        os.pwrite(file, _signature(), 0)
    return lambda: os.close(file)


def _take_by_name(path: pathlib.Path) -> Callable[[], None] | None:
    own = path.with_name(path.name + ".owner")
    for _ in range(2):
        try:
            file = os.open(own, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:
            if not _is_stale(own) or not _remove_stale(own):
                return None
            continue
        try:
            os.write(file, _signature())
        except OSError:  # An empty one would be nobody's and stay for ever.
            own.unlink(missing_ok=True)
            raise
        finally:
            os.close(file)
        return lambda: own.unlink(missing_ok=True)
    return None


def _remove_stale(own: pathlib.Path) -> bool:
    """Removes a stale file; False if another process was faster and the file is its own now."""
    aside = own.with_name(f"{own.name}.{os.getpid()}")
    try:
        os.rename(own, aside)  # Of all that found it stale, one gets it.
    except FileNotFoundError:
        return True
    stale = _is_stale(aside)
    if not stale:
        with contextlib.suppress(OSError):
            os.link(aside, own)
    aside.unlink(missing_ok=True)
    return stale


def _signature() -> bytes:
    return json.dumps({"host": socket.gethostname(), "pid": os.getpid()}).encode() + b"\n"


def _read(path: pathlib.Path) -> dict[str, Any]:
    try:
        with files.open_regular(path) as stream:
            found = json.loads(files.read_at_most(stream, 1000))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _is_stale(own: pathlib.Path) -> bool:
    """Whether the file names a process of this machine that does not live any more."""
    found = _read(own)
    if found.get("host") != socket.gethostname() or not isinstance(found.get("pid"), int):
        return False
    try:
        os.kill(found["pid"], 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False


def _holder(path: pathlib.Path) -> str:
    found = _read(path.with_name(path.name + ".owner")) or _read(path)
    if "pid" not in found:
        return "another process"
    return f"process {found['pid']} on {found.get('host')}"
