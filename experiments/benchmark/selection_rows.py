"""Benchmark: the top half of n scores, against torch and JAX's own.

Two distributions: scores at init, and after 1,000 steps of edge-popup (LeNet-300-100 on the digits
enlarged to 28×28, which need no download; half of each tensor kept). The first layer has 235,200
scores and is taken as it is. Larger n draw from its entries, with replacement, each with a factor
of its own of 1 ± 0.1 % so that no two tie, and the same draw at every step. A row is the worse one.
"""

import functools
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmark import measure, torch_peers
from lth_jax import datasets
from lth_jax.masks import selection
from lth_jax.training import methods

_SIZES = (235_200, 1_179_648, 4_000_000)
_WARM_STEPS = 12  # scores in a row; a warm search begins where that of the step before ended
_TRAINED_STEPS = 1_000


def _enlarged_digits() -> datasets.Dataset:
    digits = datasets.load("digits")

    def enlarge(split: datasets.Split) -> datasets.Split:
        big = split.images.repeat(3, 1).repeat(3, 2)
        return split._replace(images=np.pad(big, ((0, 0), (2, 2), (2, 2), (0, 0))))

    return digits._replace(
        train=enlarge(digits.train),
        validation=enlarge(digits.validation),
        test=enlarge(digits.test),
    )


@functools.cache
def _trajectories() -> dict[str, np.ndarray]:
    """[steps, 235,200] |scores| of the first layer, step after step, early and late in training."""
    size = len(jax.local_devices())
    stepper = measure.Stepper(measure.problem("lenet"), _enlarged_digits(), methods.PRUNE, size)

    def follow() -> np.ndarray:
        kept = []
        for _ in range(_WARM_STEPS):
            kept.append(np.abs(stepper.state.scores["Dense_0"]["kernel"][0]).reshape(-1))
            stepper.step(1)
        return np.stack(kept)

    early = follow()
    for _ in range(_TRAINED_STEPS // 10):
        stepper.step(10)
    return {"at init": early, f"after {_TRAINED_STEPS:,} steps": follow()}


def _scores(trajectory: np.ndarray, n: int) -> np.ndarray:
    if n == trajectory.shape[1]:
        return trajectory
    random = np.random.default_rng(n)
    drawn = random.integers(0, trajectory.shape[1], n)
    factor = random.uniform(0.999, 1.001, n).astype(np.float32)
    return trajectory[:, drawn] * factor


_cold = jax.jit(selection.topk_mask)
_warm = jax.jit(selection.topk_mask_and_threshold)
_top_k = jax.jit(jax.lax.top_k, static_argnums=1)
_sort = jax.jit(jnp.sort)


def _over(function: Callable[[jax.Array], Any], arrays: Sequence[jax.Array]) -> float:
    """The median time of a call over the first four arrays of scores."""
    one = measure.milliseconds
    return statistics.median(one(functools.partial(function, x)) for x in arrays[:4])


def _warm_search(arrays: Sequence[jax.Array], kept: int) -> float:
    """The median time of a search that begins where that of the step before ended."""
    _, hint = _warm(arrays[0], np.int32(kept), jnp.zeros(2))
    times = []
    for x in arrays[1:]:
        hint.block_until_ready()
        begun = time.perf_counter()
        mask, hint = _warm(x, np.int32(kept), hint)
        mask.block_until_ready()
        times.append(1e3 * (time.perf_counter() - begun))
    return statistics.median(times[3:])


def _measure(n: int, group: measure.Group, rounds: int) -> list[measure.Row]:
    peers = {name.rsplit("/")[-1] for name in group.targets}
    from_torch = sorted(peer for peer in peers if peer.startswith("torch."))
    count = len(os.sched_getaffinity(0))
    others = [torch_peers.start(count)] if from_torch and measure.HAS_TORCH else []
    found: list[list[measure.Row]] = []
    with tempfile.TemporaryDirectory() as folder:
        for where, trajectory in _trajectories().items():
            scores = _scores(trajectory, n)
            timed = _searches(scores, n // 2)
            if others:
                path = os.path.join(folder, f"{len(where)}.npy")
                np.save(path, scores[:4])
                for name in from_torch:
                    request = {"path": path, "how": name.split(".")[1], "kept": n // 2}
                    timed[name] = functools.partial(torch_peers.together, others, **request)
            used = peers | {"cold", "warm"}
            times = measure.in_turn({k: f for k, f in timed.items() if k in used}, rounds)
            found.append([_row(name, t, times, where) for name, t in group.targets.items()])
    for process in others:
        process.close()
    # Of each name the worse one, the first where they are equal or were not measured.
    return [min(rows, key=lambda row: row.ratio or 0.0) for rows in zip(*found, strict=True)]


def _searches(scores: np.ndarray, kept: int) -> dict[str, Callable[[], float]]:
    """Timed searches of our own and of JAX, by name."""
    arrays = [jnp.asarray(x) for x in scores]
    one_by_one: dict[str, Callable[[jax.Array], Any]] = {
        "cold": lambda x: _cold(x, np.int32(kept)),
        "jax.lax.top_k": lambda x: _top_k(x, kept),
        "jnp.sort": _sort,
    }
    timed = {name: functools.partial(_over, f, arrays) for name, f in one_by_one.items()}
    return {**timed, "warm": functools.partial(_warm_search, arrays, kept)}


def _row(
    name: str, target: float | None, times: Mapping[str, Sequence[float]], where: str
) -> measure.Row:
    peer = name.rsplit("/")[-1]
    if peer not in times:
        return measure.Row(name, None, None, target, {}, "torch is not installed")
    ours = statistics.median(times["warm" if "/warm/" in name else "cold"])
    return measure.Row(name, ours, statistics.median(times[peer]), target, {"scores": where})


def _targets(n: int) -> dict[str, float | None]:
    return {
        f"selection/n={n}/torch.kthvalue": 2.5,
        f"selection/n={n}/torch.topk": None,
        f"selection/n={n}/jax.lax.top_k": 40.0,
        f"selection/n={n}/jnp.sort": None,
        f"selection/warm/n={n}/torch.kthvalue": 4.0,
    }


GROUPS = [
    measure.Group(_targets(n), functools.partial(_measure, n), needs_torch=False) for n in _SIZES
]
