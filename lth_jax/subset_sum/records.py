"""The study's JSON files: written in one step, refused when damaged."""

import json
import os
import pathlib

from lth_jax import errors


def write(path: pathlib.Path, content) -> None:
    """Replaces a JSON file in one step, so that a kill leaves the old or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")
    os.replace(fresh, path)


def read(path: pathlib.Path):
    """The content of a JSON file, or None where there is none.

    Raises:
        InputError: If it is no JSON.
    """
    if not path.exists():
        return None
    try:
        return json.loads(path.read_text())
    except ValueError:
        raise errors.InputError(f"{path} is damaged; delete it to start over.") from None
