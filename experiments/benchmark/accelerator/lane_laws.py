"""Laws about whole lanes on an accelerator: strategies, slices, a new process, initial weights."""

import pathlib
import subprocess
import tempfile
from typing import Any

import jax
import numpy as np

from experiments.benchmark import measure, processes
from experiments.benchmark.accelerator import sizes
from lth_jax import numerics, training
from lth_jax.sweep import programs
from lth_jax.training import methods

AGAIN = "experiments.benchmark.accelerator.again"
_STEPS, _CUT = 20, 7
# Of float32 weights and scores, as README grants: after one step, and after _STEPS; or so many
# times as far as lanes drift apart whose scores differed in their last place.
_AFTER_ONE, _AFTER_ALL, _DRIFTS = 1e-5, 1e-4, 10
STRATEGIES = tuple(name for name in programs.STRATEGIES if name != "auto")


def stepper(
    net: str, size: sizes.Sizes, strategy: str, precision: numerics.Precision, lanes: int
) -> measure.Stepper:
    """A block of lanes of a net on noise, in the stage `joint`, at its first step."""
    problem = measure.problem(net, size.width, batch=size.batch, microbatch=0, precision=precision)
    dataset = measure.random_data(net, 2 * _STEPS * size.batch)  # No epoch ends within the steps.
    device = [jax.local_devices()[0]]
    return measure.Stepper(
        problem, dataset, methods.JOINT, lanes, strategy=strategy, eps=0.01, devices=device
    )


def _moved(state: training.State) -> Any:
    return jax.device_get((state.weights, state.scores))


def _difference(ours: Any, theirs: Any) -> float:
    pairs = zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True)
    # Not Python's max, which loses a NaN.
    return float(np.max([np.max(np.abs(np.float64(a) - np.float64(b))) for a, b in pairs]))


def lanes_agree(size: sizes.Sizes) -> dict[str, Any]:
    """Every strategy against lanes one after the other, at precision highest."""
    found: dict[str, Any] = {}
    holds = True
    for net in size.law_nets:
        seen: dict[str, list[Any]] = {}
        for strategy in STRATEGIES:
            lanes = stepper(net, size, strategy, "highest", size.law_lanes)
            begin = jax.device_get(lanes.state)
            seen[strategy] = _after_steps(lanes)
            holds &= _difference(_moved(begin), seen[strategy][0]) > 0
            if strategy == STRATEGIES[0]:
                lanes.put(begin._replace(scores=_in_the_last_place(begin.scores)))
                drift = _difference(seen[strategy][1], _after_steps(lanes)[1])
        holds &= bool(np.isfinite(drift))
        granted = max(_AFTER_ALL, _DRIFTS * drift)
        found[net] = {"drift": drift, "granted": [_AFTER_ONE, granted]}
        for strategy in STRATEGIES[1:]:
            one, all_ = (
                _difference(*pair) for pair in zip(seen[STRATEGIES[0]], seen[strategy], strict=True)
            )
            found[net][strategy] = {"after 1 step": one, f"after {_STEPS}": all_}
            holds &= one <= _AFTER_ONE and all_ <= granted
    return {"holds": holds, "differences": found}


def _after_steps(lanes: measure.Stepper) -> list[Any]:
    """Weights and scores after one step and after all."""
    lanes.advance(0, 1)
    one = _moved(lanes.state)
    lanes.advance(1, _STEPS)
    return [one, _moved(lanes.state)]


def _in_the_last_place(scores: Any) -> Any:
    """Each score the next float32 above or below it."""
    random = np.random.default_rng(0)

    def moved(x: Any) -> Any:
        return np.nextafter(x, np.float32(np.where(random.random(x.shape) < 0.5, np.inf, -np.inf)))

    return jax.tree.map(moved, scores)


def slices_and_resume(size: sizes.Sizes) -> dict[str, Any]:
    """All steps at once against two slices, and against a new process that takes the second.

    The same bits are asked for on a CPU only: elsewhere the compiler may choose other kernels in
    another process, unless XLA_FLAGS has --xla_gpu_deterministic_ops=true.
    """
    net, strategy = size.law_nets[0], programs.strategy_for("auto")
    lanes = stepper(net, size, strategy, "highest", size.law_lanes)
    begin = jax.device_get(lanes.state)
    lanes.advance(0, _STEPS)
    whole = _moved(lanes.state)
    lanes.put(begin)
    lanes.advance(0, _CUT)
    middle = jax.device_get(lanes.state)
    lanes.advance(_CUT, _STEPS)
    found = {"two slices": _moved(lanes.state)}
    del lanes
    platform = jax.local_devices()[0].platform
    if platform != "tpu":  # Which belongs to one process at a time.
        found["new process"] = _in_new_process(size, net, strategy, middle)
    differences = {name: _difference(whole, moved) for name, moved in found.items()}
    granted = 0.0 if platform == "cpu" else _AFTER_ALL
    return {
        "holds": bool(np.max(list(differences.values())) <= granted),
        "granted": granted,
        "differences": differences,
        **({"new process": "not tried on a TPU"} if platform == "tpu" else {}),
    }


def _in_new_process(size: sizes.Sizes, net: str, strategy: str, middle: training.State) -> Any:
    """Weights and scores after the last step, taken by a process of its own."""
    leaves, _ = jax.tree.flatten(middle)
    with tempfile.TemporaryDirectory() as folder:
        before, after = (pathlib.Path(folder) / name for name in ("before.npz", "after.npz"))
        np.savez(before, *leaves)
        small = size == sizes.SMALL
        command = processes.command(AGAIN, net, strategy, int(small), before, after)
        subprocess.run(command, check=True)
        with np.load(after) as stored:
            return [stored[name] for name in stored.files]


def go_on(net: str, strategy: str, small: bool, before: str, after: str) -> None:
    """What the new process does: the steps from _CUT to _STEPS.

    Args:
        net: Of the lanes.
        strategy: Of the lanes.
        small: Whether the sizes are the small ones.
        before: File of the state's arrays.
        after: File for the weights and scores.
    """
    size = sizes.SMALL if small else sizes.FULL
    lanes = stepper(net, size, strategy, "highest", size.law_lanes)
    with np.load(before) as stored:
        leaves = [stored[name] for name in stored.files]
    lanes.put(jax.tree.unflatten(jax.tree.structure(lanes.state), leaves))
    lanes.advance(_CUT, _STEPS)
    np.savez(after, *jax.tree.leaves(_moved(lanes.state)))


def weights_of_the_host(size: sizes.Sizes) -> dict[str, Any]:
    """The initial weights on the device are those that the host's CPU draws, bit for bit."""
    same, drawn_here = True, {}
    for net in size.law_nets:
        problem = measure.problem(net, size.width)
        made = programs.Programs(problem, devices=[jax.local_devices()[0]])
        shapes, count = training.lane_shapes(problem), 2
        tasks = [training.lane_task(problem, shapes, seed, 0.0, 0.5) for seed in range(count)]
        task = made.tasks(tasks, tasks[0], count)
        given, host = jax.device_get((made.initial(task), made.draw_on_host(task)))
        same &= _difference(given, host) == 0
        # Not asked for: what the device itself would have drawn.
        draw = jax.jit(lambda keys, p=problem: jax.lax.map(lambda k: training.initial(p, k), keys))
        keys = jax.device_put(jax.vmap(numerics.key)(np.arange(count, dtype=np.uint32)))
        drawn_here[net] = _difference(jax.device_get(draw(keys)), host)
    return {"holds": bool(same), "differences if drawn by the device": drawn_here}
