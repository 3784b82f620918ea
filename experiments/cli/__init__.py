"""What the commands share: flags, signals, messages."""

from experiments.cli.flags import setting
from experiments.cli.program import main

__all__ = ["main", "setting"]
