"""What every command does around its study: flags, the backend, one-line errors, exit statuses.

Bad input gives one line on standard error and exit status 2, before any work.
"""

import dataclasses
import logging
import os
import pathlib
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from experiments.cli import flags, plugins, signals
from lth_jax import errors, files
from lth_jax.runs import locks

EXIT_BAD_INPUT = 2
STATUS = """\
Exit status: 0 done; 1 the run could not go on (full disk, lost process); 2 bad input, nothing was
touched; 3 the folder is in use; 129, 130 and 143 stopped by SIGHUP, SIGINT or SIGTERM, after
saving. After 1, 3, 129, 130 and 143 the same command continues."""
MOST_DEVICES = 64  # More than most machines have cores; thousands take all memory.


@dataclasses.dataclass(frozen=True)
class Machine:
    """Flags that every study has: where it runs, not what it computes."""

    cpu_devices: int = flags.setting(0, "CPU devices to split the cores into; 0 is one per core.")
    compile_cache: bool = flags.setting(True, "Keep compiled programs in the user's cache folder.")

    def __post_init__(self) -> None:
        if self.cpu_devices < 0:
            raise ValueError(f"cpu_devices must be at least 0, got {self.cpu_devices}.")
        most = max(MOST_DEVICES, os.cpu_count() or 1)
        if self.cpu_devices > most:
            raise ValueError(f"cpu_devices must be at most {most}, got {self.cpu_devices}.")


def start_backend(machine: Machine, on_workers: bool = False) -> None:
    """Sets the device count and the compile cache; only before JAX's backend has started.

    Args:
        machine: The flags.
        on_workers: Whether others do the work: accelerators are left to them.
    """
    try:
        caches = _writable(files.cache_folder())
    except errors.InputError:  # Then without, as long as nothing is to be downloaded.
        caches = False
    if caches:  # Else matplotlib makes folders of its own in the user's home.
        os.environ.setdefault("MPLCONFIGDIR", str(files.cache_folder() / "matplotlib"))
    else:  # It takes a folder that it removes in the end, and need not say so.
        logging.getLogger("matplotlib").setLevel(logging.ERROR)
    import jax

    set_jax: Callable[[str, Any], None] = jax.config.update
    if on_workers:
        set_jax("jax_platforms", "cpu")
    count = _device_count(machine)
    if getattr(jax.config, "jax_num_cpu_devices") == count:  # noqa: B009  # mypy does not see it.
        return  # Somebody has set JAX up, as the tests do; setting the same count does not fail.
    try:
        set_jax("jax_num_cpu_devices", count)
    except RuntimeError:  # The backend is up, as in tests: its device count stands.
        return
    if machine.compile_cache and caches:
        set_jax("jax_compilation_cache_dir", str(files.cache_folder() / "compiled"))
        set_jax("jax_persistent_cache_min_compile_time_secs", 0.2)


def _device_count(machine: Machine) -> int:
    return machine.cpu_devices or len(os.sched_getaffinity(0))


def _check_platforms() -> None:
    import jax

    try:
        jax.devices()
    except RuntimeError as error:
        named = os.environ.get("JAX_PLATFORMS")
        if not named:
            raise errors.RunError(f"JAX finds no device: {_one_line(error)}") from None
        raise errors.InputError(f"JAX_PLATFORMS={named}: {_one_line(error)}") from None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _writable(folder: pathlib.Path) -> bool:
    """Makes a folder. Without one neither JAX nor matplotlib is quiet about their caches."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK | os.X_OK)


def main(
    run: Callable[[Any], Any],
    config: Any,
    doc: str,
    argv: Sequence[str] | None = None,
    presets: Mapping[str, Mapping[str, Any]] = types.MappingProxyType({}),
) -> int:
    """Reads the flags, starts the backend and runs the study.

    Args:
        run: The study: its config -> anything.
        config: A frozen dataclass instance holding the defaults.
        doc: The study's docstring, shown by --help.
        argv: Arguments without the program's name; None takes the process's.
        presets: Sets of other defaults, by the name that --preset takes.

    Returns:
        The exit status, see STATUS.
    """
    argv = sys.argv[1:] if argv is None else argv
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    if sys.stdout is None:
        return _end("error: standard output is closed.", 1)
    for stream in (sys.stdout, sys.stderr):  # A terminal without ± is no reason to fail.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        with signals.raised():
            imported = plugins.load(argv, config)
            if any(argument in ("--help", "-help", "-h") for argument in argv):
                print(flags.help_text(doc, [config, Machine()]), STATUS, sep="\n\n", flush=True)
                return 0
            config, machine = flags.read(argv, [config, Machine()], presets)
            where = getattr(config, "engine", None)
            start_backend(machine, getattr(where, "engine", "local") != "local")
            _check_platforms()
            plugins.devices_told(imported, _device_count(machine))
            run(config)
            sys.stdout.flush()
    except errors.InputError as error:
        return _end(f"error: {_with_flags(error, config)}", EXIT_BAD_INPUT)
    except errors.RunError as error:
        return _end(f"error: {_with_flags(error, config)}", error.status)
    except signals.Stopped as stopped:
        return _end(f"stopped by {stopped}: the same command continues", stopped.status)
    except MemoryError:
        return _end("error: not enough memory; try a smaller --max_lanes.", 1)
    except BrokenPipeError:  # Nobody reads the output any more, as after `| head`.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:  # A disk or a folder that nobody nearer to it expected.
        where = "" if error.filename is None else f"{error.filename}: "
        return _end(f"error: {where}{error.strerror or error}.", 1)
    return 0


def _with_flags(error: errors.InputError | errors.RunError, config: Any) -> str:
    """The error's line, with the flags that it is about: the library does not know of them."""
    line, out = str(error), getattr(config, "out", None)
    if out is not None and line.startswith(f"{pathlib.Path(out)}: "):
        line = f"--out={line}"
    else:
        line = flags.with_dashes(line, flags.of([config]))
    busy = isinstance(error, errors.RunError) and error.status == locks.BUSY_STATUS
    return f"{line} --lock=wait waits for it." if busy and hasattr(config, "lock") else line


def _end(line: str, status: int) -> int:
    """Prints one line, whatever characters a file name brought into it."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
    print(shown, file=sys.stderr, flush=True)
    return status
