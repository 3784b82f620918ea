"""Plants a ticket: hides a network in a given random one without overwriting a weight.

Fischer and Burkholz (2022, arXiv 2111.11153) plant a target by overwriting weights of a random
network, so that searches can be compared with a ticket that is known. Here every weight stays as it
was drawn: each weight of the target is the sum of exactly k of the random weights that the network
of theorem 2 has for it, each moved by at most ε (Xiong, Liao and Kyrillidis 2023). So the planted
ticket is one of the random network's own, in its ε-ball, of known density and proved error.
"""

import math
import typing
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from lth_jax import models
from lth_jax.masks import selection
from lth_jax.perturb import rounding
from lth_jax.theory.construction import (
    approximation,
    half_layer,
    network_certificate,
    random_network,
)
from lth_jax.theory.subset_sum import of_size, solvers

# An odd layer copies inputs. Given: its structure says which one each of its units sees. Searched:
# it is a dense matrix of ones, and which entry of each column stays is part of the ticket.
Odd = Literal["given", "searched"]
ODD: tuple[Odd, ...] = typing.get_args(Odd)
EVEN = "weight2"  # The leaves that hold candidates; those of odd layers are called weight1.


class Network(NamedTuple):
    """The random network that a target may be hidden in; inputs are in [0, 1]."""

    layout: random_network.Layout
    odd: Odd


class Planted(NamedTuple):
    """A ticket that is known to exist; trees: {"RedundantBlock_l": {weight1, weight2}}."""

    model: models.Model
    candidates: approximation.Tree  # float32: the random network, as it was given
    weights: approximation.Tree  # float32: candidates + Y on the kept even entries, |Y| <= ε
    masks: approximation.Tree  # bool, as the ticket has them; all of a given odd layer
    certificate: network_certificate.Bound  # of |target − ticket| on [0, 1]^d
    reached: list[npt.NDArray[np.bool_]]  # [in, out] of each layer: an error of 0 before rounding
    loss: float
    density: float  # kept share of the entries that a search would choose among


def network_for(target: Sequence[npt.ArrayLike], copies: int, odd: Odd = "given") -> Network:
    """The random network of theorem 2 for targets of one shape and scale.

    Args:
        target: Bias-free ReLU network, linear at its end: matrices [out, in].
        copies: n, candidates per weight of the target, 1 to 40.
        odd: Whether the odd layers' masks are given or part of the ticket.

    Raises:
        ValueError: If a value or shape does not fit.
    """
    matrices = approximation.checked_target(target)
    if not 1 <= copies <= solvers.MAX_CANDIDATES:
        raise ValueError(f"copies must lie in [1, {solvers.MAX_CANDIDATES}], got {copies}.")
    if odd not in ODD:
        raise ValueError(f"odd must be one of {', '.join(ODD)}, got {odd!r}.")
    scales = [random_network.layer_scale(w, "uniform") for w in matrices]
    sizes = (matrices[0].shape[1], *(len(w) for w in matrices))
    layout = random_network.Layout(sizes, (copies,) * len(scales), 1, "uniform", tuple(scales))
    return Network(layout, odd)


def as_model(network: Network) -> models.Model:
    """The random network as a Model: its `init` draws the candidates, U[-1, 1]."""
    given = random_network.as_model(network.layout)
    if network.odd == "given":
        return given._replace(name="planted")

    def init(key: jax.Array) -> tuple[chex.ArrayTree, chex.ArrayTree]:
        weights, state = given.init(key)
        dense = {
            name: block | {"weight1": jnp.ones((block["weight1"].shape[1], len(block[EVEN])))}
            for name, block in weights.items()
        }
        return dense, state

    def apply(
        weights: chex.ArrayTree, state: chex.ArrayTree, x: jax.Array, train: bool = False
    ) -> tuple[jax.Array, chex.ArrayTree]:
        del train
        x = x.reshape(len(x), -1)
        for layer, scale in enumerate(network.layout.scales):
            x = x if layer == 0 else jax.nn.relu(x)
            block = weights[random_network.block_name(layer)]
            x = jnp.float32(scale) * (jax.nn.relu(x @ block["weight1"]) @ block[EVEN])
        return x, state

    return models.Model(init, apply, name="planted_searched")


def counts(network: Network, kept: int) -> dict[str, dict[str, int | None]]:
    """How many entries of each leaf a ticket keeps; None for those of given odd layers.

    Args:
        network: The random network.
        kept: k, candidates kept per weight of the target.
    """
    layout, found = network.layout, {}
    for layer, n in enumerate(layout.widths):
        inputs, outputs = layout.sizes[layer], layout.sizes[layer + 1]
        odd = None if network.odd == "given" else n * inputs  # One for each unit.
        found[random_network.block_name(layer)] = {"weight1": odd, EVEN: kept * inputs * outputs}
    return found


