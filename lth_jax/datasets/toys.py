"""Three small tasks that are made here: circle, ReLU and helix (Fischer and Burkholz 2022).

As they define them (arXiv 2111.11153 and its program), x uniform on [−1, 1], but without noise:
circle: the class of a point of the square, by |x|² at 0.2, 0.5 and 0.7;
relu: max(x, 0);
helix: (t cos t, t sin t, t) / 8π with t = 5π + 3πx.
Inputs are (x + 1) / 2 and a last one that is always 1, for networks without biases.
"""

import typing
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from lth_jax.datasets import base

ToyName = Literal["circle", "relu", "helix"]
TOYS: tuple[ToyName, ...] = typing.get_args(ToyName)
_BOUNDARIES = (0.2, 0.5, 0.7)
_SEED = 20211111  # NumPy guarantees the legacy generator's stream for ever.


def make(name: ToyName, train: int = 2048, validation: int = 512, test: int = 2048) -> base.Dataset:
    """One of the tasks: the same points in every run, each split of its own.

    Args:
        name: One of TOYS.
        train: Points to train on.
        validation: Points to choose on.
        test: Points to report on.

    Returns:
        Inputs [n, d + 1] float32 in [0, 1], not to be normalized; labels [n] int32 of the circle's
        4 classes, else [n, k] float32 and no classes.

    Raises:
        ValueError: If the name is unknown.
    """
    if name not in TOYS:
        raise ValueError(f"name must be one of {', '.join(TOYS)}, got {name!r}.")
    count = train + validation + test
    rng = np.random.RandomState([_SEED, TOYS.index(name)])
    x = rng.uniform(-1, 1, (count, 2 if name == "circle" else 1))
    inputs = np.concatenate([(x + 1) / 2, np.ones((count, 1))], axis=1).astype(np.float32)
    labels = _labels(name, x)
    ends = (0, train, train + validation, count)
    parts = [base.Split(inputs[a:b], labels[a:b]) for a, b in zip(ends, ends[1:], strict=False)]
    return base.Dataset(
        name=name,
        train=parts[0],
        validation=parts[1],
        test=parts[2],
        classes=len(_BOUNDARIES) + 1 if name == "circle" else 0,
        mean=np.zeros(1, np.float32),
        std=np.ones(1, np.float32),
    )


def _labels(name: ToyName, x: npt.NDArray[np.float64]) -> npt.NDArray[Any]:
    if name == "circle":
        return np.asarray(np.digitize(np.square(x).sum(axis=1), _BOUNDARIES), np.int32)
    if name == "relu":
        return np.asarray(np.maximum(x, 0), np.float32)
    t = 5 * np.pi + 3 * np.pi * x
    helix = np.concatenate([t * np.cos(t), t * np.sin(t), t], axis=1) / (8 * np.pi)
    return np.asarray(helix, np.float32)
