"""Keeps the rows of a finished run as one small file that can be committed.

    python -m experiments.archive --run=FOLDER --to=NAME.jsonl.gz --commands=FILE
    python -m experiments.archive --run=FOLDER --restore=NAME.jsonl.gz

The file holds the rows, the settings, versions, device and commit, and the commands of FILE,
one a line. It is written anew each time; equal rows give equal bytes. With --restore the folder is
made again, and the command that made the rows goes on there.
"""

import dataclasses
import pathlib
import sys

from experiments import cli
from lth_jax import errors
from lth_jax.runs import archive


@dataclasses.dataclass(frozen=True)
class Config:
    """What to keep, and where."""

    run: str = cli.setting("", "The run's folder.")
    to: str = cli.setting("", f"The file, NAME{archive.SUFFIX}.")
    commands: str = cli.setting("", "A file with the commands that made the rows.")

    restore: str = cli.setting("", "A file to make the run's folder of, in place of --to.")

    def __post_init__(self) -> None:
        if self.restore and (self.to or self.commands):
            raise ValueError("restore must be given with run alone.")
        if not self.to.endswith(archive.SUFFIX) and self.to:
            raise ValueError(f"to must end in {archive.SUFFIX}, got {self.to!r}.")


def run(config: Config) -> None:
    """Writes the file or the folder; see lth_jax.runs.archive.

    Raises:
        InputError: If a flag is missing, or the folder or the commands cannot be read.
        RunError: If the file cannot be written.
    """
    if config.run and config.restore:
        archive.restore(config.restore, config.run)
        print(config.run)
        return
    if not (config.run and config.to and config.commands):
        raise errors.InputError("run, to and commands must be given.")
    try:
        commands = pathlib.Path(config.commands).read_text().splitlines()
    except OSError as error:
        raise errors.InputError(f"commands: {config.commands}: {error.strerror}.") from None
    archive.store(config.run, config.to, commands)
    print(config.to)


if __name__ == "__main__":
    sys.exit(cli.main(run, Config(), __doc__))
