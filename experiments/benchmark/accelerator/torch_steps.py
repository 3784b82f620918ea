"""The same step in PyTorch on the same card, in every way that its users would try.

Lanes batched by torch.func.vmap and compiled; one model after the other as a CUDA graph; a process
per model. Masks by a full sort, as edge-popup's authors do, or by kthvalue.

    python -m experiments.benchmark.accelerator.torch_steps < requests
"""

import functools
import json
import math
import sys
import time
from collections.abc import Callable
from typing import Any

from experiments.benchmark import measure, processes, torch_peers
from experiments.benchmark.accelerator import sizes, torch_resnet

_MODULE = "experiments.benchmark.accelerator.torch_steps"
_HOWS = ("sort", "kthvalue")


def timed(
    net: str, lanes: int, size: sizes.Sizes, precision: str
) -> tuple[dict[str, Callable[[], float]], list[processes.Process]]:
    """Requests for the milliseconds of a step and lane, by the way; and the processes to close.

    Nothing where PyTorch is not installed.
    """
    if not measure.HAS_TORCH:
        return {}, []
    small = size == sizes.SMALL
    request = {"net": net, "small": small, "precision": precision}
    ways: dict[str, Callable[[], float]] = {}
    started: list[processes.Process] = []

    def add(name: str, how: str, way: str, count: int, several: int = 1) -> None:
        # Each in processes of its own: after an error on a card PyTorch cannot go on in the same.
        asked = json.dumps({**request, "how": how, "way": way, "lanes": count})
        own = [processes.Process(_MODULE) for _ in range(several)]
        ways[f"torch {how}, {name}"] = functools.partial(processes.together, own, asked)
        started.extend(own)

    for how in _HOWS:
        add("vmap", how, "vmap", lanes)
        add("vmap, compiled", how, "vmap, compiled", lanes)
        add("graph", how, "graph", 1)
        count = min(lanes, size.most_processes)
        if count > 1:
            add(f"a graph in each of {count} processes", how, "graph", 1, count)
    return ways, started


