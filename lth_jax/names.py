"""What is known by name: data sets, models, pruners and methods, each in a registry of its own."""

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, TypeVar

from lth_jax import errors

_Entry = TypeVar("_Entry")
_NAME = re.compile(r"[A-Za-z0-9_.+-]+")  # It becomes part of file names and of lists in flags.


class Registry(Mapping[str, _Entry], Generic[_Entry]):
    """Entries by name: those that the library has, then those that others have registered.

    In a row or a folder a built-in name says all about its entry; of another one also the program
    that it computes is compared.
    """

    def __init__(self, what: str, built_in: Mapping[str, _Entry]):
        """Keeps what its entries are called in messages, and those of the library."""
        self._what, self._built_in = what, dict(built_in)
        self._own: dict[str, _Entry] = {}

    def register(self, name: str, entry: _Entry) -> _Entry:
        """Makes an entry known by a name.

        Args:
            name: Letters, digits and _.+-
            entry: The same one may be registered again under its name.

        Returns:
            The entry.

        Raises:
            InputError: If the name belongs to another entry, or does not fit a file name.
        """
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise errors.InputError(
                f"{self._what} must have a name of letters, digits and _.+-, got {name!r}."
            )
        if name in self and self[name] != entry:
            remedy = f": {self._what.upper()}S.remove({name!r}) first"
            raise errors.InputError(
                f"{self._what} must have a name that is free, got {name!r}, which "
                f"{'is built in' if self.is_built_in(name) else 'is another one already' + remedy}."
            )
        if name not in self:
            self._own[name] = entry
        return entry

    def remove(self, name: str) -> None:
        """Forgets an entry that was registered, so that another one may have its name.

        Raises:
            KeyError: If there is none, or it is built in.
        """
        del self._own[name]

    def find(self, name: str) -> _Entry:
        """The entry of a name.

        Raises:
            InputError: If it is unknown; the message lists what is known.
        """
        if not isinstance(name, str) or name not in self:
            raise errors.InputError(f"{self._what} must be one of {self.names()}, got {name!r}.")
        return self[name]

    def is_built_in(self, name: str) -> bool:
        """Whether a name says all about its entry."""
        return name in self._built_in

    def names(self) -> str:
        """All names as a list for people."""
        return ", ".join(self)

    def __repr__(self) -> str:
        """What is known, for people."""
        return f"<each {self._what}: {self.names()}>"

    def __getitem__(self, name: str) -> _Entry:
        return self._built_in[name] if name in self._built_in else self._own[name]

    def __iter__(self) -> Iterator[str]:
        yield from self._built_in
        yield from self._own

    def __len__(self) -> int:
        return len(self._built_in) + len(self._own)


def call(
    builder: Callable[..., Any],
    who: str,
    offered: Mapping[str, Any],
    asked: Mapping[str, tuple[Any, Any]],
) -> Any:
    """Calls a builder with those arguments that it takes, so that it need not take all.

    Args:
        builder: Of a registry.
        who: What to call it in a message.
        offered: Arguments that it may leave.
        asked: Others, each with the default that asks for nothing.

    Returns:
        What it returns.

    Raises:
        InputError: If it does not take an argument that asks for something.
    """
    parameters = inspect.signature(builder).parameters
    takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    given = dict(offered)
    for name, (value, default) in asked.items():
        if not takes_all and name not in parameters and value != default:
            raise errors.InputError(f"{name}: {who} takes none.")
        given[name] = value
    return builder(**{n: value for n, value in given.items() if takes_all or n in parameters})
