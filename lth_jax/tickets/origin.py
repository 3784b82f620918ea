"""What a ticket's header says about its initial weights, and how they are drawn again from it."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from lth_jax import models
from lth_jax.theory.construction import random_network

MOST = 1 << 31  # Weights in all, so that a forged header cannot ask for any amount of memory.
_COPIES = 10_000  # Copies of an input, so that it cannot ask for any amount of time.


def model_init(
    model: str, shape: tuple, classes: int, init: str, width: float, seed: int, scale: float = 1.0
) -> dict[str, Any]:
    """The recipe of a network of `models.build_model` as the image studies draw it for a seed.

    Args:
        model: One of MODELS.
        shape: Of one image, (h, w, c).
        classes: Outputs.
        init: One of INITIALIZERS.
        width: Factor of the hidden units.
        seed: Of the lane.
        scale: Factor of the pruned leaves (scale_init).
    """
    names = {"model": model, "shape": list(shape), "classes": classes, "init": init}
    return {"recipe": "model", **names, "width": width, "seed": seed, "scale": scale}


def construction_init(recipe: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """The recipe of a Construction built from jax.random.key(seed)."""
    return {"recipe": "construction", "seed": seed, **recipe}


def build(init: Mapping[str, Any]) -> models.Model:
    """The Model that a ticket's weights belong to.

    Args:
        init: From `model_init` or `construction_init`, or the "init" of a ticket's header.
    """
    if init["recipe"] == "construction":
        return random_network.build(init)
    return models.build_model(
        init["model"], tuple(init["shape"]), init["classes"], init["init"], init["width"]
    )


def count(init: Mapping[str, Any]) -> int:
    """The number of weights that a recipe stands for, without drawing any.

    Args:
        init: From `model_init` or `construction_init`.

    Raises:
        ValueError: If the recipe is unknown or asks for more than MOST weights.
    """
    if init["recipe"] == "construction":
        sizes, copies = init["sizes"], [init["halves"] * n for n in init["widths"]]
        pairs = zip(copies, sizes[:-1], sizes[1:], strict=True)
        found = sum(r * a * (b + 1) for r, a, b in pairs)
        if max(copies) > _COPIES or found > MOST:
            raise ValueError("the recipe asks for too large a network")
        return found
    shapes = jax.eval_shape(_model(init).init, jax.eval_shape(lambda: jax.random.key(0)))[0]
    found = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    if found > MOST:
        raise ValueError("the recipe asks for too large a network")
    return found


def _model(init):
    if init["recipe"] != "model":
        raise ValueError(f"unknown recipe {init['recipe']!r}")
    names = ("classes", "init", "width")
    return models.build_model(init["model"], tuple(init["shape"]), **{n: init[n] for n in names})


def regenerate(init: Mapping[str, Any], pruned: Any) -> Any:
    """Draws the weights that a recipe stands for, jitted as the image studies do.

    Args:
        init: From `model_init` or `construction_init`.
        pruned: Tree of bool: the leaves with a mask, which `scale` multiplies.

    Raises:
        ValueError: If the recipe is unknown or asks for more than MOST weights.
    """
    count(init)
    key = jax.random.key(int(init["seed"]))
    if init["recipe"] == "construction":
        return random_network.draw(key, dict(init))
    model = _model(init)

    def draw(key, scale):
        weights, _ = model.init(jax.random.fold_in(key, 0))
        if init["scale"] == 1:
            return weights
        return jax.tree.map(lambda w, p: w * scale if p else w, weights, pruned)

    return jax.jit(draw)(key, np.float32(init["scale"]))
