"""Sanity checks of a ticket: networks in which one thing about it is destroyed.

What survives did not matter (Frankle et al. 2021, 2009.08576; Su et al. 2020, 2009.11094, who
retrain; here nothing is trained, as in a strong ticket nothing was).
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from lth_jax import datasets, pruners
from lth_jax.models import base as models
from lth_jax.tickets import ticket
from lth_jax.training import scoring, statistics

NAMES = ("shuffled", "redrawn", "inverted", "random")
_BATCH = 128  # of those from which running statistics are taken anew
_SEEDS = 2**32

Draw = Callable[[int], chex.ArrayTree]  # from a seed to the initial weights


class Tensor(NamedTuple):
    """What is left of a pruned tensor."""

    path: str  # names, joined by /
    kept: int
    total: int
    idle_inputs: int  # of `inputs`: without any kept weight
    inputs: int
    idle_outputs: int  # of `outputs`
    outputs: int


def networks(
    loaded: ticket.Ticket, seed: int, draw: Draw, pruner: pruners.Pruner, number: int = 0
) -> dict[str, chex.ArrayTree]:
    """Networks in which one thing about a ticket is destroyed, by name.

    shuffled: the mask, with its signs where it has any, is shuffled within each tensor, which so
    keeps its number. random: as many weights as the ticket keeps are drawn from all tensors
    together. redrawn: the mask is the ticket's, the weights are those of another seed. inverted:
    as many weights as the ticket keeps, those with the least scores; only where its file says
    which. Weights that the ticket does not keep are the initial ones, whatever they had become.

    Args:
        loaded: The ticket.
        seed: That its initial weights were drawn from.
        draw: Draws initial weights.
        pruner: That found it.
        number: Another one gives other random numbers.

    Returns:
        Trees like the ticket's weights.
    """
    rng = np.random.default_rng([seed, number])
    center: Any = jax.tree.map(np.asarray, draw(seed))
    turns, resizes = _changes(pruner)

    def signs_of(c: Any, v: Any, m: Any) -> Any:
        return None if m is None else np.where(m & turns & (v * c < 0), -1, 1).astype(np.float32)

    def weights_of(c: Any, v: Any, m: Any, s: Any) -> Any:
        if m is None:
            return c
        return np.where(m, np.abs(c) * np.sign(v * s) if resizes else v * s, c)

    signs = jax.tree.map(signs_of, center, loaded.weights, loaded.masks)
    weights = jax.tree.map(weights_of, center, loaded.weights, loaded.masks, signs)
    fresh = draw((seed + _SEEDS // 2 + number) % _SEEDS)
    shuffled = jax.tree.map(lambda m, s: _shuffled(rng, m * s), loaded.masks, signs)
    anywhere = _anywhere(rng, loaded.masks, turns)
    found = {
        "shuffled": (weights, shuffled),
        "redrawn": (fresh, jax.tree.map(lambda m, s: m * s, loaded.masks, signs)),
        "random": (weights, anywhere),
    }
    if loaded.inverse is not None:
        found["inverted"] = (weights, loaded.inverse)

    def network(weights: chex.ArrayTree, ternary: chex.ArrayTree) -> chex.ArrayTree:
        signs = jax.tree.map(np.float32, ternary)
        mask = jax.tree.map(lambda t: np.asarray(t) != 0, ternary)
        return jax.tree.map(np.asarray, pruner.apply(weights, signs, mask))

    return {name: network(*found[name]) for name in NAMES if name in found}


def _changes(pruner: pruners.Pruner) -> tuple[bool, bool]:
    """Whether a pruner turns kept weights of negative scores, and whether it changes sizes."""
    weights, scores = np.array([[[1, 3]], [[-1, -1]]], np.float32)
    mask = np.ones((1, 2), bool)
    (found,) = jax.tree.leaves(pruner.apply({"w": weights}, {"w": scores}, {"w": mask}))
    return bool(np.all(found < 0)), bool(np.any(np.abs(found) != weights))


def _shuffled(rng: np.random.Generator, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return rng.permutation(array.reshape(-1)).reshape(array.shape)


def _anywhere(rng: np.random.Generator, masks: chex.ArrayTree, turns: bool) -> chex.ArrayTree:
    """A random mask of all tensors together, its signs drawn where there are any."""
    leaves, treedef = jax.tree.flatten(masks)
    whole = _shuffled(rng, np.concatenate([np.ravel(leaf) for leaf in leaves])).astype(np.int8)
    if turns:
        whole *= rng.choice(np.array([-1, 1], np.int8), whole.size)
    parts = np.split(whole, np.cumsum([leaf.size for leaf in leaves])[:-1])
    shaped = [part.reshape(leaf.shape) for part, leaf in zip(parts, leaves, strict=True)]
    return jax.tree.unflatten(treedef, shaped)


def accuracies(
    loaded: ticket.Ticket,
    seed: int,
    draw: Draw,
    pruner: pruners.Pruner,
    score: Callable[[chex.ArrayTree, chex.ArrayTree], float],
    draws: int,
) -> dict[str, list[float]]:
    """The accuracy of a ticket and of what is left of it.

    Args:
        loaded: See `networks`.
        seed: See `networks`.
        draw: See `networks`.
        pruner: See `networks`.
        score: From `scorer`.
        draws: How often to draw what is random.

    Returns:
        By name: one of "ticket" and "inverted", `draws` of the others.
    """
    found = {"ticket": [score(loaded.weights, loaded.state)]}
    for number in range(draws):
        for name, network in networks(loaded, seed, draw, pruner, number).items():
            values = found.setdefault(name, [])
            if name != "inverted" or not values:  # Nothing of it is random.
                values.append(score(network, loaded.state))
    return found


def scorer(
    model: models.Model, dataset: datasets.Dataset, note: Mapping[str, Any]
) -> Callable[[chex.ArrayTree, chex.ArrayTree], float]:
    """Scores networks on the test split, normalized as the ticket's note says.

    A model with `batch_state` gets the running statistics of each network anew: with the ticket's
    own another network would fail for their sake alone.

    Args:
        model: The model.
        dataset: The data.
        note: Of the ticket's header: mean and std.

    Returns:
        (weights, state) -> accuracy.
    """
    test = scoring.chunks(dataset.test)
    mean, std = (jnp.asarray(note[name], jnp.float32) for name in ("mean", "std"))
    images, size = dataset.train.images, min(_BATCH, len(dataset.train.labels))

    def right(
        weights: chex.ArrayTree, state: chex.ArrayTree, test: scoring.Chunks, images: jax.Array
    ) -> jax.Array:
        if model.batch_state is not None:
            order = jnp.arange(len(images))
            about = (images, mean, std, order, size)
            state = statistics.of_network(model.batch_state, weights, state, *about)
        return scoring.count_right(model, weights, state, test, mean, std)

    count = jax.jit(right)
    return lambda weights, state: (
        int(count(weights, state, test, images)) / len(dataset.test.labels)
    )


def tensors(masks: chex.ArrayTree, kernel_axes: pruners.KernelAxes) -> list[Tensor]:
    """What is left of each pruned tensor: one of which nothing is kept has collapsed.

    Args:
        masks: Tree of bool arrays, None where a leaf is not pruned.
        kernel_axes: Of the model.

    Returns:
        In the tree's order.
    """
    found = []
    for path, mask in jax.tree_util.tree_leaves_with_path(masks):
        axes = kernel_axes(path, mask) or tuple(range(mask.ndim - 1))
        rest = tuple(axis for axis in range(mask.ndim) if axis not in axes)
        used_inputs, used_outputs = np.any(mask, rest), np.any(mask, axes)
        found.append(
            Tensor(
                pruners.kernels.name_of(path),
                int(mask.sum()),
                mask.size,
                int(np.sum(~used_inputs)),
                used_inputs.size,
                int(np.sum(~used_outputs)),
                used_outputs.size,
            )
        )
    return found
