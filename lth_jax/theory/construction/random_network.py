"""The random network of theorem 2 before anything is chosen in it, and what a choice sums to.

An odd layer is block-diagonal: each hidden unit sees one input. Its kept entries are stored
elementwise, as `models.mlp.RedundantBlock` does: weight1 [r, in] of ±1 in place of a dense
[in, r·in] matrix and a mask that keeps one entry per column.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from lth_jax import models
from lth_jax.models import initializers, mlp
from lth_jax.theory.subset_sum import certificate

KINDS = ("uniform", "normal", "kaiming")
_INPUTS = 64  # Inputs whose terms are summed at once, to keep the float64 temporaries small.


class _Network(nn.Module):
    sizes: Sequence[int]
    copies: Sequence[int]
    scale: float

    @nn.compact
    def __call__(self, x):
        """Maps [b, ...] inputs to [b, sizes[-1]] outputs."""
        x = x.reshape(len(x), -1)
        for index, (width, copies) in enumerate(zip(self.sizes[1:], self.copies, strict=True)):
            x = mlp.RedundantBlock(width, copies, initializers.uniform)(x)
            x = nn.relu(x) if index < len(self.copies) - 1 else x
        return x * jnp.float32(self.scale)


@functools.partial(jax.jit, static_argnames=("shape", "kind"))
def row(key, layer, half, copy, shape, kind):
    """One candidate for every weight of a layer: more copies never change the first ones."""
    for index in (layer, half, copy):
        key = jax.random.fold_in(key, index)
    if kind == "uniform":
        return jax.random.uniform(key, shape, jnp.float32, -1.0, 1.0)
    spread = math.sqrt(2 / shape[0]) if kind == "kaiming" else 1.0
    return jax.random.normal(key, shape, jnp.float32) * spread


def draw(key: jax.Array, recipe: dict[str, Any]) -> Any:
    """Draws the random network as theorem 2 assumes it.

    Args:
        key: Typed key.
        recipe: "sizes" [L + 1], "widths" [L], "halves" 1 or 2, "candidates" of KINDS; `build`
            reads "scales" [L] too.

    Returns:
        {"RedundantBlock_l": {"weight1": [r, in], "weight2": [r·in, out]}}, r = halves·width;
        weight1 is +1 in its first half and −1 in the second (none at half width).
    """
    sizes, kind = recipe["sizes"], recipe["candidates"]
    tree = {}
    for layer, n in enumerate(recipe["widths"]):
        shape = (sizes[layer], sizes[layer + 1])
        rows = [
            row(key, layer, half, copy, shape, kind)
            for half in range(recipe["halves"])
            for copy in range(n)
        ]
        tree[f"RedundantBlock_{layer}"] = block(jnp, rows, shape, n)
    return tree


def block(xp: Any, rows: Sequence, shape: tuple[int, int], n: int) -> dict[str, Any]:
    """One layer's {weight1, weight2} of rows [in, out]; xp is numpy or jax.numpy."""
    signs = xp.where(xp.arange(len(rows)) < n, xp.float32(1), xp.float32(-1))
    return {
        "weight1": xp.repeat(signs[:, None], shape[0], axis=1),
        "weight2": xp.stack(rows).reshape(-1, shape[1]) if rows else xp.zeros((0, shape[1])),
    }


def build(recipe: dict[str, Any]) -> models.Model:
    """The network as an ordinary Model: inputs [b, ...] float32 -> logits [b, out].

    Args:
        recipe: See `draw`; the product of the layers' "scales" multiplies the output. A ticket's
            header holds it as "init".
    """
    copies = tuple(recipe["halves"] * n for n in recipe["widths"])
    network = _Network(tuple(recipe["sizes"]), copies, math.prod(recipe["scales"]))
    example = jax.ShapeDtypeStruct((1, recipe["sizes"][0]), jnp.float32)
    apply = models.from_flax(network, example).apply
    return models.Model(lambda key: (draw(key, recipe), {}), apply)


def layer_scale(weights: np.ndarray, kind: str) -> float:
    """What a target layer is divided by to fit the candidates: 1 if max |w| <= unit/2.

    The unit is the candidates' half-range (uniform: 1) or standard deviation. Rounded up to 8
    bits, so that scale times a float32 is exact in float64.
    """
    unit = math.sqrt(2 / weights.shape[1]) if kind == "kaiming" else 1.0
    fraction, exponent = math.frexp(max(1.0, 2 * float(np.abs(weights).max()) / unit))
    return math.ldexp(math.ceil(fraction * 256) / 256, exponent)


def effective(weights: Any, masks: Any, scales: Sequence[float]) -> list[tuple]:
    """What the stored masked weights sum to, per layer.

    Returns:
        (P [out, in] float64 that x⁺ meets, M that x⁻ meets or None at half width, bounds of the
        errors of both): from the stored float32 weights by compensated sums, scale included.
    """
    layers = []
    for layer, scale in enumerate(scales):
        name = f"RedundantBlock_{layer}"
        block, mask = ({k: np.asarray(v) for k, v in t[name].items()} for t in (weights, masks))
        first = np.where(mask["weight1"], block["weight1"], 0).astype(np.float64)
        copies, inputs = first.shape
        second = block["weight2"].reshape(copies, inputs, -1)
        kept = mask["weight2"].reshape(second.shape)
        sums = []
        for sign in (1, -1):
            if sign < 0 and not (block["weight1"] < 0).any():
                sums.append((None, None))
                continue
            gain = scale * np.maximum(sign * first, 0)[:, :, None]
            parts = []
            for start in range(0, inputs, _INPUTS):
                at = slice(start, start + _INPUTS)
                terms = np.where(kept[:, at], second[:, at], 0) * gain[:, at]
                parts.append(certificate.precise_sum(terms.reshape(copies, -1).T))
            sums.append(
                tuple(np.concatenate(p).reshape(inputs, -1).T for p in zip(*parts, strict=True))
            )
        layers.append((sums[0][0], sums[1][0], sums[0][1], sums[1][1]))
    return layers
