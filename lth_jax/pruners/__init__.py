"""Pruning algorithms, one file each; PRUNERS holds them all by name."""

from lth_jax.pruners.base import Pruner, prunable
from lth_jax.pruners.edge_popup import edge_popup

# A new algorithm is a file and a line here: the contract tests run over this table.
PRUNERS = {"edge_popup": edge_popup}

__all__ = ["PRUNERS", "Pruner", "edge_popup", "prunable"]
