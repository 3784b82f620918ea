"""The tasks of the planted study: data, and the network of each that is hidden."""

import typing
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from lth_jax import datasets, numerics
from lth_jax.datasets import toys
from lth_jax.theory import targets
from lth_jax.training import criteria

TaskName = Literal["relu", "circle", "helix", "digits"]
TASKS: tuple[TaskName, ...] = typing.get_args(TaskName)
_RATE = 0.01  # Of their training by Adam.


class _Shape(NamedTuple):
    """Of a network that is hidden."""

    hidden: tuple[int, ...]  # units of each layer
    largest: float  # weight; the layers' scale is twice that


_SHAPES: dict[str, _Shape] = {
    "relu": _Shape((16,), 2.0),
    "circle": _Shape((16, 16), 1.0),
    "helix": _Shape((32, 32), 1.0),  # With 24 units each, or fewer steps, it stays far off.
    "digits": _Shape((16,), 1.0),
}


class Task(NamedTuple):
    """Data and a network trained on them; inputs are in [0, 1] and come to networks as they are."""

    dataset: datasets.Dataset
    target: targets.Weights  # [out, in] of each layer
    points: npt.NDArray[np.float32]  # [n, d]: the test split's inputs


class Judged(NamedTuple):
    """What outputs on the test split are worth."""

    loss: float  # mean cross-entropy, or mean squared error
    accuracy: float  # share that is classified right, or within criteria.TOLERANCE in all outputs


def load(name: TaskName, steps: int, seed: int) -> Task:
    """Makes or reads the data, and trains the network by Adam on the training split.

    Args:
        name: One of TASKS.
        steps: Of Adam, 128 points each.
        seed: Of the network's initial weights and batches.
    """
    if name == "digits":  # Pixels of 0 to 16, as [0, 1].
        dataset = datasets.load("digits")._replace(
            mean=np.zeros(1, np.float32), std=np.full(1, 16, np.float32)
        )
    else:
        dataset = toys.make(name)
    key = numerics.key(seed)
    train = dataset.train
    target = targets.trained(
        key,
        _inputs(dataset, train),
        train.labels,
        _SHAPES[name].hidden,
        steps,
        learning_rate=_RATE,
        largest=_SHAPES[name].largest,
    )
    return Task(dataset, target, _inputs(dataset, dataset.test))


def judge(task: Task, outputs: npt.ArrayLike) -> Judged:
    """The mean loss and the share that is right of outputs [n, out] on the test split."""
    outputs, labels = np.asarray(outputs, np.float32), task.dataset.test.labels
    return Judged(
        float(np.mean(np.asarray(criteria.losses(outputs, labels), np.float64))),
        float(np.mean(np.asarray(criteria.right(outputs, labels)))),
    )


def _inputs(dataset: datasets.Dataset, split: datasets.Split) -> npt.NDArray[np.float32]:
    """The inputs of a split as rows of what networks see."""
    seen = datasets.normalize(split.images, dataset.mean, dataset.std)
    return np.asarray(seen).reshape(len(split.labels), -1)
