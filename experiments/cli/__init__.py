"""What the commands share: flags, signals, messages."""

from experiments.cli.program import main, setting

__all__ = ["main", "setting"]