def plant(
    target: Sequence[npt.ArrayLike],
    candidates: Any,
    network: Network,
    eps: float,
    kept: int,
    points: npt.ArrayLike,
    loss: Callable[[npt.NDArray[np.float32]], float],
) -> Planted:
    """Hides a target in a random network: a mask, and a move of each kept weight in the ball.

    Args:
        target: Bias-free ReLU network, linear at its end: matrices [out, in].
        candidates: The random network's weights, as `as_model(network).init` draws them; nothing
            of them is changed.
        network: See `network_for`.
        eps: Largest |Y|, >= 0; rounded toward zero to float32, as `keep_in_ball` has it.
        kept: k: exactly so many candidates sum to each weight of the target, 1 to `copies`.
        points: [m, d] inputs in [0, 1] that the ticket is judged on.
        loss: Of its outputs [m, out].

    Returns:
        The ticket: of all with k candidates per weight and one move for each subset, the one whose
        weights are nearest to the target's, and of these the one that moves least.

    Raises:
        ValueError: If a value or shape does not fit.
    """
    matrices = approximation.checked_target(target)
    trees = jax.tree.map(np.asarray, candidates)
    _check(matrices, trees, network, eps, kept)
    radius = float(rounding.round_toward_zero(eps, np.float32))
    weights, masks, reached = {}, {}, []
    for layer, matrix in enumerate(matrices):
        name = random_network.block_name(layer)
        moved, marks, hit = _layer(
            matrix, trees[name][EVEN], network.layout.scales[layer], radius, kept
        )
        odd = _odd_mask(network, layer)
        weights[name] = {"weight1": np.array(trees[name]["weight1"]), EVEN: moved}
        masks[name] = {"weight1": odd, EVEN: marks}
        reached.append(hit)
    model = as_model(network)
    outputs = model.apply(
        selection.apply_mask(weights, masks), {}, jnp.asarray(points, jnp.float32)
    )[0]
    searched = [m for block in masks.values() for m in _searched(network, block)]
    return Planted(
        model=model,
        candidates=trees,
        weights=weights,
        masks=masks,
        certificate=certificate(matrices, network, weights, masks),
        reached=reached,
        loss=float(loss(np.asarray(outputs))),
        density=sum(int(m.sum()) for m in searched) / sum(m.size for m in searched),
    )


def certificate(
    target: Sequence[npt.ArrayLike], network: Network, weights: Any, masks: Any
) -> network_certificate.Bound:
    """Proves how far a planted ticket is from its target on [0, 1]^d, from its stored weights.

    Args:
        target: Matrices [out, in].
        network: The random network.
        weights: Tree of its weights, of a ticket that sees its inputs as a planted one does.
        masks: Tree of bool like it.

    Raises:
        ValueError: If the ticket sees its inputs otherwise, or a shape does not fit.
    """
    given_weights, given_masks = {}, {}
    for layer, n in enumerate(network.layout.widths):
        name, inputs = random_network.block_name(layer), network.layout.sizes[layer]
        if not np.array_equal(masks[name]["weight1"], _odd_mask(network, layer)):
            raise ValueError(f"expected the odd mask of a planted ticket in {name}.")
        structure = np.ones((n, inputs), np.float32)
        given_weights[name] = {"weight1": structure, EVEN: weights[name][EVEN]}
        given_masks[name] = {"weight1": structure.astype(bool), EVEN: masks[name][EVEN]}
    layers = random_network.effective(given_weights, given_masks, network.layout.scales)
    return network_certificate.bound([np.asarray(w, np.float64) for w in target], layers)


def _layer(
    matrix: npt.NDArray[np.float64],
    center: npt.NDArray[np.float32],
    scale: float,
    radius: float,
    kept: int,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """weight2 with Y applied, its mask, both [n·in, out], and what is reached, [in, out]."""
    rows = center.reshape(-1, matrix.size)  # [n, in·out]
    x = scale * rows.T.astype(np.float64)  # Exact: 8 bits times 24.
    found = of_size.nearest(x, matrix.T.ravel(), scale * radius, kept)
    first = found.mask.argmax(axis=1)
    moves = np.clip(found.y[np.arange(len(first)), first] / scale, -radius, radius)
    mask = np.ascontiguousarray(found.mask.T)
    moved = half_layer.moved(rows, mask, moves, radius, None)
    hit = found.found.reshape(matrix.T.shape)
    return moved.reshape(center.shape), mask.reshape(center.shape), hit


def _odd_mask(network: Network, layer: int) -> npt.NDArray[np.bool_]:
    """What a planted ticket keeps of an odd layer: unit u sees input u mod in."""
    n, inputs = network.layout.widths[layer], network.layout.sizes[layer]
    if network.odd == "given":
        return np.ones((n, inputs), bool)
    return np.tile(np.eye(inputs, dtype=bool), n)


def _searched(network: Network, block: approximation.Block) -> list[npt.NDArray[np.bool_]]:
    return [block[EVEN]] if network.odd == "given" else [block["weight1"], block[EVEN]]


def _check(
    target: Sequence[npt.NDArray[np.float64]],
    candidates: approximation.Tree,
    network: Network,
    eps: float,
    kept: int,
) -> None:
    """Raises a ValueError if the arguments of `plant` do not fit together."""
    layout = network.layout
    shapes = [w.shape[::-1] for w in target]
    sizes = list(zip(layout.sizes, layout.sizes[1:], strict=False))
    if shapes != sizes:
        raise ValueError(f"expected a target of shapes (in, out) {sizes}, got {shapes}.")
    if not 0 <= eps < math.inf:
        raise ValueError(f"eps must be finite and at least 0, got {eps}.")
    if not 1 <= kept <= min(layout.widths):
        raise ValueError(f"kept must lie in [1, {min(layout.widths)}], got {kept}.")
    for layer, (n, inputs) in enumerate(zip(layout.widths, layout.sizes, strict=False)):
        name = random_network.block_name(layer)
        block = candidates[name]
        expected = _odd_mask(network, layer).shape, (n * inputs, layout.sizes[layer + 1])
        found = block["weight1"].shape, block[EVEN].shape
        if found != expected:
            raise ValueError(f"expected shapes {expected} in {name}, got {found}.")
        if (block["weight1"] != 1).any() or block[EVEN].dtype != np.float32:
            raise ValueError(f"expected ones and float32 candidates in {name}.")
