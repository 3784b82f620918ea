"""The methods that are compared: lists of stages, and what each kind of stage does.

Sources: the paper's algorithm 1 and its tables 1 to 3 (arXiv 2210.16589); `joint` is ours.
A new kind of stage is an object here; a new method is a `Method`, made known by `register`.
"""

import math
from typing import Literal, NamedTuple, Protocol

import chex
import jax

from lth_jax import pruners
from lth_jax.training import config as train_config

Part = Literal["weights", "scores"]
MethodName = Literal[
    "prune",
    "prune_longer",
    "perturb_then_prune",
    "random_then_prune",
    "prune_then_perturb",
    "joint",
    "random_mask_then_perturb",
    "dense",
]


class Network(Protocol):
    """The network whose loss a stage lowers."""

    def __call__(
        self,
        pruner: pruners.Pruner,
        key: jax.Array,
        weights: chex.ArrayTree,
        scores: chex.ArrayTree,
        kept: chex.ArrayTree,
        state: chex.ArrayTree,
    ) -> chex.ArrayTree:
        """Weights as the model applies them, differentiable in what the stage moves."""


def whole_network(
    pruner: pruners.Pruner,
    key: jax.Array,
    weights: chex.ArrayTree,
    scores: chex.ArrayTree,
    kept: chex.ArrayTree,
    state: chex.ArrayTree,
) -> chex.ArrayTree:
    """No mask."""
    del pruner, key, scores, kept, state
    return weights


def through_fixed_mask(
    pruner: pruners.Pruner,
    key: jax.Array,
    weights: chex.ArrayTree,
    scores: chex.ArrayTree,
    kept: chex.ArrayTree,
    state: chex.ArrayTree,
) -> chex.ArrayTree:
    """The mask of the scores, which do not move."""
    del key
    return pruner.apply(weights, pruner.mask(scores, kept, state))


def through_trained_mask(
    pruner: pruners.Pruner,
    key: jax.Array,
    weights: chex.ArrayTree,
    scores: chex.ArrayTree,
    kept: chex.ArrayTree,
    state: chex.ArrayTree,
) -> chex.ArrayTree:
    """The mask of the scores, which learn through it."""
    return pruner.subnetwork(key, weights, scores, kept, state)


class StageKind(NamedTuple):
    """What a kind of stage does. Its name is for rows, checkpoints and people."""

    name: str
    moves: tuple[Part, ...]  # () takes no steps
    network: Network
    masked: bool  # whether the network has a mask
    in_ball: bool  # whether the weights are kept in the ball
    random_start: bool = False  # whether the weights begin at a random point of the ball


RANDOMIZE = StageKind("randomize", (), whole_network, False, True, random_start=True)
PERTURB = StageKind("perturb", ("weights",), whole_network, False, True)
PRUNE = StageKind("prune", ("scores",), through_trained_mask, True, False)
PERTURB_MASKED = StageKind("perturb_masked", ("weights",), through_fixed_mask, True, True)
JOINT = StageKind("joint", ("weights", "scores"), through_trained_mask, True, True)


class Stage(NamedTuple):
    """One leg of a method; it lasts the perturb epochs, the prune epochs, both or neither."""

    kind: StageKind
    perturb_epochs: bool
    prune_epochs: bool

    def epochs(self, config: train_config.TrainConfig) -> int:
        """Number of epochs that it lasts."""
        return config.perturb_epochs * self.perturb_epochs + config.prune_epochs * self.prune_epochs

    def steps(self, config: train_config.TrainConfig, steps_per_epoch: int) -> int:
        """Number of gradient steps that it takes."""
        return self.epochs(config) * steps_per_epoch if self.kind.moves else 0


class Method(NamedTuple):
    """A list of stages, each of which goes on where the one before ended.

    eps: None takes the grid's radius where a stage is in the ball; a number fixes it.
    """

    name: str
    stages: tuple[Stage, ...]
    eps: float | None = None

    @property
    def takes_eps(self) -> bool:
        """Whether its lanes differ in eps."""
        return self.eps is None and any(stage.kind.in_ball for stage in self.stages)

    @property
    def takes_sparsity(self) -> bool:
        """Whether its lanes differ in sparsity."""
        return any(stage.kind.masked for stage in self.stages)


METHODS: dict[str, Method] = {}


def register(method: Method) -> Method:
    """Makes a method known by its name, in grids, rows and on the command line.

    Args:
        method: Its name must be free, or the method be the one that has it.

    Returns:
        The method.

    Raises:
        ValueError: If another method has the name, it has no stages, or weights move in it without
            a ball and its eps is not inf.
    """
    if not method.stages:
        raise ValueError(f"expected a method with stages, got {method.name!r} without.")
    free = any("weights" in s.kind.moves and not s.kind.in_ball for s in method.stages)
    if free and method.eps != math.inf:
        raise ValueError(f"expected eps=inf where weights move freely, as in {method.name!r}.")
    if METHODS.setdefault(method.name, method) != method:
        raise ValueError(f"expected a name that is free, got {method.name!r}.")
    return method


def find(method: str | Method) -> Method:
    """The method of a name; an object is registered.

    Raises:
        ValueError: If the name is unknown, or the object's belongs to another.
    """
    if isinstance(method, Method):
        return register(method)
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, got {method!r}.")
    return METHODS[method]


for _method in (
    Method("prune", (Stage(PRUNE, False, True),)),
    Method("prune_longer", (Stage(PRUNE, True, True),)),
    Method("perturb_then_prune", (Stage(PERTURB, True, False), Stage(PRUNE, False, True))),
    Method("random_then_prune", (Stage(RANDOMIZE, False, False), Stage(PRUNE, False, True))),
    Method("prune_then_perturb", (Stage(PRUNE, False, True), Stage(PERTURB_MASKED, True, False))),
    Method("joint", (Stage(JOINT, True, True),)),
    Method("random_mask_then_perturb", (Stage(PERTURB_MASKED, True, True),)),
    Method("dense", (Stage(PERTURB, True, True),), eps=math.inf),
):
    register(_method)
