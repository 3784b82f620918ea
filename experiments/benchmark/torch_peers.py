"""What the benchmark is measured against: PyTorch, in processes of its own, one request per line.

Written from the papers' descriptions: edge-popup (Ramanujan et al. 2020) finds its mask in every
forward pass by a full sort, as its authors do, or by kthvalue; dense training of the same nets
(LeNet-300-100; Conv-2 to Conv-8 of Frankle & Carbin 2019), without biases. Each eagerly, and with
the loss by torch.compile where there is the C++ compiler that it calls.

    python -m experiments.benchmark.torch_peers THREADS < requests
"""

import functools
import json
import math
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from experiments.benchmark import processes

_PAIRS = {"lenet": 0, "conv2": 1, "conv4": 2, "conv6": 3, "conv8": 4}
# Images, their side and channels; nets without a peer here have those of the others.
SIZES = {"lenet": (25_600, 28, 1)} | dict.fromkeys(
    ("conv2", "conv4", "conv6", "conv8", "resnet20", "resnet18"), (5_120, 32, 3)
)
BATCH = 128
CAN_COMPILE = any(map(shutil.which, ("g++", "clang++")))


def start(threads: int) -> processes.Process:
    """A process that answers requests; `threads` is what torch.set_num_threads gets."""
    return processes.Process("experiments.benchmark.torch_peers", threads)


def together(peers: Sequence[processes.Process], **request: Any) -> float:
    """The same request to all at once: milliseconds over their number; see `_answer`."""
    return processes.together(peers, json.dumps(request))


def _masked(torch: Any, how: str, kept: int) -> Callable[[Any], Any]:
    """(scores >= 0) -> a mask of the top `kept`, with the straight-through gradient."""

    class Subnet(torch.autograd.Function):  # type: ignore[misc]  # Of an argument.
        @staticmethod
        def forward(context: Any, scores: Any) -> Any:
            flat = scores.flatten()
            removed = flat.numel() - kept
            if how == "sort":
                mask = torch.empty_like(flat)
                order = flat.sort().indices
                mask[order[:removed]] = 0
                mask[order[removed:]] = 1
            elif removed:
                mask = (flat > flat.kthvalue(removed).values).to(flat.dtype)
            else:
                mask = torch.ones_like(flat)
            return mask.view_as(scores)

        @staticmethod
        def backward(context: Any, gradient: Any) -> Any:
            return gradient

    apply: Callable[[Any], Any] = Subnet.apply
    return apply


def shapes(net: str, width: float = 1) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
    """Kernels of convolutions and dense layers, [out, in, ...]; a factor of the hidden units."""

    def scaled(units: int) -> int:
        return max(1, round(units * width))

    if net == "lenet":
        first, second = scaled(300), scaled(100)
        return [], [(first, 784), (second, first), (10, second)]
    channels = 3
    convs: list[tuple[int, ...]] = []
    for pair in range(_PAIRS[net]):
        for _ in range(2):
            convs.append((scaled(64 * 2**pair), channels, 3, 3))
            channels = scaled(64 * 2**pair)
    side, hidden = 32 // 2 ** _PAIRS[net], scaled(256)
    return convs, [(hidden, channels * side**2), (hidden, hidden), (10, hidden)]


@functools.cache
def _stepper(net: str, how: str, channels_last: bool, compiled: bool) -> Callable[[], None]:
    """A function that takes one training step of a net, at sparsity .5."""
    import torch
    from torch.nn import functional as nn

    torch.manual_seed(0)
    convs, denses = shapes(net)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    moving, layers = [], []
    for shape in [*convs, *denses]:
        fan_in = math.prod(shape[1:])
        weight = torch.randn(shape) * math.sqrt(2 / fan_in)
        scores = (torch.rand(shape) * 2 - 1) / math.sqrt(fan_in)
        if len(shape) == 4:
            weight, scores = (a.contiguous(memory_format=layout) for a in (weight, scores))
        trained = weight if how == "dense" else scores
        moving.append(trained.requires_grad_())
        kept = weight.numel() - weight.numel() // 2
        layers.append((weight, scores, _masked(torch, how, kept)))

    def weight_of(layer: tuple[Any, Any, Callable[[Any], Any]]) -> Any:
        weight, scores, mask = layer
        return weight if how == "dense" else weight * mask(scores.abs())

    def loss_of(x: Any, labels: Any) -> Any:
        for index, layer in enumerate(layers[: len(convs)]):
            x = nn.relu(nn.conv2d(x, weight_of(layer), padding=1))
            if index % 2:
                x = nn.max_pool2d(x, 2)
        x = x.flatten(1)
        for layer in layers[len(convs) : -1]:
            x = nn.relu(nn.linear(x, weight_of(layer)))
        return nn.cross_entropy(nn.linear(x, weight_of(layers[-1])), labels)

    if compiled:
        loss_of = torch.compile(loss_of)
    rate, decay = (0.01, 0.0) if how == "dense" else (0.1, 1e-4)
    optimizer = torch.optim.SGD(moving, lr=rate, momentum=0.9, weight_decay=decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10_000)
    count, side, channels = SIZES[net]
    shape = (count, side, side, channels) if channels_last else (count, channels, side, side)
    images = torch.randint(0, 256, shape, dtype=torch.uint8)
    labels = torch.randint(0, 10, (count,))
    order = torch.randperm(count)
    taken = 0

    def step() -> None:
        nonlocal taken
        first = taken % (count // BATCH) * BATCH
        taken += 1
        rows = order[first : first + BATCH]
        x = (images[rows].float() - 127.5) / 74.0
        x = x.permute(0, 3, 1, 2) if channels_last else x
        loss = loss_of(x, labels[rows])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()

    return step


@functools.cache
def _loaded(path: str) -> list[Any]:
    import torch

    return [torch.from_numpy(x) for x in np.load(path)]


def _select(path: str, how: str, kept: int) -> float:
    """Milliseconds of one selection, the median over the rows of a file of scores."""
    import torch

    times = []
    for x in _loaded(path):
        begun = time.perf_counter()
        if how == "kthvalue":
            torch.kthvalue(x, x.numel() - kept + 1)
        else:
            torch.topk(x, kept)
        times.append(time.perf_counter() - begun)
    return 1e3 * float(np.median(times))


def _answer(request: dict[str, Any]) -> float:
    """Milliseconds of a step {net, how, channels_last, compiled, steps}; else of a selection.

    A selection is {path, how, kept}.
    """
    if "path" in request:
        return _select(**request)
    steps = request.pop("steps")
    step = _stepper(**request)
    begun = time.perf_counter()
    for _ in range(steps):
        step()
    return 1e3 * (time.perf_counter() - begun) / float(steps)


def main() -> None:
    """Answers requests until there are none."""
    import torch

    torch.set_num_threads(int(sys.argv[1]))
    torch.set_num_interop_threads(1)
    for line in sys.stdin:
        print(_answer(json.loads(line)), flush=True)


if __name__ == "__main__":
    main()
