"""Pruning algorithms by name."""

from collections.abc import Callable
from typing import Literal

from lth_jax.pruners import base
from lth_jax.pruners.bernoulli import bernoulli
from lth_jax.pruners.biprop import biprop
from lth_jax.pruners.edge_popup import edge_popup
from lth_jax.pruners.frozen import frozen
from lth_jax.pruners.gem_miner import gem_miner
from lth_jax.pruners.hard_concrete import hard_concrete
from lth_jax.pruners.signed import signed

PrunerName = Literal[
    "edge_popup", "biprop", "signed", "frozen", "bernoulli", "gem_miner", "hard_concrete"
]

# name -> (scope=, prunable=, score_bound=, kernel_axes=, options of its own) -> Pruner. A new
# algorithm is a file, a line here, and its name one in PrunerName: the contract tests run over it.
PRUNERS: dict[str, Callable[..., base.Pruner]] = {
    "edge_popup": edge_popup,
    "biprop": biprop,
    "signed": signed,
    "frozen": frozen,
    "bernoulli": bernoulli,
    "gem_miner": gem_miner,
    "hard_concrete": hard_concrete,
}
