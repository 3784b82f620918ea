"""Pruning algorithms, one file each; PRUNERS holds them all by name."""

from lth_jax.pruners.base import Prunable, Pruner, choose, merge, no_penalty, prunable
from lth_jax.pruners.edge_popup import edge_popup
from lth_jax.pruners.registry import PRUNERS, PrunerName

__all__ = [
    "PRUNERS",
    "Prunable",
    "Pruner",
    "PrunerName",
    "choose",
    "edge_popup",
    "merge",
    "no_penalty",
    "prunable",
]
