"""Flags from frozen dataclasses: a field's flag is its name, its help is in its metadata.

A tuple is a comma-separated list; a positional one takes the arguments that are no flags. A field
that holds a dataclass is no flag itself, but the fields of that dataclass are, by their own names:
so no default and no check is written twice.
"""

import dataclasses
import decimal
import math
import re
import textwrap
import types
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from absl import flags as absl_flags

from lth_jax import errors

_Config = TypeVar("_Config")


class Flag(NamedTuple):
    """What is known of a flag beside its name."""

    kind: Any  # the field's type
    default: Any
    help: str
    positional: bool = False  # no flag: it takes the arguments that are none


def setting(default: Any, help: str | Callable[[], str], positional: bool = False) -> Any:
    """A dataclass field with a default and the help text of its flag.

    Args:
        default: Of the field.
        help: Of the flag, or a function that makes it when it is asked for.
        positional: Whether it takes the arguments that are no flags; then it is a tuple of text.
    """
    return dataclasses.field(default=default, metadata={"help": help, "positional": positional})


def of(configs: Sequence[Any]) -> dict[str, Flag]:
    """The flags of some configs, by name.

    Args:
        configs: Dataclass instances holding the defaults.

    Raises:
        TypeError: If two fields have the same name.
    """
    found: dict[str, Flag] = {}
    for config in configs:
        hints = typing.get_type_hints(type(config))
        for field in dataclasses.fields(config):
            default = getattr(config, field.name)
            if _is_config(default):
                fresh = of([default])
            else:
                about = field.metadata.get("help", "")
                about = about() if callable(about) else about
                rest = field.metadata.get("positional", False)
                fresh = {field.name: Flag(hints[field.name], default, about, rest)}
            if twice := found.keys() & fresh.keys():
                raise TypeError(f"two fields are named {min(twice)}.")
            found |= fresh
    return found


def _is_config(value: Any) -> bool:
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


def values(config: Any) -> dict[str, Any]:
    """What a config's flags are set to, by name; those of nested configs among them."""
    return {name: flag.default for name, flag in of([config]).items()}


def replace(config: _Config, **changed: Any) -> _Config:
    """The config with some fields changed; those of nested configs go by their own names.

    Args:
        config: A frozen dataclass instance.
        **changed: The new values.

    Raises:
        TypeError: If there is no field of such a name.
        ValueError: If the config's own checks refuse a value.
    """
    unknown = changed.keys() - values(config).keys()
    if unknown:
        raise TypeError(f"{type(config).__name__} has no field {min(unknown)}.")
    own = {}
    for field in dataclasses.fields(config):  # type: ignore[arg-type]  # A TypeVar has no bound "dataclass".
        held = getattr(config, field.name)
        if _is_config(held):
            inner = {name: changed[name] for name in changed.keys() & values(held).keys()}
            own[field.name] = replace(held, **inner)
        elif field.name in changed:
            own[field.name] = changed[field.name]
    return dataclasses.replace(config, **own)  # type: ignore[type-var]


def _parse_one(kind: Any, text: str) -> Any:
    if kind is bool:
        lowered = text.strip().lower()
        if lowered not in ("true", "false", "1", "0"):
            raise ValueError("expected true or false")
        return lowered in ("true", "1")
    if typing.get_origin(kind) is typing.Literal:
        known = typing.get_args(kind)
        if text.strip() not in known:
            raise ValueError(f"expected one of {', '.join(map(str, known))}")
        return text.strip()
    plain = text.strip().lower()
    try:
        value = kind(text.strip())
    except ValueError:  # Python's own words are "invalid literal for int() with base 10".
        raise ValueError(f"expected a {'whole ' if kind is int else ''}number") from None
    if kind in (int, float) and "_" in plain:
        raise ValueError("expected a number without underscores")
    if kind is float and value == 0 and decimal.Decimal(plain) != 0:
        raise ValueError("too small for a number of 64 bits")
    if kind is float and math.isinf(value) and "inf" not in plain:
        raise ValueError("too large for a number of 64 bits")
    return value


def parse(kind: Any, text: str) -> Any:
    """Parses a flag's text as the type of its field.

    Args:
        kind: A scalar, a Literal of words, `T | None` or `tuple[T, ...]` of those. Of what else a
            union has, as a function, no text can be made.
        text: What was given.

    Raises:
        ValueError: If the text does not fit the type, or a list is empty.
    """
    if typing.get_origin(kind) is tuple:
        parts = [part for part in text.split(",") if part.strip()]
        if not parts or len(parts) != text.count(",") + 1:
            raise ValueError("expected a comma-separated list with no empty entry")
        return tuple(_parse_one(typing.get_args(kind)[0], part) for part in parts)
    if typing.get_origin(kind) in (types.UnionType, typing.Union):
        members = typing.get_args(kind)
        if type(None) in members and text.strip().lower() in ("none", ""):
            return None
        return _parse_one(next(a for a in members if a is not type(None)), text)
    return _parse_one(kind, text)


