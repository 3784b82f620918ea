"""Processes that the benchmark asks for times: a line in, a number of milliseconds out."""

import subprocess
import sys
from collections.abc import Sequence


class Process:
    """A module that runs as a program and answers requests; several can be under way at once."""

    def __init__(self, module: str, *arguments: object) -> None:
        """Starts it."""
        self._process = subprocess.Popen(
            command(module, *arguments), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdin is not None and self._process.stdout is not None  # Pipes.
        self._requests, self._answers = self._process.stdin, self._process.stdout

    def ask(self, request: str) -> None:
        """Sends one line."""
        self._requests.write(request + "\n")
        self._requests.flush()

    def answer(self) -> float:
        """Milliseconds of the oldest request that has not been answered.

        Raises:
            RuntimeError: If the process ended.
        """
        line = self._answers.readline()
        if not line:
            raise RuntimeError("a process of the benchmark ended before it answered.")
        return float(line)

    def close(self) -> None:
        """Ends the process."""
        self._requests.close()
        self._process.wait()


def command(module: str, *arguments: object) -> list[str]:
    """How a module of the benchmark is started as a program."""
    return [sys.executable, "-m", module, *map(str, arguments)]


def together(processes: Sequence[Process], request: str) -> float:
    """The same request to all at once: milliseconds over their number, the throughput."""
    for process in processes:
        process.ask(request)
    return max([process.answer() for process in processes]) / len(processes)
