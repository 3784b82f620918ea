"""Runs the benchmark's command."""

import os
import sys

# Before JAX starts: a card is shared with PyTorch and with processes of our own.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

from experiments import cli  # noqa: E402
from experiments.benchmark import command  # noqa: E402

if __name__ == "__main__":
    sys.exit(cli.main(command.run, command.Config(), command.__doc__))
