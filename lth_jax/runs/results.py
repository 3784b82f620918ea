"""Rows on disk: one JSON object per line, each with a check sum, appended and flushed.

The check sum covers all fields but `seconds`, so that rows can be compared with it: a flipped bit
or an edit by hand is found when the row is read, and nothing wrong enters a table. `run` names the
settings that a row was made with, so that a row of another folder is found, too.
"""

import contextlib
import hashlib
import json
import math
import os
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

from lth_jax import errors, files
from lth_jax.sweep import plan
from lth_jax.training import methods

# A run's rows; those that are not due yet; these, and what processes of older versions left.
RESULTS, EARLY, ASIDE = "results.jsonl", "results.early.jsonl", "results.*.jsonl"
CHECK, RUN = "check", "run"
_MOST = 1 << 32  # bytes of a file of rows: some millions
_ACCURACIES = ("val_accuracy", "test_accuracy")


def lane_of(row: Mapping[str, Any]) -> plan.Lane:
    """The lane that a row belongs to.

    Raises:
        KeyError: If the row lacks a field or its method is unknown.
    """
    method = methods.METHODS[row["method"]]
    eps = math.inf if row["eps"] == "inf" else row["eps"]
    # Rows of the first version say null where a method itself leaves the weights without a bound.
    eps = method.eps if eps is None else eps
    return plan.Lane(method.name, eps, row["sparsity"], row["seed"])


def seal(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as it is stored: JSON's values, and the check sum as its last field."""
    row = {name: files.jsonable(value) for name, value in row.items() if name != CHECK}
    return row | {CHECK: _check_sum(row)}


def _check_sum(row: Mapping[str, Any]) -> str:
    covered = {name: value for name, value in row.items() if name not in (CHECK, "seconds")}
    return hashlib.sha256(files.canonical_json(covered).encode()).hexdigest()[:8]


def append(file: str | os.PathLike[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Adds sealed rows to a file and returns when they are on the disk.

    Args:
        file: Made if need be.
        rows: From `seal`.

    Raises:
        RunError: If they cannot be written; no row that was there is lost.
    """
    file = pathlib.Path(file)
    lines = "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows).encode()
    handle, before = None, 0
    try:
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        before = os.fstat(handle).st_size
        while lines:  # A disk that fills up takes a part first, and only then refuses.
            lines = lines[os.write(handle, lines) :]
        os.fsync(handle)
    except OSError as error:
        if handle is not None:  # If this fails, too, a torn last line is left, which `read` knows.
            with contextlib.suppress(OSError):
                os.ftruncate(handle, before)
        raise errors.RunError(
            f"{file}: {error.strerror or error}; the rows that are there are safe, "
            "and the same command runs the others."
        ) from None
    finally:
        if handle is not None:
            os.close(handle)


def read(file: str | os.PathLike[str], run: str | None = None) -> tuple[list[dict[str, Any]], int]:
    """Reads a file of rows, and leaves out a last line that was not written to its end.

    Args:
        file: Need not exist.
        run: What all rows must belong to; None takes any.

    Returns:
        The rows, and the number of bytes that they take.

    Raises:
        InputError: If a line is no row, was changed, is of another run, or repeats a lane; if a
            folder is in the file's place.
        OSError: If the file cannot be read.
    """
    file = pathlib.Path(file)
    if not file.exists():
        return [], 0
    try:
        text = files.read_regular(file, _MOST)
    except IsADirectoryError:
        raise errors.InputError(f"{file}: expected a file with rows, found a folder.") from None
    size = text.rfind(b"\n") + 1
    rows: list[dict[str, Any]] = []
    lanes: dict[plan.Lane, int] = {}
    for place, line in enumerate(text[:size].split(b"\n")[:-1], 1):
        try:
            row = json.loads(line)
            method = row["method"]
            if row.get(CHECK) == _check_sum(row) and method not in methods.METHODS:
                raise errors.InputError(
                    f"{file}:{place}: method {method!r} is not registered here; register it first."
                )
            lane = lane_of(row)
            check(row)
        except errors.InputError:
            raise
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            shown = line[:60].decode(errors="replace")
            raise errors.InputError(
                f"{file}:{place}: expected a row of results, got {shown!r}."
            ) from None
        if row.get(CHECK) != _check_sum(row):
            raise errors.InputError(
                f"{file}:{place}: this row is not as it was written; delete the line, and its lane "
                "is run again."
            )
        if run is not None and row.get(RUN, run) != run:
            raise errors.InputError(
                f"{file}:{place}: this row was made with other settings ({row[RUN]}, not {run})."
            )
        if lane in lanes:
            raise errors.InputError(f"{file}:{place}: repeats the lane of line {lanes[lane]}.")
        lanes[lane] = place
        rows.append(row)
    return rows, size


def check(row: Mapping[str, Any]) -> None:
    """Looks whether a row has what tables and plots read.

    Raises:
        KeyError, TypeError, ValueError: If it has not.
    """
    if type(row["seed"]) is not int:
        raise ValueError
    for name in ("eps", "sparsity", "diverged", *_ACCURACIES):
        value = row[name]
        numeric = isinstance(value, int | float) and not isinstance(value, bool)
        if not (value is None or (numeric and value >= 0) or (name == "eps" and value == "inf")):
            raise ValueError
    # Where nothing was held out, the row says so by the name of its curve.
    needed = _ACCURACIES[1:] if "test_curve" in row else _ACCURACIES
    if row["diverged"] is None and any(row[name] is None for name in needed):
        raise ValueError
