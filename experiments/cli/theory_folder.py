"""The folder of a study that is no grid of lanes: it belongs to its settings, as a grid's does."""

import contextlib
import dataclasses
import pathlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal, Protocol

from lth_jax import runs


class Settings(Protocol):
    """A frozen dataclass of settings, with these among them."""

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]

    @property
    def out(self) -> str | None:
        """The folder; None takes runs/STUDY-ID."""

    @property
    def lock(self) -> Literal["leave", "wait"]:
        """What to do if another process has the folder."""


@contextlib.contextmanager
def own_folder(
    study: str,
    config: Settings,
    aside: Sequence[str],
    facts: Mapping[str, Any],
    files: Sequence[str],
) -> Iterator[pathlib.Path]:
    """Checks a folder, then holds it alone as long as the context lasts.

    Args:
        study: Name of the experiment.
        config: Its settings.
        aside: Fields that change no number that is there: axes, places and pace.
        facts: What else the numbers depend on, by name, as hashes of files.
        files: Patterns of the results, which are not believed where there is no config.json.

    Yields:
        The folder, with its config.json.

    Raises:
        InputError: If it cannot be written or belongs to other settings; nothing is touched then.
        RunError: If another process holds it.
    """
    values = _flat(dataclasses.asdict(config))
    defaults = _flat({f.name: _plain(f.default) for f in dataclasses.fields(config)})
    settings = {name: value for name, value in values.items() if name not in aside}
    run_id = runs.identity({**settings, **facts}, {**defaults, **dict.fromkeys(facts)})
    path = pathlib.Path(config.out or f"runs/{study}-{run_id}")
    described = {"study": study, **settings, **facts, **runs.environment()}
    described["git"] = runs.git_revision()
    runs.check(path, described, defaults, files)
    with runs.locked(path, config.lock == "wait", lambda line: print(line, file=sys.stderr)):
        runs.Folder(path, described, defaults=defaults)
        yield path


def _plain(default: Any) -> Any:
    """A field's default, one that holds settings of its own as a dict."""
    nested = dataclasses.is_dataclass(default) and not isinstance(default, type)
    return dataclasses.asdict(default) if nested else default


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Nested settings by their own names, as their flags are, each with a default of its own."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= value if isinstance(value, dict) else {name: value}
    return found