def _show(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def help_text(doc: str, configs: Sequence[Any]) -> str:
    """The study's docstring and one paragraph per flag."""
    lines = [doc.strip(), "", "Flags (a list is comma-separated):"]
    for name, flag in of(configs).items():
        shown = f"{name.upper()}..." if flag.positional else f"--{name}={_show(flag.default)}"
        text = f"{shown}  {flag.help}"
        lines += textwrap.wrap(text, 98, initial_indent="  ", subsequent_indent="        ")
    return "\n".join(lines)


def with_dashes(message: str, names: Collection[str]) -> str:
    """A message with "--" put before the flags that it starts with or gives a value to.

    So that the checks of a config, which may be the library's, need not know of flags.

    Args:
        message: As "eps must be at least 0, got -1.", "n, eta and eps go together." or "no such
            file; pass data_dir=FOLDER".
        names: Of the flags. A message that starts with none of them stays as it is.
    """
    name = rf"(?:{'|'.join(map(re.escape, names))})(?!\w)"
    message = re.sub(rf"(?<![\w/-]){name}(?==)", r"--\g<0>", message)
    # Not "out/run1: …" or "process 1 of 2 …": what is said of a flag goes on in one of these ways.
    goes_on = r"(?=:| (?:must|need|needs|go|lie|do|does|has|have|is|are)\b)"
    head = re.match(rf"{name}(?:, {name})*(?: (?:and|or) {name})?{goes_on}", message)
    if head is None:
        return message
    return re.sub(rf"(?<!\w){name}", r"--\g<0>", head[0]) + message[head.end() :]


def read(
    argv: Sequence[str], configs: Sequence[Any], presets: Mapping[str, Mapping[str, Any]]
) -> list[Any]:
    """Returns the configs with what the command line says replaced.

    Args:
        argv: The arguments, without the program's name.
        configs: Frozen dataclass instances holding the defaults.
        presets: Sets of other defaults, chosen by the field `preset`.

    Raises:
        InputError: If a flag is unknown or its value does not fit or is refused by its config.
    """
    known = of(configs)
    typed = _typed(argv, known)
    if preset := typed.get("preset"):
        if preset not in presets:
            known_presets = ", ".join(presets) or "none here"
            raise errors.InputError(f"--preset must be one of {known_presets}, got {preset!r}.")
        typed = {**presets[preset], **typed}
    results = []
    for config in configs:
        own = {name: typed[name] for name in typed.keys() & values(config).keys()}
        try:
            results.append(replace(config, **own))
        except ValueError as error:
            raise errors.InputError(with_dashes(str(error), known)) from None
    return results


def early(argv: Sequence[str], name: str, flag: Flag) -> Any:
    """The value of one flag, whatever else is on the command line.

    Args:
        argv: The arguments, without the program's name.
        name: Of the flag, which is no bool.
        flag: What is known of it.

    Raises:
        InputError: If its value does not fit.
    """
    given = absl_flags.FlagValues()  # type: ignore[no-untyped-call]
    absl_flags.DEFINE_string(name, None, flag.help, flag_values=given)
    try:
        given(["study", *argv], known_only=True)
    except absl_flags.Error as error:
        raise errors.InputError(" ".join(str(error).split())) from None
    return _parsed(name, flag, given[name].value) if given[name].present else flag.default


def _parsed(name: str, flag: Flag, value: Any) -> Any:
    try:
        return value if flag.kind is bool else parse(flag.kind, value)
    except ValueError as error:
        raise errors.InputError(f"--{name}={value}: {error}.") from None


def _typed(argv: Sequence[str], known: Mapping[str, Flag]) -> dict[str, Any]:
    """The values that the arguments give, as the types of their fields, by name."""
    given = absl_flags.FlagValues()  # type: ignore[no-untyped-call]
    places = [name for name, flag in known.items() if flag.positional]
    given.set_gnu_getopt(bool(places))  # Flags may then stand behind other arguments.
    for name, flag in known.items():
        if flag.positional:
            continue
        if flag.kind is bool:  # So that --flag and --noflag work.
            absl_flags.DEFINE_boolean(name, flag.default, flag.help, flag_values=given)
        else:
            absl_flags.DEFINE_string(name, None, flag.help, flag_values=given)
    try:
        rest = given(["study", *argv])[1:]
    except absl_flags.UnrecognizedFlagError as error:
        said = str(error).replace(" ?", "?")  # Where it asks "Did you mean: eps ?"
        end = "" if said.endswith("?") else "."
        raise errors.InputError(f"{said}{end} --help lists all flags.") from None
    except (absl_flags.Error, ValueError) as error:  # ValueError: --noflag=value.
        raise errors.InputError(" ".join(str(error).split())) from None
    if rest and not places:
        raise errors.InputError(f"expected flags like --name=value, got {rest[0]!r}.")
    typed: dict[str, Any] = {name: tuple(rest) for name in places if rest}
    for name, flag in known.items():
        if not flag.positional and given[name].present:
            typed[name] = _parsed(name, flag, given[name].value)
    return typed
