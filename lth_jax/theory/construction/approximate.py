"""Theorem 2 as a program: a pruned, ε-perturbed random network of 2L layers that is the target.

Xiong, Liao and Kyrillidis (2023), after Pensia et al. (2020). Each target layer becomes two: the
odd one is fixed, n copies of +x_j and (at full width) n of −x_j for each input j, then ReLU; the
even one is random, and a subset of the n weights between the copies of x_j and output i, each moved
by at most ε, sums to the target's weight. How the layers are stored is in random_blocks.py.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from lth_jax import models
from lth_jax.perturb import quantization
from lth_jax.theory.construction import random_network
from lth_jax.theory.subset_sum import bounds, solvers


class Construction(NamedTuple):
    """The network and what is known of it; trees: {"RedundantBlock_l": {weight1, weight2}}."""

    model: models.Model  # init(key) draws the candidates; apply multiplies by the output scale
    candidates: Any  # float32 tree: the random network before anything was done to it
    weights: Any  # float32 tree: candidates + Y on the kept even entries, |Y| <= ε exactly
    masks: Any  # bool tree: all of weight1 (the structural diagonal), the subsets of weight2
    found: list[np.ndarray]  # per layer [halves, in, out] bool: within η before rounding
    scales: tuple[float, ...]  # per layer: target layer / scale is what the theorem assumes
    widths: tuple[int, ...]  # per layer: n, candidates per target weight and half
    recipe: dict[str, Any]  # what `random_blocks.draw` and `build` make them of


def checked(target: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Returns the weights as float64.

    Raises:
        ValueError: If they are no chain of finite matrices [out, in].
    """
    target = [np.asarray(w, np.float64) for w in target]
    shapes = [w.shape for w in target]
    if not target or any(len(s) != 2 or 0 in s for s in shapes):
        raise ValueError(f"expected weight matrices [out, in], got shapes {shapes}.")
    if any(a[0] != b[1] for a, b in zip(shapes, shapes[1:], strict=False)):
        raise ValueError(f"expected each layer's inputs to be the last one's outputs, got {shapes}")
    if not all((np.abs(w) < 1e30).all() for w in target):  # NaN compares False.
        raise ValueError("expected finite weights below 1e30 in size.")
    return target


def theorem(
    shapes: Sequence[tuple[int, int]], eta: float, eps: float, delta: float
) -> tuple[list[float], list[int]]:
    """Tolerance per weight and width of each layer that give sup |f − g| < η (ℓ∞, 1 − δ).

    Args:
        shapes: [out, in] of each of the L layers, with ‖W‖ <= 1 as an operator of ℓ∞.
        eta: 0 < η <= 2.5, of the network.
        eps: Largest perturbation.
        delta: Probability to fail, spread over all weights and both halves.

    Returns:
        η/(2L·in) per layer, and the candidates that `bounds.candidates` asks for.
    """
    tolerances = [eta / (2 * len(shapes) * inputs) for _, inputs in shapes]
    share = delta / (2 * sum(out * inputs for out, inputs in shapes))
    return tolerances, [int(bounds.candidates(t, eps, share)) for t in tolerances]


class _Fit:
    """One half of one layer: a subset for each target weight z [m], candidates row by row."""

    def __init__(self, draw, z, scale, eps, eta):
        self.draw, self.z, self.scale, self.eps, self.eta = draw, z, scale, eps, eta
        self.rows = []
        self.mask = np.zeros((solvers.MAX_CANDIDATES, len(z)), bool)
        self.y, self.found = np.zeros(len(z)), np.zeros(len(z), bool)

    def prefix(self, n, at):
        while len(self.rows) < n:
            self.rows.append(np.asarray(self.draw(len(self.rows))).ravel())
        x = np.empty((len(at), n))
        for copy in range(n):
            x[:, copy] = self.rows[copy][at]
        return self.scale * x  # Exact: 8 bits times 24.

    def settle(self, n, at, objective):
        x = self.prefix(n, at)
        answer = solvers.solve(x, self.z[at], self.scale * self.eps, self.eta, objective)
        self.mask[:, at] = False
        self.mask[:n, at] = answer.mask.T
        # One number per weight: the solver moves every member of a subset alike.
        moves = answer.y[np.arange(len(at)), answer.mask.argmax(axis=1)]  # 0 for an empty subset
        self.y[at] = np.clip(moves / self.scale, -self.eps, self.eps)
        self.found[at] = answer.found

    def smallest(self, limit):
        """The least n whose candidates reach every weight; only what failed sees more of them."""
        everything = np.arange(len(self.z))
        window = max(self.eta / self.scale, self.eps)
        n = int(min(max(math.log2(1 / window), 1), limit)) if window < 1 else 1
        self.settle(n, everything, "first")
        open_ = everything[~self.found]
        if not open_.size:
            x = self.prefix(n, everything)
            eps = self.scale * self.eps
            while n > 1 and solvers.reachable(x[:, : n - 1], self.z, eps, self.eta).all():
                n -= 1
            self.settle(n, everything, "first")
        while open_.size and n < limit:
            n += 1
            self.settle(n, open_, "first")
            open_ = open_[~self.found[open_]]
        return n


