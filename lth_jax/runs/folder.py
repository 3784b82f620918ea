"""A run's folder: which settings it belongs to, its rows, and what is still missing.

config.json says what made the rows, results.jsonl holds one row per finished lane. Rows are only
ever appended, each one flushed to the disk, and a folder continues only with its own settings.
"""

import contextlib
import errno
import hashlib
import itertools
import json
import os
import pathlib
import platform
import subprocess
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax

from lth_jax import errors, files, numerics
from lth_jax.runs import locks, results
from lth_jax.sweep import plan

CONFIG = "config.json"
# What may differ between runs that share a folder: every row names its own commit, and lanes have
# the same numbers on any number of devices (bit for bit with `map`).
MAY_DIFFER = ("git", "devices")


def identity(settings: Mapping[str, Any], defaults: Mapping[str, Any]) -> str:
    """Names a run by the settings that change a lane's numbers and differ from their defaults.

    A setting that is added later, with a default, renames no run.

    Args:
        settings: By name, without the axes (method, eps, sparsity, seeds) and without places.
        defaults: By name.

    Returns:
        10 hexadecimal digits.
    """
    missing = object()
    changed = {n: value for n, value in settings.items() if value != defaults.get(n, missing)}
    return hashlib.sha256(files.canonical_json(changed).encode()).hexdigest()[:10]


def environment() -> dict[str, Any]:
    """What a result depends on beside its settings: versions, jax's own switches, and device.

    Returns:
        Python and library versions, numerics.settings(), the device's kind and number.
    """
    import flax
    import numpy
    import optax

    return {
        "python": platform.python_version(),
        "jax": jax.__version__,
        "flax": flax.__version__,
        "optax": optax.__version__,
        "numpy": numpy.__version__,
        **numerics.settings(),
        "device": jax.local_devices()[0].device_kind,
        "devices": jax.local_device_count(),
    }


