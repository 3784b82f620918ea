"""Where a ticket's initial weights come from: enough to draw them again, and to run the network."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import chex
import jax
import numpy as np

from lth_jax import models, numerics
from lth_jax.theory.construction import random_network

MOST = 1 << 31  # Weights in all, so that a forged header cannot ask for any amount of memory.
_REST = ("classes", "init", "width")  # Of an architecture, after its name and shape.
# Copies of an input: each is drawn by a call, so that it cannot ask for any amount of time.
_COPIES = 10_000


@dataclasses.dataclass(frozen=True)
class ModelOrigin:
    """A network of `models.build_model`, drawn as a study draws it for a seed."""

    architecture: models.Architecture
    seed: int  # of the lane
    scale: float = 1.0  # factor of the pruned leaves (scale_init)


@dataclasses.dataclass(frozen=True)
class ConstructionOrigin:
    """The random network of a Construction built from the key of a seed, see numerics.key."""

    seed: int
    layout: random_network.Layout


@dataclasses.dataclass(frozen=True)
class OwnOrigin:
    """A model of somebody's own: only their program draws its weights again, from the seed."""

    seed: int


Origin = ModelOrigin | ConstructionOrigin | OwnOrigin


def to_json(origin: Origin) -> dict[str, Any]:
    """The origin as a ticket's header holds it under "init"; `from_json` reads it."""
    if isinstance(origin, OwnOrigin):
        return {"recipe": "own", "seed": origin.seed}
    if isinstance(origin, ModelOrigin):
        name, shape, *rest = origin.architecture
        fields = dict(zip(_REST, rest, strict=True))
        fields |= {"seed": origin.seed, "scale": origin.scale}
        return {"recipe": "model", "model": name, "shape": list(shape), **fields}
    layout = origin.layout
    fields = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in layout._asdict().items()
        if name != "units"
    }
    if layout.units:  # Without, a header is as it was before there were any.
        fields["units"] = [list(each) for each in layout.units]
    return {"recipe": "construction", "seed": origin.seed, **fields}


def from_json(init: Mapping[str, Any]) -> Origin:
    """Reads what `to_json` made.

    Raises:
        KeyError, TypeError, ValueError: If it is nothing of the kind.
    """
    seed = int(init["seed"])
    if init["recipe"] == "construction":
        sizes, widths, scales = (tuple(init[name]) for name in ("sizes", "widths", "scales"))
        if not all(type(n) is int for n in (*sizes, *widths, init["halves"])):
            raise ValueError("expected sizes, widths and halves to be integers")
        units = tuple(tuple(each) for each in init.get("units", ()))
        layout = random_network.Layout(
            sizes, widths, init["halves"], init["candidates"], scales, units
        )
        _check_units(layout)
        return ConstructionOrigin(seed, layout)
    if init["recipe"] == "own":
        return OwnOrigin(seed)
    if init["recipe"] != "model":
        raise ValueError(f"unknown recipe {init['recipe']!r}")
    shape, rest = tuple(init["shape"]), (init[name] for name in _REST)
    return ModelOrigin(models.Architecture(init["model"], shape, *rest), seed, init["scale"])


def _check_units(layout: random_network.Layout) -> None:
    """Refuses units that are no counts, one per input of each layer."""
    inputs, given = layout.sizes[:-1], [len(each) for each in layout.units]
    if layout.units and not (given == list(inputs) and layout.halves == 1):
        raise ValueError("expected units of every input, at half width")
    if not all(type(n) is int and 0 <= n <= _COPIES for each in layout.units for n in each):
        raise ValueError("expected units to be counts")


def model_of(origin: Origin) -> models.Model:
    """The Model that the weights belong to.

    Raises:
        ValueError: If it is somebody's own, or names a model or an initializer that does not exist.
    """
    if isinstance(origin, ConstructionOrigin):
        return random_network.as_model(origin.layout)
    if isinstance(origin, OwnOrigin):
        raise ValueError("only the program that made it knows its model")
    # The names are any text, as from a file: build_model checks them.
    return models.build_model(*origin.architecture)  # type: ignore[arg-type]


def count(origin: Origin) -> int:
    """The number of weights, without drawing any.

    Raises:
        ValueError: If these are more than MOST.
    """
    if isinstance(origin, ConstructionOrigin):
        layout = origin.layout
        found = sum(r * (b + 1) for r, b in zip(layout.hidden, layout.sizes[1:], strict=True))
        if max(layout.widths) * layout.halves > _COPIES:
            raise ValueError("its origin asks for too large a network")
    else:
        key = jax.eval_shape(lambda: numerics.key(0))
        shapes, _ = jax.eval_shape(model_of(origin).init, key)
        found = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    if found > MOST:
        raise ValueError("its origin asks for too large a network")
    return found


def regenerate(origin: Origin, pruned: chex.ArrayTree) -> chex.ArrayTree:
    """Draws the initial weights on the host's CPU, jitted, as the image studies do.

    Args:
        origin: Of the weights.
        pruned: Tree of bool: the leaves with a mask, which `scale` multiplies.

    Raises:
        ValueError: If the weights are more than MOST, or only somebody's own program draws them.
    """
    if isinstance(origin, OwnOrigin):
        raise ValueError("only the program that made it draws its weights again")
    count(origin)
    with jax.default_device(numerics.host()):
        return _draw(origin, pruned)


def _draw(origin: ModelOrigin | ConstructionOrigin, pruned: chex.ArrayTree) -> chex.ArrayTree:
    key = numerics.key(origin.seed)
    if isinstance(origin, ConstructionOrigin):
        return random_network.draw(key, origin.layout)
    scaled = None if origin.scale == 1 else tuple(map(bool, jax.tree.leaves(pruned)))
    return _program(origin.architecture, scaled)(key, np.float32(origin.scale))


@functools.lru_cache(maxsize=8)
def _program(
    architecture: models.Architecture, scaled: tuple[bool, ...] | None
) -> Callable[[jax.Array, np.float32], chex.ArrayTree]:
    """The jitted (key, scale) -> weights, the scaled leaves multiplied."""
    # The names are any text, as from a file: build_model checks them.
    model = models.build_model(*architecture)  # type: ignore[arg-type]

    def draw(key: jax.Array, scale: jax.Array) -> chex.ArrayTree:
        weights, _ = model.init(jax.random.fold_in(key, 0))
        if scaled is None:
            return weights
        leaves, treedef = jax.tree.flatten(weights)
        pairs = zip(leaves, scaled, strict=True)
        return jax.tree.unflatten(treedef, [leaf * scale if s else leaf for leaf, s in pairs])

    return jax.jit(draw)
