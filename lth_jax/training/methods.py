"""The methods that are compared: lists of stages, and what each kind of stage does.

Sources: the paper's algorithm 1 and its tables 1 to 3 (arXiv 2210.16589); `joint` is ours.
A new kind of stage is an object here; a new method is a `Method`, made known by `register`, or for
the library a line at the end and its name in MethodName.
"""

import math
import typing
from typing import Literal, NamedTuple, Protocol

import chex
import jax

from lth_jax import names, pruners
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
    return pruner.apply(weights, scores, pruner.mask(scores, kept, state))


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


def register(method: Method) -> Method:
    """Makes a method known by its name, in grids and rows.

    Args:
        method: Its name must be free, or be the one of an equal method.

    Returns:
        The method.

    Raises:
        ValueError: If the name belongs to another method or does not fit a file name, there are no
            stages, a kind of stage contradicts itself, eps is no radius, or weights move without a
            ball and eps is not inf.
    """
    _check(method)
    return METHODS.register(method.name, method)


def _check(method: Method) -> None:
    name, kinds = method.name, [stage.kind for stage in method.stages]
    if not kinds:
        raise ValueError(f"expected a method with stages, got {name!r} without.")
    for kind in kinds:
        _check_kind(kind)
    if any("weights" in kind.moves and not kind.in_ball for kind in kinds):
        if method.eps != math.inf:
            raise ValueError(f"expected eps=inf where weights move freely, as in {name!r}.")
    elif method.eps is not None and not (method.eps >= 0 and any(k.in_ball for k in kinds)):
        raise ValueError(f"expected eps to be the radius of a ball, got {method.eps} in {name!r}.")


def _check_kind(kind: StageKind) -> None:
    if not isinstance(kind.moves, tuple) or not {*kind.moves} <= {*typing.get_args(Part)}:
        raise ValueError(f"expected moves of weights and scores, got {kind.moves!r}.")
    if "scores" in kind.moves and not kind.masked:
        raise ValueError(f"expected a mask where scores move, as in {kind.name!r}.")
    if kind.random_start and not kind.in_ball:
        raise ValueError(f"expected a ball to start in at random, as in {kind.name!r}.")


def find(method: str | Method) -> Method:
    """The method of a name; an object is registered.

    Raises:
        ValueError: If the name is unknown, or `register` refuses the object.
    """
    return register(method) if isinstance(method, Method) else METHODS.find(method)


_BUILT_IN = (
    Method("prune", (Stage(PRUNE, False, True),)),
    Method("prune_longer", (Stage(PRUNE, True, True),)),
    Method("perturb_then_prune", (Stage(PERTURB, True, False), Stage(PRUNE, False, True))),
    Method("random_then_prune", (Stage(RANDOMIZE, False, False), Stage(PRUNE, False, True))),
    Method("prune_then_perturb", (Stage(PRUNE, False, True), Stage(PERTURB_MASKED, True, False))),
    Method("joint", (Stage(JOINT, True, True),)),
    Method("random_mask_then_perturb", (Stage(PERTURB_MASKED, True, True),)),
    Method("dense", (Stage(PERTURB, True, True),), eps=math.inf),
)
METHODS: names.Registry[Method] = names.Registry("method", {m.name: m for m in _BUILT_IN})
