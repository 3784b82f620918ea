"""A network to hide, and the images that it and its tickets are measured on."""

from collections.abc import Sequence
from typing import NamedTuple

import chex
import jax
import numpy as np
import numpy.typing as npt

from lth_jax import datasets, models
from lth_jax.theory import targets
from lth_jax.theory.construction import error_search


class Problem(NamedTuple):
    """The network to hide, and what it is measured on."""

    target: targets.Weights  # [out, in] of each layer
    images: npt.NDArray[np.float32]  # [n, d] in [0, 1]: those of the test split
    labels: npt.NDArray[np.int32]  # [n]
    logits: npt.NDArray[np.float64]  # [n, classes] of the target


def check_fits(weights: targets.Weights, dataset: datasets.Dataset) -> None:
    """Checks that a network maps the pixels of a data set to its classes.

    Raises:
        ValueError: If not.
    """
    pixels = int(np.prod(dataset.test.images.shape[1:]))
    if weights[0].shape[1] != pixels or weights[-1].shape[0] != dataset.classes:
        shapes = [w.shape for w in weights]
        raise ValueError(f"{shapes} does not map {pixels} pixels to {dataset.classes} classes.")


def on_dataset(weights: targets.Weights, dataset: datasets.Dataset) -> Problem:
    """A network and the test images of a data set, which it is run on."""
    images = _pixels(dataset, dataset.test)
    logits = error_search.target_output(weights, images.astype(np.float64))
    return Problem(weights, images, dataset.test.labels, logits)


def trained_on(
    dataset: datasets.Dataset, key: jax.Array, hidden: Sequence[int], steps: int
) -> targets.Weights:
    """A network trained on all images of a data set but those of the test split.

    Args:
        dataset: The data set.
        key: See `targets.trained`, and so for what follows.
        hidden: Width of each hidden layer.
        steps: Gradient steps.
    """
    splits = (dataset.train, dataset.validation)
    images = np.concatenate([_pixels(dataset, split) for split in splits])
    labels = np.concatenate([split.labels for split in splits])
    return targets.trained(key, images, labels, hidden, steps)


def _pixels(dataset: datasets.Dataset, split: datasets.Split) -> npt.NDArray[np.float32]:
    """The images of a split as rows of numbers in [0, 1]."""
    flat = split.images.reshape(len(split.labels), -1).astype(np.float32)
    return np.asarray(flat / np.float32(16 if dataset.name == "digits" else 255))


def accuracy(model: models.Model, weights: chex.ArrayTree, problem: Problem) -> float:
    """Fraction of images that a Model's largest logit classifies right, 500 at a time."""

    def guess(weights: chex.ArrayTree, x: jax.Array) -> jax.Array:
        return model.apply(weights, {}, x)[0].argmax(axis=-1)

    apply, weights, images = jax.jit(guess), jax.device_put(weights), problem.images
    guesses = [apply(weights, images[i : i + 500]) for i in range(0, len(images), 500)]
    return float(np.mean(np.concatenate(guesses) == problem.labels))
