"""What the paper's tables 1 to 3 say, to stand beside rows of our own (Xiong et al. 2023).

The numbers and their source are in experiments/published/paper.json.
"""

import functools
import json
import pathlib
from typing import NamedTuple

FILE = pathlib.Path(__file__).with_name("paper.json")


class Table(NamedTuple):
    """Test accuracies of one table: MNIST, the paper's net, one seed, no intervals."""

    number: int  # 1, 2 or 3
    method: str  # ours that does what the table does
    eps: tuple[float, ...]
    sparsity: tuple[float, ...]  # fraction removed
    accuracy: tuple[tuple[float, ...], ...]  # [sparsity][eps], as fractions

    @property
    def cells(self) -> dict[tuple[float, float], float]:
        """Accuracy by (eps, sparsity)."""
        return {
            (eps, sparsity): value
            for sparsity, row in zip(self.sparsity, self.accuracy, strict=True)
            for eps, value in zip(self.eps, row, strict=True)
        }


class Paper(NamedTuple):
    """The tables by number, where they are from, and what is to be known of them."""

    source: str
    note: str
    tables: dict[int, Table]


@functools.cache
def paper() -> Paper:
    """Reads the file of the published numbers."""
    stored = json.loads(FILE.read_text())
    axes = tuple(stored["eps"]), tuple(stored["sparsity"])
    tables = [
        Table(entry["number"], entry["method"], *axes, tuple(map(tuple, entry["accuracy"])))
        for entry in stored["tables"]
    ]
    return Paper(stored["source"], stored["note"], {table.number: table for table in tables})
