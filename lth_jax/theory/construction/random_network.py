"""The random network of theorem 2 before anything is chosen in it, and what a choice sums to.

An odd layer is block-diagonal: each hidden unit sees one input. Its kept entries are stored
elementwise, as `models.networks.mlp.RedundantBlock` does: weight1 [r, in] of ±1 in place of a dense
[in, r·in] matrix and a mask that keeps one entry per column. Any such mask is a choice that theorem
2 allows: with `units` input j has the next units_j columns of the same random weight2, whose rows
are one stream, and weight1 is [Σ units].
"""

import functools
import math
import typing
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from lth_jax import models
from lth_jax.models import initializers
from lth_jax.models.networks import mlp
from lth_jax.theory.construction import network_certificate
from lth_jax.theory.subset_sum import certificate

Kind = Literal["uniform", "normal", "kaiming"]  # U[-1, 1], N(0, 1) or N(0, 2/in)
KINDS: tuple[Kind, ...] = typing.get_args(Kind)
_INPUTS = 64  # Inputs whose terms are summed at once, to keep the float64 temporaries small.


class Layout(NamedTuple):
    """The shape of the random network and the law of its candidates: with a key, all of it."""

    sizes: tuple[int, ...]  # [L + 1]: the target's inputs, and the outputs of each of its L layers
    widths: tuple[int, ...]  # [L]: n, candidates per target weight and half
    halves: int  # 1 or 2: copies of +x only, or of -x too
    candidates: Kind
    scales: tuple[float, ...]  # [L]: target layer / scale is what the theorem assumes
    # [L] of [in]: units of each input of a layer, where they differ; `widths` has their largest.
    units: tuple[tuple[int, ...], ...] = ()

    @property
    def hidden(self) -> tuple[int, ...]:
        """Units of each odd layer, of both signs together: [L]."""
        if self.units:
            return tuple(map(sum, self.units))
        inputs = self.sizes[:-1]
        return tuple(self.halves * n * d for n, d in zip(self.widths, inputs, strict=True))


class _Network(nn.Module):
    layout: Layout

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [b, ...] inputs to [b, sizes[-1]] outputs."""
        x = x.reshape(len(x), -1)
        layout, gains = self.layout, _gains(self.layout.scales)
        last = len(gains) - 1
        for index, width in enumerate(layout.sizes[1:]):
            name, init = block_name(index), initializers.uniform
            if layout.units:
                x = mlp.AssignedBlock(width, layout.units[index], init, name=name)(x)
            else:
                copies = layout.halves * layout.widths[index]
                x = mlp.RedundantBlock(width, copies, init, name=name)(x)
            if index == last or gains[index] != 1:
                x = jnp.multiply(x, jnp.float32(gains[index]))
            x = x if index == last else nn.relu(x)
        return x


def _gains(scales: Sequence[float]) -> list[float]:
    """What each layer's outputs are multiplied by: together the product of the scales, exactly.

    The scales are positive, so they may be applied after later layers: as late as float32 can hold
    their product, which for three layers or fewer is at the output.
    """
    gains = [1.0] * len(scales)
    gain = 1.0
    for index, scale in enumerate(scales):
        with np.errstate(over="ignore"):
            fits = float(np.float32(gain * scale)) == gain * scale
        if not fits:
            if index:
                gains[index - 1] = gain
            gain = 1.0
        gain *= scale
    gains[-1:] = [gain]
    return gains


@functools.partial(jax.jit, static_argnames=("shape", "kind"))
def draw_copy(
    key: jax.Array, layer: int, half: int, copy: int, shape: tuple[int, int], kind: Kind
) -> jax.Array:
    """One candidate for every weight of a layer: more copies never change the first ones.

    Args:
        key: Typed key of the whole network.
        layer: Index of the target layer.
        half: 0 for the copies of +x, 1 for those of −x.
        copy: Index of the candidate.
        shape: (in, out) of the target layer.
        kind: Law of the candidates.

    Returns:
        [in, out] float32.
    """
    for index in (layer, half, copy):
        key = jax.random.fold_in(key, index)
    if kind == "uniform":
        return jax.random.uniform(key, shape, jnp.float32, -1.0, 1.0)
    spread = math.sqrt(2 / shape[0]) if kind == "kaiming" else 1.0
    return jax.random.normal(key, shape, jnp.float32) * spread


def draw(key: jax.Array, layout: Layout) -> chex.ArrayTree:
    """Draws the random network as theorem 2 assumes it.

    Args:
        key: Typed key.
        layout: Its scales are not used.

    Returns:
        {"RedundantBlock_l": {"weight1": [r, in], "weight2": [r·in, out]}}, r = halves·width;
        weight1 is +1 in its first half and −1 in the second (none at half width). With `units`
        weight1 is [Σ units] of +1, and weight2 the first so many rows of the same.
    """
    tree = {}
    for layer, n in enumerate(layout.widths):
        shape = (layout.sizes[layer], layout.sizes[layer + 1])
        if layout.units:
            count = layout.hidden[layer]
            rows = [
                draw_copy(key, layer, 0, copy, shape, layout.candidates)
                for copy in range(-(-count // shape[0]))
            ]
            tree[block_name(layer)] = assigned_block(jnp, jnp.concatenate(rows)[:count])
            continue
        rows = [
            draw_copy(key, layer, half, copy, shape, layout.candidates)
            for half in range(layout.halves)
            for copy in range(n)
        ]
        tree[block_name(layer)] = block(jnp, rows, shape, n)
    return tree


def block_name(layer: int) -> str:
    """The name that a layer's weights have in the trees."""
    return f"RedundantBlock_{layer}"


