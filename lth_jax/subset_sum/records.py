"""The study's JSON files: written in one step, refused when damaged."""

import json
import pathlib
from collections.abc import Collection

from lth_jax import errors, runs


def write(path: pathlib.Path, content) -> None:
    """Replaces a JSON file in one step, so that a kill leaves the old or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    runs.write(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


def read(path: pathlib.Path, fields: Collection[str] = (), kind: type = dict):
    """The content of a JSON file, or None where there is none.

    Args:
        path: Of the file.
        fields: What its object, or each object of its list, must have.
        kind: What it must be, dict or list.

    Raises:
        InputError: If it is no JSON or is without these fields.
    """
    try:
        content = json.loads(path.read_bytes())
        if not isinstance(content, kind):
            raise ValueError
        objects = content if kind is list else [content]
        if not all(isinstance(entry, dict) and {*fields} <= {*entry} for entry in objects):
            raise ValueError
    except FileNotFoundError:
        return None
    except OSError as error:
        raise errors.InputError(f"{path}: {error.strerror or error}.") from None
    except (ValueError, RecursionError):
        raise errors.InputError(f"{path} is damaged; delete it to start over.") from None
    return content
