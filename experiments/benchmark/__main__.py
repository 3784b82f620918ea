"""Runs the benchmark's command."""

import sys

from experiments import cli
from experiments.benchmark import command

if __name__ == "__main__":
    sys.exit(cli.main(command.run, command.Config(), command.__doc__))
