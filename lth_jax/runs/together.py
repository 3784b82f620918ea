"""Many processes do one thing: either all go on, or all end with a line."""

from collections.abc import Callable
from typing import TypeVar

from lth_jax import errors
from lth_jax.runs import parts

T = TypeVar("T")


def if_all_can(meeting: parts.Meeting, do: Callable[[], T]) -> T:
    """Does something in every process and waits for the others.

    Args:
        meeting: Of all processes.
        do: What this one does.

    Returns:
        What `do` returned.

    Raises:
        InputError: If this process cannot go on because of its input.
        RunError: If this process cannot go on, or another cannot.
    """
    error: Exception | None = None
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
