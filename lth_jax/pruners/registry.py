"""Pruning algorithms by name."""

from collections.abc import Callable
from typing import Literal

from lth_jax import errors, names
from lth_jax.masks import selection
from lth_jax.pruners import base, kernels
from lth_jax.pruners.bernoulli import bernoulli
from lth_jax.pruners.biprop import biprop
from lth_jax.pruners.edge_popup import ScoreBound, edge_popup
from lth_jax.pruners.frozen import frozen
from lth_jax.pruners.gem_miner import gem_miner
from lth_jax.pruners.hard_concrete import hard_concrete
from lth_jax.pruners.iterand import iterand
from lth_jax.pruners.one_shot.magnitude import magnitude
from lth_jax.pruners.one_shot.random import random
from lth_jax.pruners.signed import signed

PrunerName = Literal[
    "edge_popup",
    "biprop",
    "signed",
    "frozen",
    "bernoulli",
    "gem_miner",
    "hard_concrete",
    "iterand",
    "random",
    "magnitude",
]

# Makes a pruner of scope=, prunable=, kernel_axes= and score_bound=, see edge_popup; one of the
# user's own may leave out what it has no use for.
Build = Callable[..., base.Pruner]

# A new algorithm is a file, an entry here, and its name in PrunerName: the contract tests run over
# this table.
PRUNERS: names.Registry[Build] = names.Registry(
    "pruner",
    {
        "edge_popup": edge_popup,
        "biprop": biprop,
        "signed": signed,
        "frozen": frozen,
        "bernoulli": bernoulli,
        "gem_miner": gem_miner,
        "hard_concrete": hard_concrete,
        "iterand": iterand,
        "random": random,
        "magnitude": magnitude,
    },
)


def register(name: str, build: Build) -> Build:
    """Makes a pruner known by a name, to studies and to the command line.

    Args:
        name: Letters, digits and _.+-
        build: Makes a Pruner of those of the arguments scope, prunable, kernel_axes and score_bound
            that it takes, see `edge_popup`.

    Returns:
        `build`.

    Raises:
        InputError: If the name belongs to another one; the message is one line.
    """
    return PRUNERS.register(name, build)


def build_pruner(
    name: str,
    scope: selection.Scope = "tensor",
    prunable: base.Prunable | None = None,
    kernel_axes: kernels.KernelAxes = kernels.kernel_axes,
    score_bound: ScoreBound | None = None,
) -> base.Pruner:
    """Builds a pruner of PRUNERS, which rows call by this name.

    Args:
        name: One of PRUNERS.
        scope: "tensor", "global" or "erk".
        prunable: What to prune; None is the pruner's own choice, as a rule all kernels.
        kernel_axes: Tells what is a kernel.
        score_bound: Where initial scores lie, if the pruner has use for it.

    Raises:
        InputError: If the name is unknown, or the pruner takes no scope or choice and is asked to.
        ValueError: If the pruner refuses an argument.
    """
    build, who = PRUNERS.find(name), f"pruner {name!r}"
    selection.check_scope(scope)
    offered = {"kernel_axes": kernel_axes, "score_bound": score_bound}
    asked = {"scope": (scope, "tensor"), "prunable": (prunable, None)}
    found = names.call(build, who, offered, asked)
    if not isinstance(found, base.Pruner):
        raise errors.InputError(f"{who} must be made as a Pruner, got {type(found).__name__}.")
    return found._replace(name=name)
