"""Modules that register names of their own, imported before the flags are read: --plugin=MODULE."""

import importlib
import pathlib
import sys
import traceback
from collections.abc import Sequence

import lth_jax
from experiments.cli import flags
from lth_jax import errors

FLAG = "plugin"
HELP = (
    "List of modules to import first: they register data sets, models, pruners or methods, whose "
    "names --help then knows."
)

_OURS = (__file__, str(importlib.__file__), str(pathlib.Path(lth_jax.__file__).parent))


def load(argv: Sequence[str], config: object) -> tuple[str, ...]:
    """Imports the modules that the command line names.

    Args:
        argv: The arguments, without the program's name; all but --plugin are passed over.
        config: The study's; one without the flag takes no plugins.

    Returns:
        The modules' names.

    Raises:
        InputError: If one cannot be imported; one line, with its place.
    """
    known = flags.of([config])
    if FLAG not in known:
        return ()
    names: tuple[str, ...] = flags.early(argv, FLAG, known[FLAG])
    for name in names:
        path = pathlib.PurePath(name)
        if path.suffix == ".py" or len(path.parts) > 1:
            raise errors.InputError(
                f"--{FLAG}={name}: expected a module's name, as after import, got a file's; "
                f"from its folder, or with that in PYTHONPATH: --{FLAG}={path.stem}."
            )
        try:
            importlib.import_module(name)
        except (Exception, SystemExit) as error:  # Whatever it does, it is that module's mistake.
            raise errors.InputError(f"--{FLAG}={name}: {_line(error)}.") from error
    return names


def _line(error: BaseException) -> str:
    """What went wrong, and where outside of this project."""
    said = " ".join(f"{type(error).__name__}: {error}".split()).rstrip(".: ")
    places = [
        f"{frame.filename}, line {frame.lineno}"
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith(("<", *_OURS))
    ]
    return f"{said} ({places[-1]})" if places else said


def devices_told(names: Sequence[str], wanted: int) -> None:
    """Says so if a plugin has started JAX while it was imported: then on one device only.

    Args:
        names: Of the plugins.
        wanted: CPU devices that were asked for.
    """
    import jax

    if names and jax.default_backend() == "cpu" and jax.local_device_count() != wanted:
        line = f"--{FLAG}: imports started JAX, on {jax.local_device_count()} devices, not {wanted}"
        print(line, file=sys.stderr, flush=True)
