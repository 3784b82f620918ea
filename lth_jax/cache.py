"""The user's cache folder of this project: downloads, compiled programs, matplotlib's files."""

import os
import pathlib


def folder() -> pathlib.Path:
    """lth_jax in XDG_CACHE_HOME, else in ~/.cache."""
    root = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(root) / "lth_jax"