class _Net:
    """Weights, scores and images of lanes on the card; [lanes, ...] each but the images."""

    def __init__(self, net: str, how: str, lanes: int, small: bool, precision: str):
        import torch

        self.torch, self.how, size = torch, how, sizes.SMALL if small else sizes.FULL
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        torch.backends.cuda.matmul.allow_tf32 = precision != "highest"
        torch.backends.cudnn.allow_tf32 = precision != "highest"
        self._autocast = precision == "bf16"
        torch.manual_seed(0)
        self._residual = net == "resnet18"
        if self._residual:
            convs, denses = torch_resnet.shapes(size.width)
        else:
            convs, denses = torch_peers.shapes(net, size.width)
        self._convs, self.lanes, self.batch = len(convs), lanes, size.batch
        self.weights, self.scores = [], []
        for shape in [*convs, *denses]:
            fan_in = math.prod(shape[1:])
            drawn = torch.randn(lanes, *shape, device=self.device)
            self.weights.append(drawn * math.sqrt(2 / fan_in))
            drawn = torch.rand(lanes, *shape, device=self.device)
            self.scores.append((drawn * 2 - 1) / math.sqrt(fan_in))
        self.momenta = [torch.zeros_like(scores) for scores in self.scores]
        _, side, channels = torch_peers.SIZES[net]
        self._count = 2 * sizes.MOST_STEPS * self.batch
        images = torch.randint(0, 256, (self._count, channels, side, side), dtype=torch.uint8)
        self._images = images.to(self.device)
        self._labels = torch.randint(0, 10, (self._count,), device=self.device)
        orders = [torch.randperm(self._count) for _ in range(lanes)]
        self._orders = torch.stack(orders).to(self.device)
        self._taken = 0

    def next_rows(self) -> tuple[Any, float]:
        """The images of the next batch, [lanes, batch], and the rate."""
        first = self._taken * self.batch % self._count
        self._taken += 1
        rate = 0.05 * (1 + math.cos(math.pi * min(self._taken, 10_000) / 10_000))
        return self._orders[:, first : first + self.batch], rate

    def batch_of(self, rows: Any) -> tuple[Any, Any]:
        """Images and labels."""
        return (self._images[rows].float() - 127.5) / 74.0, self._labels[rows]

    def loss(self, weights: Any, scores: Any, x: Any, y: Any) -> Any:
        """Of one lane."""
        nn = self.torch.nn.functional
        with self.torch.autocast(self.device.type, self.torch.bfloat16, enabled=self._autocast):
            kept = [w * self._masked(s.abs()) for w, s in zip(weights, scores, strict=True)]
            x = torch_resnet.features(nn, kept[:-1], x) if self._residual else self._plain(kept, x)
            logits = nn.linear(x, kept[-1])
        return nn.cross_entropy(logits.float(), y)

    def _plain(self, kept: Any, x: Any) -> Any:
        nn = self.torch.nn.functional
        for index, kernel in enumerate(kept[: self._convs]):
            x = nn.relu(nn.conv2d(x, kernel, padding=1))
            if index % 2:
                x = nn.max_pool2d(x, 2)
        x = x.flatten(1)
        for kernel in kept[self._convs : -1]:
            x = nn.relu(nn.linear(x, kernel))
        return x

    def _masked(self, scores: Any) -> Any:
        """The mask of the top half, with the straight-through gradient."""
        found = mask_of(self.torch, self.how, scores.detach(), scores.numel() // 2)
        return found + (scores - scores.detach())


def mask_of(torch: Any, how: str, scores: Any, removed: int) -> Any:
    """Ones where the scores are not among the `removed` lowest, by a sort or by kthvalue."""
    flat = scores.flatten()
    if how == "sort":
        order = flat.sort().indices
        mask = torch.zeros_like(flat).scatter(0, order[removed:], 1.0)
    else:
        mask = (flat > flat.kthvalue(removed).values).to(flat.dtype)
    return mask.view_as(scores)


def _vmapped(net: _Net, compiled: bool) -> Callable[[], None]:
    """A step of all lanes by torch.func.vmap."""
    torch = net.torch

    def one(weights: Any, scores: Any, momenta: Any, x: Any, y: Any, rate: Any) -> Any:
        gradient = torch.func.grad(lambda scores: net.loss(weights, scores, x, y))(scores)
        rows = zip(momenta, gradient, scores, strict=True)
        momenta = [0.9 * m + g + 1e-4 * s for m, g, s in rows]
        return [s - rate * m for s, m in zip(scores, momenta, strict=True)], momenta

    together = torch.func.vmap(one, in_dims=(0, 0, 0, 0, 0, None))
    if compiled:
        together = torch.compile(together)

    def step() -> None:
        rows, rate = net.next_rows()
        rate = torch.tensor(rate, device=net.device)
        moved = together(net.weights, net.scores, net.momenta, *net.batch_of(rows), rate)
        net.scores, net.momenta = moved

    return step


def _graphed(net: _Net) -> Callable[[], None]:
    """A step of one model, captured once and replayed; where there is no CUDA, taken eagerly."""
    torch = net.torch
    weights = [w[0] for w in net.weights]
    scores = [s[0].clone().requires_grad_() for s in net.scores]
    momenta = [m[0].clone() for m in net.momenta]
    rows, rate = net.next_rows()[0][0].clone(), torch.zeros((), device=net.device)

    def body() -> None:
        gradients = torch.autograd.grad(net.loss(weights, scores, *net.batch_of(rows)), scores)
        with torch.no_grad():
            for s, m, g in zip(scores, momenta, gradients, strict=True):
                m.mul_(0.9).add_(g).add_(s, alpha=1e-4)
                s.sub_(rate * m)

    run = body
    if net.device.type == "cuda":
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(3):
                body()
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            body()
        run = graph.replay

    def step() -> None:
        fresh, now = net.next_rows()
        rows.copy_(fresh[0])
        rate.fill_(now)
        run()

    return step


@functools.cache
def stepper(
    net: str, how: str, way: str, lanes: int, small: bool, precision: str
) -> tuple[Callable[[], None], Callable[[], None]]:
    """A function that takes a step of every lane, and one that waits until it is done.

    Args:
        net: lenet, conv2, conv4 or resnet18.
        how: sort or kthvalue.
        way: "vmap", "vmap, compiled" or "graph".
        lanes: Of the vmap; 1 for a graph.
        small: Whether the sizes are the small ones.
        precision: highest, tf32 or bf16.
    """
    made = _Net(net, how, lanes, small, precision)
    wait = made.torch.cuda.synchronize if made.device.type == "cuda" else lambda: None
    return (_graphed(made) if way == "graph" else _vmapped(made, way != "vmap")), wait


def _answer(request: dict[str, Any]) -> float:
    """Milliseconds of a step and lane."""
    step, wait = stepper(**request)
    size = sizes.SMALL if request["small"] else sizes.FULL

    def seconds(steps: int) -> float:
        wait()
        begun = time.perf_counter()
        for _ in range(steps):
            step()
        wait()
        return (time.perf_counter() - begun) / steps

    steps = max(2, min(sizes.MOST_STEPS, math.ceil(size.seconds / seconds(2))))
    return 1e3 * seconds(steps) / float(request["lanes"])


def main() -> None:
    """Answers requests until there are none; what a way cannot do takes for ever."""
    for line in sys.stdin:
        try:
            print(_answer(json.loads(line)), flush=True)
        except Exception as error:  # Of as many kinds as PyTorch has.
            said = " ".join(str(error).split())[:200]
            print(f"PyTorch: {line.strip()}: {type(error).__name__}: {said}", file=sys.stderr)
            print(math.inf, flush=True)


if __name__ == "__main__":
    main()
