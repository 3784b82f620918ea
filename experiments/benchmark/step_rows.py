"""Benchmark: training steps per lane against PyTorch and against our own dense step."""

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from experiments.benchmark import measure, processes, torch_peers
from lth_jax import models
from lth_jax.models import convolution
from lth_jax.models.networks import conv
from lth_jax.training import methods, scoring

_LANES = 8
_STEPS = {"lenet": 190, "conv2": 2}  # Of a deeper one 1.
_PEER_STEPS = {"lenet": 20}
_DEEP = ("conv2", "conv4", "conv6", "conv8", "resnet20", "resnet18")


def _flops(net: str) -> int:
    """Multiplications and additions of a step, per image, by the definition.

    Winograd's takes fewer. The backward pass takes twice those of the forward pass, but for the
    first layer, whose images need no gradient.
    """
    convs, denses = torch_peers.shapes(net)
    side = torch_peers.SIZES[net][1]
    forward = [2 * (side >> index // 2) ** 2 * math.prod(s) for index, s in enumerate(convs)]
    forward += [2 * math.prod(shape) for shape in denses]
    return 3 * sum(forward) - forward[0]


def matrix_product() -> tuple[int, Callable[[], list[jax.Array]]]:
    """(flops of one call, a call that multiplies matrices on every device at once)."""
    size = 1536
    devices = jax.local_devices()
    pairs = [jax.device_put(jnp.ones((size, size)), device) for device in devices]
    multiply = jax.jit(lambda a: a @ a)

    def call() -> list[jax.Array]:
        return [multiply(a) for a in pairs]

    return 2 * size**3 * len(devices), call


def _peers(
    net: str, hows: Sequence[str], layouts: Sequence[bool]
) -> tuple[dict[str, Callable[[], float]], list[processes.Process]]:
    """Timed requests to PyTorch on all cores, and on every core by itself, eager and compiled."""
    count = len(jax.local_devices())
    groups = {"all cores": [torch_peers.start(count)]}
    if count > 1:
        groups["a process per core"] = [torch_peers.start(1) for _ in range(count)]
    timed: dict[str, Callable[[], float]] = {}
    ways = (False, True) if torch_peers.CAN_COMPILE else (False,)
    for (where, peers), how, last, compiled in itertools.product(
        groups.items(), hows, layouts, ways
    ):
        layout = {True: ", channels last", False: ", NCHW"}[last] if net != "lenet" else ""
        way = ", torch.compile" if compiled else ""
        request = {"net": net, "how": how, "channels_last": last, "compiled": compiled}
        timed[f"torch {how}{layout}{way}, {where}"] = functools.partial(
            torch_peers.together, peers, **request, steps=_PEER_STEPS.get(net, 1)
        )
    return timed, [peer for peers in groups.values() for peer in peers]


def _lenet(group: measure.Group, rounds: int) -> list[measure.Row]:
    dataset, problem = measure.random_data("lenet"), measure.problem("lenet")
    ours = measure.Stepper(problem, dataset, methods.PRUNE, _LANES)
    dense = measure.Stepper(problem, dataset, methods.PERTURB, _LANES)
    timed: dict[str, Callable[[], float]] = {
        "ours": lambda: ours.step(_STEPS["lenet"]),
        "dense": lambda: dense.step(_STEPS["lenet"]),
    }
    hows = [name.rsplit(".")[-1] for name in group.targets if ".torch" in name or "torch." in name]
    peers, others = _peers("lenet", hows, (False,)) if measure.HAS_TORCH and hows else ({}, [])
    times = measure.in_turn({**timed, **peers}, rounds)
    for process in others:
        process.close()
    rows = []
    for name, target in group.targets.items():
        how = "dense" if name.endswith("dense_step") else f"torch {name.rsplit('.')[-1]}"
        if how.startswith("torch") and not measure.HAS_TORCH:
            rows.append(measure.Row(name, None, None, target, {}, "torch is not installed"))
            continue
        peer, peer_ms = measure.median(times, how)
        _, ours_ms = measure.median(times, "ours")
        notes = {"peer": peer, "lanes": _LANES, "compile_ms": ours.compile_ms}
        rows.append(measure.Row(name, ours_ms, peer_ms, target, notes))
    return rows


def _conv(net: str, group: measure.Group, rounds: int) -> list[measure.Row]:
    lanes = len(jax.local_devices())
    ours = measure.Stepper(measure.problem(net), measure.random_data(net), methods.PRUNE, lanes)
    flops, multiply = matrix_product()
    timed: dict[str, Callable[[], float]] = {
        "ours": lambda: ours.step(_STEPS.get(net, 1)),
        "product": lambda: measure.milliseconds(multiply),
    }
    peers, others = _peers(net, ("sort", "kthvalue"), (False, True))
    times = measure.in_turn({**timed, **peers}, rounds, list(peers))
    for process in others:
        process.close()
    peer, peer_ms = measure.median(times, "torch")
    _, ours_ms = measure.median(times, "ours")
    rate = flops / measure.median(times, "product")[1]
    share = torch_peers.BATCH * _flops(net) / ours_ms / rate
    notes = {
        "peer": peer,
        "lanes": lanes,
        "compile_ms": ours.compile_ms,
        "share_of_product_rate": share,
        "product_gflops": rate / 1e6,
    }
    return [measure.Row(name, ours_ms, peer_ms, t, notes) for name, t in group.targets.items()]


def _dense(net: str, group: measure.Group, rounds: int) -> list[measure.Row]:
    """Edge-popup's step against our own without scores, whose ball has no bound."""
    lanes, data = len(jax.local_devices()), measure.random_data(net)
    kinds = {"ours": methods.PRUNE, "dense": methods.PERTURB}
    made = {
        name: measure.Stepper(measure.problem(net), data, kind, lanes)
        for name, kind in kinds.items()
    }
    timed = {
        name: functools.partial(stepper.step, _STEPS.get(net, 1)) for name, stepper in made.items()
    }
    times = measure.in_turn(timed, rounds)
    notes = {"lanes": lanes, "compile_ms": made["ours"].compile_ms}
    ours_ms, dense_ms = (measure.median(times, name)[1] for name in made)
    return [measure.Row(name, ours_ms, dense_ms, t, notes) for name, t in group.targets.items()]


def _in_loop(group: measure.Group, rounds: int) -> list[measure.Row]:
    """Conv-2's gradient as training takes it against the same outside any loop, by either way."""
    dataset = measure.random_data("conv2", torch_peers.BATCH)
    microbatch = measure.problem("conv2").config.microbatch
    example = jnp.zeros((1, *dataset.train.images.shape[1:]))

    def gradient_by(convolve: Any, microbatch: int) -> tuple[Callable[[Any], Any], models.Model]:
        model = models.from_flax(conv.ConvNet(2, convolve=convolve), example)

        def gradient(weights: Any) -> Any:
            found = scoring.loss_and_gradient(
                model, microbatch, weights, {}, *dataset.train, dataset.mean, dataset.std
            )
            return found[2]

        return gradient, model

    ours, model = gradient_by(convolution.conv_general_dilated, microbatch)
    weights, _ = jax.jit(model.init)(jax.random.key(0))
    steps = 3

    @jax.jit
    def loop(weights: Any) -> Any:
        def step(_: Any, weights: Any) -> Any:
            return jax.tree.map(lambda w, g: w - 1e-3 * g, weights, ours(weights))

        return jax.lax.fori_loop(0, steps, step, weights)

    timed: dict[str, Callable[[], float]] = {
        "ours": lambda: measure.milliseconds(lambda: loop(weights)) / steps
    }
    for name, convolve in (
        ("peer: the same", convolution.conv_general_dilated),
        ("peer: lax", jax.lax.conv_general_dilated),
    ):
        outside = jax.jit(gradient_by(convolve, 0)[0])
        timed[name] = functools.partial(measure.milliseconds, functools.partial(outside, weights))
    times = measure.in_turn(timed, rounds)
    peer, peer_ms = measure.median(times, "peer")
    _, ours_ms = measure.median(times, "ours")
    notes = {"peer": f"outside any loop, {peer.removeprefix('peer: ')}"}
    return [measure.Row(name, ours_ms, peer_ms, t, notes) for name, t in group.targets.items()]


GROUPS = [
    measure.Group({"gradient/conv2/in_loop": 1 / 1.5}, _in_loop, needs_torch=False),
    measure.Group(
        {
            "edge_popup/lenet/torch.sort": 12.0,
            "edge_popup/lenet/torch.kthvalue": 3.5,
            "edge_popup/lenet/dense_step": 1 / 1.6,
        },
        _lenet,
        needs_torch=False,
    ),
    *(
        measure.Group({f"edge_popup/{net}/torch.best": target}, functools.partial(_conv, net))
        for net, target in {"conv2": 1.3, "conv4": 1.3, "conv6": None, "conv8": None}.items()
    ),
    *(
        measure.Group({f"step/{net}/dense": None}, functools.partial(_dense, net), False)
        for net in _DEEP
    ),
]
