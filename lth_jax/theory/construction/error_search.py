"""The largest |f − g| that can be found on a domain, in float64: what a certificate is held to."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lth_jax.theory.construction import network_certificate


class Found(NamedTuple):
    """The largest error seen, by where the inputs came from."""

    value: float  # the largest of all
    data: float
    random: float
    ascent: float
    at: np.ndarray  # [d] the input that gave `value`


def target_output(target: Sequence[np.ndarray], x: np.ndarray) -> np.ndarray:
    """The target: inputs [b, d] float64 -> [b, out]."""
    return _forward([(w, -w) for w in target], x)[0]


def network_output(layers: Sequence[network_certificate.Layer], x: np.ndarray) -> np.ndarray:
    """The other network: inputs [b, d] float64 -> [b, out]."""
    return _forward(_pairs(layers), x)[0]


def _pairs(layers):
    layers = [network_certificate.Layer(*layer) for layer in layers]
    return [(g.plus, np.zeros_like(g.plus) if g.minus is None else g.minus) for g in layers]


def _forward(pairs, x):
    """Output, and each layer's input: the first may be negative, later ones are after a ReLU."""
    inputs = []
    for index, (plus, minus) in enumerate(pairs):
        if index:
            x = np.maximum(x, 0)
        inputs.append(x)
        below = np.maximum(-x, 0) @ minus.T if not index and (x < 0).any() else 0
        x = np.maximum(x, 0) @ plus.T + below
    return x, inputs


def _gradient(pairs, inputs, back):
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


def search(
    target: Sequence[np.ndarray],
    layers: Sequence[network_certificate.Layer],
    data: np.ndarray,
    rng: np.random.Generator,
    domain: str = "cube",
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

    def errors(x):
        return np.abs(_forward(f, x)[0] - _forward(g, x)[0]).max(axis=1)

    best = {"data": (0.0, np.zeros(d)), "random": (0.0, np.zeros(d)), "ascent": (0.0, np.zeros(d))}

    def note(name, x):
        size = errors(x)
        if size.size and size.max() > best[name][0]:
            best[name] = (float(size.max()), x[size.argmax()].copy())
        return size

    data = np.asarray(data, np.float64).reshape(-1, d)
    seen = [note("data", data[i : i + 1000]) for i in range(0, len(data), 1000)]
    starts = max(starts, 2 * outputs)
    draws = rng.uniform(low, 1, (4 * starts, d))
    draws[::2] = np.where(draws[::2] > rng.uniform(low, 1, (2 * starts, 1)), 1.0, low)
    note("random", draws)
    x = draws[np.arange(starts)]
    if len(data):
        x[::4] = data[np.argsort(np.concatenate(seen))[::-1]][np.arange(len(x[::4])) % len(data)]
    back = np.zeros((starts, outputs))  # Every output with both signs in turn.
    back[np.arange(starts), np.arange(starts) // 2 % outputs] = 1 - 2.0 * (np.arange(starts) % 2)
    for step in range(steps):
        a, b = _forward(f, x), _forward(g, x)
        slope = _gradient(f, a[1], back) - _gradient(g, b[1], back)
        reach = (1 - low) * 0.85**step
        moved = np.clip(x + reach * np.sign(slope), low, 1)
        gain = (back * (_forward(f, moved)[0] - _forward(g, moved)[0])).sum(1)
        x = np.where((gain > (back * (a[0] - b[0])).sum(1))[:, None], moved, x)
    note("ascent", x)
    value, at = max(best.values(), key=lambda pair: pair[0])
    return Found(value, best["data"][0], best["random"][0], best["ascent"][0], at)
