"""Many processes prepare one folder: either all go on, or all end with a line."""

import contextlib
from collections.abc import Callable
from typing import Any

from lth_jax import errors
from lth_jax.runs import locks, parts


def prepare(meeting: parts.Meeting, stack: contextlib.ExitStack, do: Callable[[], tuple]) -> tuple:
    """Meets the other processes twice: when the folder is ready, when all hold their parts.

    Args:
        meeting: Of all processes.
        stack: Holds this process's part as long as it lasts.
        do: Prepares this process; what it returns begins with the folder's path.

    Returns:
        What `do` returned.

    Raises:
        InputError, RunError: If one of them cannot go on.
    """
    process = meeting.process
    prepared = _if_all_can(meeting, do)
    if process.count > 1:
        part = locks.hold(prepared[0] / process.lock)
        _if_all_can(meeting, lambda: stack.enter_context(part))
    return prepared


def _if_all_can(meeting: parts.Meeting, do: Callable[[], Any]) -> Any:
    result = error = None
    try:
        result = do()
    except (errors.InputError, errors.RunError) as caught:
        error = caught
    except OSError as caught:
        error = errors.RunError(f"{caught.filename}: {caught.strerror}.")
    lost = meeting.agree(error is None)
    if lost and error is None:
        error = errors.RunError(f"process {lost[0]} of {meeting.process.count} could not start.")
    if error is not None:
        raise error
    return result
