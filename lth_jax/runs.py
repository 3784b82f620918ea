"""A run's folder: which settings it belongs to, its rows, and what is still missing.

config.json says what made the rows, results.jsonl holds one row per finished lane. Rows are only
ever appended, each one flushed to the disk, and a folder continues only with its own settings.
"""

import hashlib
import json
import math
import os
import pathlib
import platform
import subprocess
from collections.abc import Iterable, Mapping
from typing import Any

import jax

from lth_jax import errors, plan

RESULTS, CONFIG = "results.jsonl", "config.json"


def identity(settings: Mapping[str, Any], defaults: Mapping[str, Any]) -> str:
    """Names a run by the settings that change a lane's numbers and differ from their defaults.

    A setting that is added later, with a default, renames no run.

    Args:
        settings: By name, without the axes (method, eps, sparsity, seeds) and without places.
        defaults: By name.

    Returns:
        10 hexadecimal digits.
    """
    changed = {name: value for name, value in settings.items() if value != defaults[name]}
    return hashlib.sha256(_dump(changed).encode()).hexdigest()[:10]


def environment() -> dict[str, Any]:
    """What a result depends on beside its settings: versions and device.

    Returns:
        Python and library versions, the device's kind and number.
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
        "device": jax.devices()[0].device_kind,
        "devices": jax.device_count(),
    }


def git_revision() -> str | None:
    """The commit of the code that runs, "-dirty" if it was changed; None outside a checkout."""
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
            cwd=pathlib.Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip() or None


def number(value: Any) -> Any:
    """A value as JSON can hold it: infinity is "inf", other non-finite numbers null."""
    if isinstance(value, float) and not math.isfinite(value):
        return "inf" if value > 0 else None
    if isinstance(value, Mapping):
        return {name: number(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [number(entry) for entry in value]
    return value


def _dump(value: Any) -> str:
    return json.dumps(number(value), sort_keys=True, allow_nan=False)


def lane_of(row: Mapping[str, Any]) -> plan.Lane:
    """The lane that a row belongs to."""
    eps = math.inf if row["eps"] == "inf" else row["eps"]
    return plan.Lane(row["method"], eps, row["sparsity"], row["seed"])


class Folder:
    """A run's folder: opened with its config, read, and appended to."""

    def __init__(self, path: str | os.PathLike, config: Mapping[str, Any]):
        """Makes the folder, or continues the one that is there.

        Args:
            path: Of the folder.
            config: What must be equal to continue: settings, versions, device, hash of the data.
                A "git" entry may differ: every row names its own.

        Raises:
            InputError: If the folder cannot be written, belongs to other settings (the difference
                is shown) or holds a row that cannot be read. Nothing is touched then.
        """
        self.path = pathlib.Path(path)
        self.results = self.path / RESULTS
        config = json.loads(json.dumps(number(config), allow_nan=False))
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if not os.access(self.path, os.W_OK):
                raise PermissionError(f"[Errno 13] Permission denied: '{self.path}'")
            if (self.path / CONFIG).exists():
                self._check(config)
            elif self.results.exists():
                raise errors.InputError(f"{self.path}: holds {RESULTS} but no {CONFIG}.")
            else:
                write(self.path / CONFIG, json.dumps(config, indent=1) + "\n")
            self.rows = self._read()
        except OSError as error:
            raise errors.InputError(f"--out={self.path}: {error.strerror or error}.") from None

    def _check(self, config):
        file = self.path / CONFIG
        try:
            there = json.loads(file.read_text())
            differ = sorted(
                name for name in {*there, *config} - {"git"} if there.get(name) != config.get(name)
            )
        except (ValueError, AttributeError, TypeError):
            raise errors.InputError(f"{file}: expected the JSON of a run's settings.") from None
        if differ:
            shown = ", ".join(f"{n}: {there.get(n)!r} there, {config.get(n)!r} now" for n in differ)
            raise errors.InputError(f"{self.path}: belongs to other settings ({shown}).")

    def _read(self) -> list[dict[str, Any]]:
        if not self.results.exists():
            return []
        text = self.results.read_bytes()
        whole = text[: text.rfind(b"\n") + 1]
        rows = []
        for place, line in enumerate(whole.splitlines(), 1):
            try:
                row = json.loads(line)
                lane_of(row)
            except (ValueError, KeyError, TypeError):
                message = f"{self.results}:{place}: expected a row of results, got {line[:60]!r}."
                raise errors.InputError(message) from None
            rows.append(row)
        if len(whole) < len(text):  # The process died while it wrote this row: it is run again.
            with open(self.results, "r+b") as file:
                file.truncate(len(whole))
        return rows

    @property
    def done(self) -> set[plan.Lane]:
        """The lanes whose rows are there."""
        return {lane_of(row) for row in self.rows}

    def append(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Adds rows and returns when they are on the disk."""
        rows = [number(dict(row)) for row in rows]
        lines = "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows)
        with open(self.results, "ab") as file:
            file.write(lines.encode())
            file.flush()
            os.fsync(file.fileno())
        self.rows.extend(rows)


def write(path: str | os.PathLike, content: str | bytes) -> None:
    """Writes a file whole or not at all: beside its place first, then renamed.

    Args:
        path: Where it will be.
        content: Text is written as UTF-8.
    """
    path = pathlib.Path(path)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(beside, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
