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

    def enlarge(split):
        big = split.images.repeat(3, 1).repeat(3, 2)
        return split._replace(images=np.pad(big, ((0, 0), (2, 2), (2, 2), (0, 0))))

    names = ("train", "validation", "test")
    return digits._replace(**{name: enlarge(getattr(digits, name)) for name in names})


@functools.cache
def _trajectories() -> dict[str, np.ndarray]:
    """[steps, 235,200] |scores| of the first layer, step after step, early and late in training."""
    size = len(jax.local_devices())
    stepper = measure.Stepper(measure.problem("lenet"), _enlarged_digits(), methods.PRUNE, size)

    def follow():
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


def _measure(n, group, rounds):
    kept = n // 2
    worst: dict[str, measure.Row] = {}
    with tempfile.TemporaryDirectory() as folder:
        peers = {name.rsplit("/")[-1] for name in group.targets}
        from_torch = {peer.split(".")[1] for peer in peers if peer.startswith("torch.")}
        count = len(os.sched_getaffinity(0))
        workers = [torch_peers.Worker(count)] if from_torch and measure.HAS_TORCH else []
        for where, trajectory in _trajectories().items():
            scores = _scores(trajectory, n)
            path = os.path.join(folder, f"{len(where)}.npy")
            np.save(path, scores[:4])
            arrays = [jnp.asarray(x) for x in scores]

            def over(function, arrays=arrays):
                def one(x):
                    return measure.milliseconds(lambda: function(x))

                return lambda: statistics.median(one(x) for x in arrays[:4])

            def warm(arrays=arrays):
                _, hint = _warm(arrays[0], np.int32(kept), jnp.zeros(2))
                times = []
                for x in arrays[1:]:
                    jax.block_until_ready(hint)
                    begun = time.perf_counter()
                    mask, hint = _warm(x, np.int32(kept), hint)
                    jax.block_until_ready(mask)
                    times.append(1e3 * (time.perf_counter() - begun))
                return statistics.median(times[3:])

            timed = {
                "cold": over(lambda x: _cold(x, np.int32(kept))),
                "warm": warm,
                "jax.lax.top_k": over(lambda x: _top_k(x, kept)),
                "jnp.sort": over(_sort),
            }
            for how in from_torch if workers else ():
                request = {"path": path, "how": how, "kept": kept}
                timed[f"torch.{how}"] = functools.partial(torch_peers.together, workers, **request)
            used = peers | {"cold", "warm"}
            times = measure.in_turn({k: f for k, f in timed.items() if k in used}, rounds)
            for name, target in group.targets.items():
                peer = name.rsplit("/")[-1]
                if peer not in times:
                    worst[name] = measure.Row(
                        name, None, None, target, {}, "torch is not installed"
                    )
                    continue
                ours = "warm" if "/warm/" in name else "cold"
                row = measure.Row(
                    name,
                    statistics.median(times[ours]),
                    statistics.median(times[peer]),
                    target,
                    {"scores": where},
                )
                before = worst.get(name)
                if not before or row.as_json()["ratio"] < before.as_json()["ratio"]:
                    worst[name] = row
        for worker in workers:
            worker.close()
    return [worst[name] for name in group.targets]


def _targets(n):
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
