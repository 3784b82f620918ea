"""Pruning algorithms, one file each; PRUNERS holds them all by name."""

from lth_jax.pruners.base import (
    Prunable,
    Pruner,
    changes_weights,
    check,
    choose,
    masked,
    merge,
    no_penalty,
    opposite,
    prunable,
)
from lth_jax.pruners.bernoulli import bernoulli
from lth_jax.pruners.biprop import biprop
from lth_jax.pruners.edge_popup import edge_popup
from lth_jax.pruners.frozen import frozen
from lth_jax.pruners.gem_miner import gem_miner
from lth_jax.pruners.hard_concrete import hard_concrete
from lth_jax.pruners.iterand import iterand
from lth_jax.pruners.kernels import (
    KernelAxes,
    Leaf,
    doubts,
    excluding,
    kernel_axes,
    leaves,
    out_first,
)
from lth_jax.pruners.registry import PRUNERS, PrunerName, build_pruner, register
from lth_jax.pruners.signed import signed

__all__ = [
    "PRUNERS",
    "KernelAxes",
    "Leaf",
    "Prunable",
    "Pruner",
    "PrunerName",
    "bernoulli",
    "biprop",
    "build_pruner",
    "changes_weights",
    "check",
    "choose",
    "doubts",
    "edge_popup",
    "excluding",
    "frozen",
    "gem_miner",
    "hard_concrete",
    "iterand",
    "kernel_axes",
    "leaves",
    "masked",
    "merge",
    "no_penalty",
    "opposite",
    "out_first",
    "prunable",
    "register",
    "signed",
]
