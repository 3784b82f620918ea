"""The largest |f − g| that can be found on a domain, in float64: what a certificate is held to."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lth_jax.theory.construction import network_certificate

Floats = npt.NDArray[np.float64]


class Found(NamedTuple):
    """The largest error seen, by where the inputs came from."""

    value: float  # the largest of all
    data: float
    random: float
    ascent: float
    at: Floats  # [d] the input that gave `value`


def target_output(target: Sequence[npt.NDArray[Any]], x: Floats) -> Floats:
    """The target: inputs [b, d] float64 -> [b, out]."""
    return _forward([(w, -w) for w in target], x)[0]


def _pairs(layers: Sequence[network_certificate.Layer]) -> list[tuple[Floats, Floats]]:
    return [(g.plus, np.zeros_like(g.plus) if g.minus is None else g.minus) for g in layers]


def _forward(
    pairs: Sequence[tuple[npt.NDArray[Any], npt.NDArray[Any]]], x: Floats
) -> tuple[Floats, list[Floats]]:
    """Output, and each layer's input: the first may be negative, later ones are after a ReLU."""
    inputs = []
    for index, (plus, minus) in enumerate(pairs):
        if index:
            x = np.maximum(x, 0)
        inputs.append(x)
        below = np.maximum(-x, 0) @ minus.T if not index and (x < 0).any() else 0
        x = np.maximum(x, 0) @ plus.T + below
    return x, inputs


def _gradient(
    pairs: Sequence[tuple[Floats, Floats]], inputs: Sequence[Floats], back: Floats
) -> Floats:
    """Gradient [b, d] at the input of Σ back · output."""
    for index in range(len(pairs) - 1, -1, -1):
        plus, minus = pairs[index]
        if index:
            back = (back @ plus) * (inputs[index] > 0)
        else:
            # At 0 the outgoing side counts: the one toward the inside of [0, 1]^d.
            right = back @ plus
            some = (inputs[0] < 0).any()
            back = np.where(inputs[0] >= 0, right, -(back @ minus)) if some else right
    return back


class _Largest:
    """The largest |f − g| seen of one kind of input, and where."""

    def __init__(self, f: Sequence[tuple[Floats, Floats]], g: Sequence[tuple[Floats, Floats]]):
        self.f, self.g = f, g
        self.value, self.at = 0.0, np.zeros(f[0][0].shape[1])

    def note(self, x: Floats) -> Floats:
        """Looks at inputs [b, d] and returns their errors [b]."""
        errors = np.abs(_forward(self.f, x)[0] - _forward(self.g, x)[0]).max(axis=1)
        if errors.size and errors.max() > self.value:
            self.value, self.at = float(errors.max()), x[errors.argmax()].copy()
        return np.asarray(errors)


def search(
    target: Sequence[npt.NDArray[Any]],
    layers: Sequence[network_certificate.Layer],
    data: npt.ArrayLike,
    rng: np.random.Generator,
    domain: network_certificate.Domain = "cube",
    starts: int = 64,
    steps: int = 40,
) -> Found:
    """Looks for a large ‖f − g‖∞ in data, at random points and corners, and by ascent from them.

    Args:
        target: f's matrices [out, in].
        layers: g.
        data: [n, d] inputs in the domain; may be empty.
        rng: Of the random points.
        domain: As in `network_certificate.bound`.
        starts: Points that are improved, per pass over all outputs and signs at least one each.
        steps: Signed gradient steps, shrinking from the whole width of the domain.

    Returns:
        The largest errors found, lower bounds of the supremum but for rounding.
    """
    target = [np.asarray(w, np.float64) for w in target]
    f, g = [(w, -w) for w in target], _pairs(layers)
    low, d, outputs = (0.0 if domain == "cube" else -1.0), target[0].shape[1], len(target[-1])
    in_data, at_random, climbing = (_Largest(f, g) for _ in range(3))
    data = np.asarray(data, np.float64).reshape(-1, d)
    seen = [in_data.note(data[i : i + 1000]) for i in range(0, len(data), 1000)]
    starts = max(starts, 2 * outputs)
    draws = rng.uniform(low, 1, (4 * starts, d))
    draws[::2] = np.where(draws[::2] > rng.uniform(low, 1, (2 * starts, 1)), 1.0, low)
    at_random.note(draws)
    x = draws[np.arange(starts)]
    if len(data):
        x[::4] = data[np.argsort(np.concatenate(seen))[::-1]][np.arange(len(x[::4])) % len(data)]
    climbing.note(_climb(f, g, x, low, outputs, steps))
    largest = max(in_data, at_random, climbing, key=lambda found: found.value)
    return Found(largest.value, in_data.value, at_random.value, climbing.value, largest.at)


def _climb(
    f: Sequence[tuple[Floats, Floats]],
    g: Sequence[tuple[Floats, Floats]],
    x: Floats,
    low: float,
    outputs: int,
    steps: int,
) -> Floats:
    """Moves inputs [b, d] by signed gradient steps that raise f − g at one output each."""
    back = np.zeros((len(x), outputs))  # Every output with both signs in turn.
    number = np.arange(len(x))
    back[number, number // 2 % outputs] = 1 - 2.0 * (number % 2)
    for step in range(steps):
        a, b = _forward(f, x), _forward(g, x)
        slope = _gradient(f, a[1], back) - _gradient(g, b[1], back)
        reach = (1 - low) * 0.85**step
        moved = np.clip(x + reach * np.sign(slope), low, 1)
        gain = (back * (_forward(f, moved)[0] - _forward(g, moved)[0])).sum(1)
        x = np.where((gain > (back * (a[0] - b[0])).sum(1))[:, None], moved, x)
    return x
