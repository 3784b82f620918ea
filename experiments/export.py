"""Writes a ticket's network as .safetensors, for PyTorch or any other framework.

    python -m experiments.export --ticket=FILE --to=NAME.safetensors

With --layout=torch names and orders are those of a state_dict. The file's metadata hold the mean
and std of the inputs in raw units, the number of classes and the model's name. Tickets of a model
of your own are written by `Study.export`, which knows the model.
"""

import dataclasses
import sys

from experiments import cli
from lth_jax import errors, tickets


@dataclasses.dataclass(frozen=True)
class Config:
    """What to write, and where."""

    ticket: str = cli.setting("", "The ticket's file, in the folder tickets of a run.")
    to: str = cli.setting("", "The file to write, NAME.safetensors.")
    layout: tickets.Layout = cli.setting("torch", "torch, or flax for arrays as they are.")


def run(config: Config) -> None:
    """Writes the file; see lth_jax.tickets.export.

    Raises:
        InputError: If a flag is missing, or the ticket cannot be read or written in the layout.
        RunError: If the file cannot be written.
    """
    if not (config.ticket and config.to):
        raise errors.InputError("ticket and to must be given.")
    loaded = tickets.load(config.ticket)
    try:
        tickets.export_ticket(config.to, loaded, layout=config.layout)
    except ValueError as error:
        raise errors.InputError(f"{config.ticket}: {error}") from None
    except OSError as error:
        raise errors.RunError(f"{config.to}: {error.strerror or error}.") from None
    print(config.to)


if __name__ == "__main__":
    sys.exit(cli.main(run, Config(), __doc__))