def approximate(
    target: Sequence[np.ndarray],
    key: jax.Array,
    eps: float,
    eta: float | Sequence[float],
    width_factor: int | Sequence[int] | None = None,
    *,
    nonnegative_input: bool,
    candidates: str = "uniform",
    objective: str = "first",
    bits: int | None = None,
    limit: int = 30,
) -> Construction:
    """Finds the target inside a random network.

    Args:
        target: Bias-free ReLU network, linear at its end: matrices [out, in].
        key: Typed key of the candidates; a layer's first n do not depend on n.
        eps: Largest |Y|, >= 0.
        eta: Largest error of a target weight (in the target's own units), or one per layer.
        width_factor: n, candidates per target weight and half, or one per layer; of more than 40
            only the first 40 are searched. None finds the least n of each layer by which all of
            its weights are within η; only weights that fail see more candidates.
        nonnegative_input: True gives half the width; right only for inputs >= 0.
        candidates: "uniform" U[-1, 1], "normal" N(0, 1) or "kaiming" N(0, 2/in).
        objective: Which of the subsets within η, see `subset_sum.solve`.
        bits: None leaves Y as float32; 2 to 16 rounds it to that many bits, with an error per
            target weight of half a step.
        limit: Largest n that is tried where width_factor is None.

    Returns:
        The network. Where `found` is False no subset within η was there; the nearest is used.

    Raises:
        ValueError: If a value or shape does not fit.
    """
    target = checked(target)
    etas = list(eta) if isinstance(eta, Sequence) else [eta] * len(target)
    factors = width_factor if isinstance(width_factor, Sequence) else [width_factor] * len(target)
    if not len(etas) == len(factors) == len(target):
        raise ValueError(f"expected {len(target)} values of eta and width_factor, one per layer.")
    if not all(e >= 0 for e in (eps, *etas)) or any(f is not None and f < 1 for f in factors):
        raise ValueError(
            f"expected eps, eta >= 0, width_factor >= 1, got {eps}, {eta}, {width_factor}."
        )
    if candidates not in random_network.KINDS:
        raise ValueError(f"expected candidates of {random_network.KINDS}, got {candidates!r}.")
    if any(f is None and e + eps == 0 for f, e in zip(factors, etas, strict=True)):
        raise ValueError("expected eta + eps > 0 where the width is to be found.")
    if not 1 <= limit <= solvers.MAX_CANDIDATES:
        raise ValueError(f"expected 1 <= limit <= {solvers.MAX_CANDIDATES}, got {limit}.")
    halves = 1 if nonnegative_input else 2
    scales = tuple(random_network.layer_scale(w, candidates) for w in target)
    trees, found, widths = ({}, {}, {}), [], []
    for layer, (w, scale) in enumerate(zip(target, scales, strict=True)):
        shape = w.shape[::-1]
        fits = []
        for half in range(halves):
            draw = functools.partial(
                random_network.row, key, layer, half, shape=shape, kind=candidates
            )
            fits.append(_Fit(draw, w.T.ravel() * (1 - 2 * half), scale, eps, etas[layer]))
        n = factors[layer]
        if n is None:
            n = max(fit.smallest(limit) for fit in fits)
        if objective != "first" or factors[layer] is not None:
            for fit in fits:
                fit.settle(min(n, solvers.MAX_CANDIDATES), np.arange(w.size), objective)
        for fit in fits:
            fit.prefix(n, np.arange(0))
        name = f"RedundantBlock_{layer}"
        blocks = [_moved(fit, n, eps, bits) for fit in fits]
        for tree, part in zip(trees, zip(*blocks, strict=True), strict=True):
            tree[name] = random_network.block(np, [row for half in part for row in half], shape, n)
        trees[2][name]["weight1"] = np.ones_like(trees[2][name]["weight1"], bool)
        trees[2][name]["weight2"] = trees[2][name]["weight2"].astype(bool)
        found.append(np.stack([fit.found.reshape(shape) for fit in fits]))
        widths.append(n)
    sizes = [target[0].shape[1], *(w.shape[0] for w in target)]
    recipe = {"sizes": sizes, "widths": widths, "halves": halves, "candidates": candidates}
    recipe["scales"] = list(scales)
    return Construction(random_network.build(recipe), *trees, found, scales, tuple(widths), recipe)


def _moved(fit, n, eps, bits):
    """Candidates [n, m], the same with Y applied, and the mask [n, m]."""
    m = len(fit.z)
    center = np.stack(fit.rows[:n]) if n else np.zeros((0, m), np.float32)
    mask = np.zeros((n, m), bool)
    mask[: len(fit.mask)] = fit.mask[:n]
    wanted = np.where(mask, center + fit.y, center)
    if bits is None:
        return center, quantization.carried(center, wanted, mask, eps), mask
    levels = quantization.levels_of(center, wanted, mask, eps, bits)
    return center, quantization.rebuild(center, levels, eps, bits), mask


def counts(built: Construction) -> dict[str, int | float]:
    """Sizes: of the target, of the even layers, what is kept of them, and of the odd layers."""
    blocks = [built.masks[f"RedundantBlock_{i}"] for i in range(len(built.widths))]
    pairs = list(zip(built.recipe["sizes"], built.recipe["sizes"][1:], strict=False))
    weights = sum(a * b for a, b in pairs)
    total = sum(b["weight2"].size for b in blocks)
    return {
        "weights": weights,
        "candidates": total,
        "kept": int(sum(b["weight2"].sum() for b in blocks)),
        "odd_kept": sum(b["weight1"].size for b in blocks),
        "odd_total": sum(b["weight1"].size * a for b, (a, _) in zip(blocks, pairs, strict=True)),
        "over_parameterization": total / weights,
    }