def git_revision() -> str | None:
    """The commit of the code that runs, "-dirty" if it was changed; None outside a checkout."""
    try:
        found = subprocess.run(
            # Without the option it may write to the checkout, and leave its lock behind if it dies.
            [
                "git",
                "--no-optional-locks",
                "describe",
                "--always",
                "--dirty",
                "--abbrev=12",
                "--exclude=*",
            ],
            cwd=pathlib.Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip() or None


def check(
    path: str | os.PathLike[str],
    config: Mapping[str, Any],
    defaults: Mapping[str, Any] = types.MappingProxyType({}),
    patterns: Sequence[str] = ("results*.jsonl",),
) -> None:
    """Refuses a folder that is not of these settings; touches nothing.

    Args:
        path: Of the folder; need not exist.
        config: What must be equal to continue: settings, versions, device, hash of the data.
            The entries of MAY_DIFFER may differ.
        defaults: By name. A folder that was written before a setting existed has its default.
        patterns: Names of what belongs to the settings: without config.json nobody knows to which.

    Raises:
        InputError: One line, with the difference.
    """
    file = pathlib.Path(path) / CONFIG
    try:
        if not file.exists():
            there = file.parent.is_dir()
            left = sorted(f for p in patterns for f in file.parent.glob(p)) if there else []
            if left:
                raise errors.InputError(f"{path}: holds {left[0].name} but no {CONFIG}.")
            return
        stored = json.loads(files.read_regular(file, files.MOST_JSON))
        defaults = {**numerics.UNSAID, **defaults}
        config, defaults = (json.loads(files.canonical_json(some)) for some in (config, defaults))
        names = sorted({*stored, *config} - set(MAY_DIFFER))
        there = defaults | stored
        differ = [name for name in names if there.get(name) != config.get(name)]
    except OSError as error:
        raise errors.InputError(f"{path}: {error.strerror or error}.") from None
    except errors.InputError:
        raise
    except (ValueError, AttributeError, TypeError, RecursionError):
        raise errors.InputError(f"{file}: expected the JSON of a run's settings.") from None
    if "study" in differ and "study" in there:
        raise errors.InputError(
            f"{path}: holds the study {there.get('study')!r}, not {config.get('study')!r}."
        )
    if differ:
        shown = ", ".join(
            f"{n}: {_short(there.get(n))} there, {_short(config.get(n))} now" for n in differ[:5]
        )
        more = f", and {len(differ) - 5} more" if len(differ) > 5 else ""
        raise errors.InputError(f"{path}: belongs to other settings ({shown}{more}).")


def settings_digest(path: str | os.PathLike[str]) -> str:
    """Names what the rows and checkpoints of a folder belong to.

    Args:
        path: Of a folder that has its config.json.

    Returns:
        10 hexadecimal digits, of everything in it but the entries of MAY_DIFFER.
    """
    return digest_of(json.loads(files.read_regular(pathlib.Path(path) / CONFIG, files.MOST_JSON)))


def digest_of(config: Mapping[str, Any]) -> str:
    """Names settings as `settings_digest` does, from the content of a config.json."""
    return identity({n: v for n, v in config.items() if n not in MAY_DIFFER}, {})


def _short(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else f"{text[:77]}..."


@contextlib.contextmanager
def locked(
    path: str | os.PathLike[str],
    wait: bool = False,
    tell: Callable[[str], None] = lambda line: None,
) -> Iterator[None]:
    """Makes a run's folder if need be and holds it alone.

    Args:
        path: Of the folder.
        wait: Whether to wait for another process or to leave at once.
        tell: Gets one line when waiting begins.

    Raises:
        InputError: If the folder cannot be made or written.
        RunError: If another process holds it and `wait` is false; its status is locks.BUSY_STATUS.
            If the disk is full.
    """
    path = pathlib.Path(path)
    with contextlib.ExitStack() as stack:
        with _no_folder(path):
            path.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locks.hold(path / locks.RUN, wait, tell))
        yield


@contextlib.contextmanager
def _no_folder(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turns what goes wrong with a folder into one line that names it."""
    try:
        yield
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name.
        if isinstance(error, errors.InputError):
            raise
        reason = getattr(error, "strerror", None) or error
        full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
        raise (errors.RunError if full else errors.InputError)(f"{path}: {reason}.") from None


class Folder:
    """A run's folder: opened with its config, read, and appended to. Hold it `locked` meanwhile.

    Rows stand in results.jsonl in the order that `expect` was told. One that is finished before its
    turn is safe in a file beside it until then, as are the parts that older versions left.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        config: Mapping[str, Any],
        defaults: Mapping[str, Any] = types.MappingProxyType({}),
    ):
        """Makes the folder, or continues the one that is there.

        Args:
            path: Of the folder.
            config: See `check`.
            defaults: See `check`.

        Raises:
            InputError: If the folder cannot be written, belongs to other settings (the difference
                is shown) or holds a row that cannot be read or came from another folder. Nothing is
                touched then.
        """
        self.path = pathlib.Path(path)
        self.results, self._early = self.path / results.RESULTS, self.path / results.EARLY
        self._order: list[plan.Lane] = []
        self._next = 0
        check(self.path, config, defaults)
        with _no_folder(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            if not (self.path / CONFIG).exists():
                files.write(
                    self.path / CONFIG, json.dumps(files.jsonable(dict(config)), indent=1) + "\n"
                )
            self.run = settings_digest(self.path)
            found = {file: results.read(file, self.run) for file in [self.results, *self._aside()]}
            for file in (self.results, self._early):
                if file.exists() and file.stat().st_size > found[file][1]:
                    # The process died while it wrote this row: it is run again.
                    os.truncate(file, found[file][1])
            self._written = {results.lane_of(row): row for row in found.pop(self.results)[0]}
            aside = {results.lane_of(row): row for rows, _ in found.values() for row in rows}
            self._waiting = {x: row for x, row in aside.items() if x not in self._written}

    def _aside(self) -> list[pathlib.Path]:
        return sorted(self.path.glob(results.ASIDE))

    @property
    def rows(self) -> list[dict[str, Any]]:
        """All rows: those of results.jsonl, then those that wait."""
        return [*self._written.values(), *self._waiting.values()]

    @property
    def done(self) -> set[plan.Lane]:
        """The lanes whose rows are there."""
        return {*self._written, *self._waiting}

    def expect(self, order: Iterable[plan.Lane]) -> None:
        """Says in which order rows are to stand in results.jsonl; until `settle`.

        Args:
            order: All lanes of a grid; other rows that wait come behind them.
        """
        self._order = [lane for lane in order if lane not in self._written]
        self._next = 0

    def append(self, rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Adds rows and returns when they are on the disk.

        Args:
            rows: Of lanes that are not done.

        Returns:
            The rows as they are stored.

        Raises:
            RunError: If they cannot be written; what was there is safe.
        """
        sealed = [results.seal({**row, results.RUN: self.run}) for row in rows]
        waiting = self._waiting | {results.lane_of(row): row for row in sealed}
        ahead = itertools.islice(self._order, self._next, None)
        due = list(itertools.takewhile(waiting.__contains__, ahead)) if self._order else [*waiting]
        if early := [row for row in sealed if results.lane_of(row) not in due]:
            results.append(self._early, early)
        self._write({lane: waiting.pop(lane) for lane in due})
        self._waiting, self._next = waiting, self._next + len(due)
        return sealed

    def settle(self) -> None:
        """Writes what still waits, in the order as far as it is known; nothing is aside then.

        Killed at any moment it leaves every row in some file, and the next call goes on.

        Raises:
            RunError: If rows cannot be written.
        """
        known = [lane for lane in self._order if lane in self._waiting]
        self._write({lane: self._waiting[lane] for lane in (*known, *self._waiting)})
        self._waiting, self._order = {}, []
        for file in self._aside():
            file.unlink()

    def _write(self, rows: dict[plan.Lane, dict[str, Any]]) -> None:
        if rows:
            results.append(self.results, rows.values())
        self._written |= rows