def block(xp: Any, rows: Sequence[Any], shape: tuple[int, int], n: int) -> dict[str, Any]:
    """One layer's {weight1, weight2} of rows [in, out]; xp is numpy or jax.numpy."""
    signs = xp.where(xp.arange(len(rows)) < n, xp.float32(1), xp.float32(-1))
    return {
        "weight1": xp.repeat(signs[:, None], shape[0], axis=1),
        "weight2": xp.stack(rows).reshape(-1, shape[1]) if rows else xp.zeros((0, shape[1])),
    }


def assigned_block(xp: Any, rows: Any) -> dict[str, Any]:
    """One layer's {weight1, weight2} of a stream's rows [units in all, out]."""
    return {"weight1": xp.ones(len(rows), xp.float32), "weight2": rows}


def _owned(units: Sequence[int]) -> npt.NDArray[np.bool_]:
    """[in, max units]: which of so many places an input has a unit for."""
    return np.arange(max(units, default=0)) < np.asarray(units)[:, None]


def by_input(rows: Any, units: Sequence[int]) -> npt.NDArray[Any]:
    """Rows [Σ units, ...], one input's after another's -> [max units, in, ...], filled with 0."""
    own, rows = _owned(units), np.asarray(rows)
    padded = np.zeros((*own.shape, *rows.shape[1:]), rows.dtype)
    padded[own] = rows
    return np.swapaxes(padded, 0, 1)


def as_stream(padded: npt.NDArray[Any], units: Sequence[int]) -> npt.NDArray[Any]:
    """[max units, in, ...] -> rows [Σ units, ...]: `by_input` undone."""
    return np.asarray(np.swapaxes(padded, 0, 1)[_owned(units)])


def as_model(layout: Layout) -> models.Model:
    """The network as an ordinary Model: inputs [b, ...] float32 -> logits [b, out].

    The product of the layers' scales multiplies the output, or, where float32 cannot hold it,
    parts of it the outputs of layers before. Its `init` draws the candidates.
    """
    network = _Network(layout)
    example = jax.ShapeDtypeStruct((1, layout.sizes[0]), jnp.float32)
    apply = models.from_flax(network, example).apply
    return models.Model(lambda key: (draw(key, layout), {}), apply)


def layer_scale(weights: npt.NDArray[np.float64], kind: Kind) -> float:
    """What a target layer is divided by to fit the candidates: 1 if max |w| <= unit/2.

    The unit is the candidates' half-range (uniform: 1) or standard deviation. Rounded up to 8
    bits, so that scale times a float32 is exact in float64. Never below 1, for smaller weights:
    theorem 2 has no scale, and a finer one would be a number more that is fitted to the target, a
    gain of at most log2(1 / scale) candidates per weight. A target's layers can be multiplied by
    numbers whose product is 1 beforehand, and then nothing is lost unless Π 2 max |w| < 1.
    """
    unit = math.sqrt(2 / weights.shape[1]) if kind == "kaiming" else 1.0
    fraction, exponent = math.frexp(max(1.0, 2 * float(np.abs(weights).max()) / unit))
    return math.ldexp(math.ceil(fraction * 256) / 256, exponent)


def effective(
    weights: Any, masks: Any, scales: Sequence[float], units: Sequence[Sequence[int]] = ()
) -> list[network_certificate.Layer]:
    """What the stored masked weights sum to, per layer, scale included.

    Args:
        weights: Tree as of `draw`, float32.
        masks: Tree of bool like it.
        scales: [L], of the layout.
        units: Of the layout.

    Returns:
        One Layer each, from the stored float32 weights by compensated sums; `minus` is None at
        half width.
    """
    layers = []
    for layer, scale in enumerate(scales):
        block, mask = (
            {k: np.asarray(v) for k, v in tree[block_name(layer)].items()}
            for tree in (weights, masks)
        )
        first = np.where(mask["weight1"], block["weight1"], 0).astype(np.float64)
        if units:
            first, second, kept = (
                by_input(rows, units[layer]) for rows in (first, block["weight2"], mask["weight2"])
            )
        else:
            second = block["weight2"].reshape(*first.shape, -1)
            kept = mask["weight2"].reshape(second.shape)
        plus, plus_error = _sums(second, kept, scale * np.maximum(first, 0))
        minus = minus_error = None
        if (block["weight1"] < 0).any():
            minus, minus_error = _sums(second, kept, scale * np.maximum(-first, 0))
        layers.append(network_certificate.Layer(plus, minus, plus_error, minus_error))
    return layers


def _sums(
    second: npt.NDArray[np.float32], kept: npt.NDArray[np.bool_], gain: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Σ over copies of gain · kept weight and the bound of its error, both [out, in].

    Args:
        second: [copies, in, out].
        kept: [copies, in, out].
        gain: [copies, in].
    """
    copies, inputs = gain.shape
    sums, bounds = [], []
    for start in range(0, inputs, _INPUTS):
        at = slice(start, start + _INPUTS)
        terms = np.where(kept[:, at], second[:, at], 0) * gain[:, at, None]
        total, bound = certificate.precise_sum(terms.reshape(copies, math.prod(terms.shape[1:])).T)
        sums.append(total)
        bounds.append(bound)
    return (
        np.concatenate(sums).reshape(inputs, -1).T,
        np.concatenate(bounds).reshape(inputs, -1).T,
    )
