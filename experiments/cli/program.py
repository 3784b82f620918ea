"""The command line of every study: flags from a frozen dataclass, one-line errors, the backend.

A field's flag is its name; its help is `metadata={"help": ...}`; a tuple is a comma-separated list.
Bad input gives one line on standard error and exit status 2, before any work.
"""

import dataclasses
import os
import pathlib
import sys
import textwrap
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from absl import flags

from experiments.cli import signals
from lth_jax import errors, files

EXIT_BAD_INPUT = 2
STATUS = """\
Exit status: 0 done; 1 the run could not go on (full disk, lost process); 2 bad input, nothing was
touched; 3 the folder is in use; 130 and 143 stopped by SIGINT or SIGTERM, after saving. After 1, 3,
130 and 143 the same command continues."""


def setting(default: Any, help: str) -> Any:
    """A dataclass field with a default and the help text of its flag."""
    return dataclasses.field(default=default, metadata={"help": help})


@dataclasses.dataclass(frozen=True)
class Machine:
    """Flags that every study has: where it runs, not what it computes."""

    cpu_devices: int = setting(0, "CPU devices to split the cores into; 0 is one per core.")
    compile_cache: bool = setting(True, "Keep compiled programs in the user's cache folder.")

    def __post_init__(self):
        if self.cpu_devices < 0:
            raise ValueError(f"cpu_devices must be at least 0, got {self.cpu_devices}.")


def start_backend(machine: Machine) -> None:
    """Sets the device count and the compile cache; only before JAX's backend has started."""
    caches = _writable(files.cache_folder())
    if caches:  # Else matplotlib makes folders of its own in the user's home.
        os.environ.setdefault("MPLCONFIGDIR", str(files.cache_folder() / "matplotlib"))
    import jax

    count = machine.cpu_devices or len(os.sched_getaffinity(0))
    if jax.config.jax_num_cpu_devices == count:
        return  # Somebody has set JAX up, as the tests do; setting the same count does not fail.
    try:
        jax.config.update("jax_num_cpu_devices", count)
    except RuntimeError:  # The backend is up, as in tests: its device count stands.
        return
    if machine.compile_cache and caches:
        jax.config.update("jax_compilation_cache_dir", str(files.cache_folder() / "compiled"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


def _writable(folder: pathlib.Path) -> bool:
    """Makes a folder. Without one neither JAX nor matplotlib is quiet about their caches."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK | os.X_OK)


def _parse_one(kind: Any, text: str) -> Any:
    if kind is bool:
        lowered = text.strip().lower()
        if lowered not in ("true", "false", "1", "0"):
            raise ValueError("expected true or false")
        return lowered in ("true", "1")
    if typing.get_origin(kind) is typing.Literal:
        if text.strip() not in typing.get_args(kind):
            raise ValueError(f"expected one of {', '.join(typing.get_args(kind))}")
        return text.strip()
    return kind(text.strip())


def parse(kind: Any, text: str) -> Any:
    """Parses a flag's text as the type of its field: a scalar, `T | None` or `tuple[T, ...]`.

    Raises:
        ValueError: If the text does not fit the type, or a list is empty.
    """
    if typing.get_origin(kind) is tuple:
        parts = [part for part in text.split(",") if part.strip()]
        if not parts or len(parts) != text.count(",") + 1:
            raise ValueError("expected a comma-separated list with no empty entry")
        return tuple(_parse_one(typing.get_args(kind)[0], part) for part in parts)
    if typing.get_origin(kind) in (types.UnionType, typing.Union):
        if text.strip().lower() in ("none", ""):
            return None
        return _parse_one(next(a for a in typing.get_args(kind) if a is not type(None)), text)
    return _parse_one(kind, text)


def _show(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _fields(configs: Sequence[Any]) -> dict[str, tuple[Any, Any, str]]:
    found = {}
    for config in configs:
        hints = typing.get_type_hints(type(config))
        for field in dataclasses.fields(config):
            default = getattr(config, field.name)
            found[field.name] = (hints[field.name], default, field.metadata.get("help", ""))
    return found


def help_text(doc: str, configs: Sequence[Any]) -> str:
    """The study's docstring and one paragraph per flag."""
    lines = [doc.strip(), "", "Flags (a list is comma-separated):"]
    for name, (_, default, about) in _fields(configs).items():
        text = f"--{name}={_show(default)}  {about}"
        lines += textwrap.wrap(text, 98, initial_indent="  ", subsequent_indent="        ")
    return "\n".join([*lines, "", STATUS])


def read_flags(
    argv: Sequence[str], configs: Sequence[Any], presets: Mapping[str, Mapping[str, Any]]
) -> list[Any]:
    """Returns the configs with what the command line says replaced.

    Args:
        argv: The arguments, without the program's name.
        configs: Frozen dataclass instances holding the defaults.
        presets: Sets of other defaults for the first config, chosen by its field `preset`.

    Raises:
        InputError: If a flag is unknown or its value does not fit or is refused by its config.
    """
    known = _fields(configs)
    values = flags.FlagValues()
    for name, (kind, default, about) in known.items():
        if kind is bool:  # So that --flag and --noflag work.
            flags.DEFINE_boolean(name, default, about, flag_values=values)
        else:
            flags.DEFINE_string(name, None, about, flag_values=values)
    try:
        rest = values(["study", *argv])[1:]
    except (flags.Error, ValueError) as error:  # ValueError: --noflag=value.
        raise errors.InputError(" ".join(str(error).split())) from None
    if rest:
        raise errors.InputError(f"expected flags like --name=value, got {rest[0]!r}.")
    typed = {}
    for name, (kind, _, _) in known.items():
        if not values[name].present:
            continue
        value = values[name].value
        try:
            typed[name] = value if kind is bool else parse(kind, value)
        except ValueError as error:
            raise errors.InputError(f"--{name}={value}: {error}.") from None
    if typed.get("preset"):
        if typed["preset"] not in presets:
            known_presets = ", ".join(presets) or "none here"
            raise errors.InputError(
                f"--preset must be one of {known_presets}, got {typed['preset']!r}."
            )
        typed = {**presets[typed["preset"]], **typed}
    results = []
    for config in configs:
        own = {f.name: typed[f.name] for f in dataclasses.fields(config) if f.name in typed}
        try:
            results.append(dataclasses.replace(config, **own))
        except ValueError as error:
            raise errors.InputError(str(error)) from None
    return results


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
    for stream in (sys.stdout, sys.stderr):  # A terminal without ± is no reason to fail.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        with signals.raised():
            if any(argument in ("--help", "-help", "-h") for argument in argv):
                print(help_text(doc, [config, Machine()]), flush=True)
                return 0
            config, machine = read_flags(argv, [config, Machine()], presets)
            start_backend(machine)
            run(config)
            sys.stdout.flush()
    except errors.InputError as error:
        return _end(f"error: {error}", EXIT_BAD_INPUT)
    except errors.RunError as error:
        return _end(f"error: {error}", error.status)
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


def _end(line: str, status: int) -> int:
    """Prints one line, whatever characters a file name brought into it."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
    print(shown, file=sys.stderr, flush=True)
    return status
