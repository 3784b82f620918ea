"""The folder of a study that is no grid of lanes: it belongs to its settings, as a grid's does."""

import contextlib
import dataclasses
import pathlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lth_jax import runs


@contextlib.contextmanager
def held(
    study: str, config: Any, aside: Sequence[str], facts: Mapping[str, Any], files: Sequence[str]
) -> Iterator[pathlib.Path]:
    """Checks a folder, then holds it alone as long as the context lasts.

    Args:
        study: Name of the experiment.
        config: Its frozen dataclass; `out` is the folder, None takes runs/STUDY-ID, and `lock` says
            what to do if another process has it.
        aside: Fields that change no number that is there: axes, places and pace.
        facts: What else the numbers depend on, by name, as hashes of files.
        files: Patterns of the results, which are not believed where there is no config.json.

    Yields:
        The folder, with its config.json.

    Raises:
        InputError: If it cannot be written or belongs to other settings; nothing is touched then.
        RunError: If another process holds it.
    """
    values = dataclasses.asdict(config)
    defaults = {field.name: field.default for field in dataclasses.fields(config)}
    settings = {name: value for name, value in values.items() if name not in aside}
    run_id = runs.identity({**settings, **facts}, {**defaults, **dict.fromkeys(facts)})
    path = pathlib.Path(config.out or f"runs/{study}-{run_id}")
    described = {"study": study, **settings, **facts, **runs.environment()}
    described["git"] = runs.git_revision()
    runs.check(path, described, defaults, files)
    with runs.locked(path, config.lock == "wait", lambda line: print(line, file=sys.stderr)):
        runs.Folder(path, described, defaults=defaults)
        yield path
