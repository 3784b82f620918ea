"""Pruning algorithms, one file each; PRUNERS holds them all by name."""

from lth_jax.pruners.base import Prunable, Pruner, choose, merge, no_penalty, prunable
from lth_jax.pruners.edge_popup import edge_popup
from lth_jax.pruners.kernels import KernelAxes, Leaf, doubts, kernel_axes, leaves, out_first
from lth_jax.pruners.registry import PRUNERS, PrunerName, build_pruner, register

__all__ = [
    "PRUNERS",
    "KernelAxes",
    "Leaf",
    "Prunable",
    "Pruner",
    "PrunerName",
    "build_pruner",
    "choose",
    "doubts",
    "edge_popup",
    "kernel_axes",
    "leaves",
    "merge",
    "no_penalty",
    "out_first",
    "prunable",
    "register",
]
