"""What a data set is: images in one fixed split, and how they are read.

The validation split does not depend on a run's seed: it is the tail of a fixed permutation of the
official training images. So every run chooses on the same images, and none of them is ever a test
image. Splits are random, not stratified by class.
"""

import hashlib
import logging
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from lth_jax import errors
from lth_jax.datasets import arrays

CLASSES = 10
_log = logging.getLogger("lth_jax")


class Split(NamedTuple):
    """images: [n, ...] of any real dtype, official ones [n, h, w, c] uint8; labels: [n] int32,
    or [n, k] float32: numbers that outputs are to meet."""

    images: npt.NDArray[Any]
    labels: npt.NDArray[Any]

    def __repr__(self) -> str:
        """Shapes and dtypes, not thousands of numbers."""
        shown = (f"{name} {a.dtype} {list(a.shape)}" for name, a in self._asdict().items())
        return f"Split({', '.join(shown)})"


class Dataset(NamedTuple):
    """One data set, split; `from_arrays` makes one of arrays of your own.

    mean, std: [c] float32 per channel, in units of the raw values (digits 0 to 16, else 0 to 255);
        [1] for all channels alike.
    sha256: of all raw images and labels before splitting, whatever the files' compression and
        `train_size` were: equal hashes mean equal data. "" for data of your own, which a run's
        folder knows by their `digest`.
    classes: Of the labels; 0 where labels are numbers.
    train_size: How many images of the training split were asked for, 0 for all of them.
    """

    name: str
    train: Split
    validation: Split
    test: Split
    classes: int
    mean: npt.NDArray[np.float32]
    std: npt.NDArray[np.float32]
    sha256: str = ""
    train_size: int = 0

    @classmethod
    def from_arrays(
        cls,
        images: npt.ArrayLike,
        labels: npt.ArrayLike,
        *,
        validation: arrays.Held,
        test: arrays.Held,
        classes: int | None = None,
        mean: npt.ArrayLike | None = None,
        std: npt.ArrayLike | None = None,
        name: str = "own",
        split_seed: int = arrays.SPLIT_SEED,
        tell: Callable[[str], None] = _log.warning,
    ) -> "Dataset":
        """A data set of arrays: vectors, images, volumes, of any shape and real dtype.

        What is held out is the end of the permutation that NumPy's RandomState(split_seed) draws
        of all images, the test split last; it does not depend on a run's seed.

        Args:
            images: [n, ...] raw: they are normalized once, to (images - mean) / std in float32, so
                scale them or not. float64 is rounded to float32 (`tell` hears of it), and integers
                of 64 bits have to fit 32. Any array, or lists of numbers.
            labels: [n] integers in [0, classes).
            validation: (images, labels), or how many of the images are held out: a number, or a
                fraction of n, rounded down. 0 holds nothing out: then the test split is scored
                after every epoch, and nothing may be chosen.
            test: (images, labels), a number or a fraction; at least one image, for every row has
                the accuracy on images by which nothing was chosen.
            classes: None is one more than the largest label.
            mean: In raw units, one number or [c]; None is the training split's. By default each
                feature of a vector and each channel (last axis) of images [h, w, c] and volumes
                [..., c] has its own, and inputs of two axes have one for all.
            std: Likewise; where nothing varies it is 1. With mean=0 and std=1 inputs stay as they
                are, such as tokens.
            name: What rows call it.
            split_seed: In [0, 2^32).
            tell: Gets lines of warning; by default the logger "lth_jax".

        Raises:
            InputError: If images are not finite or of differing shapes or dtypes, labels are no
                integers in range, lengths differ or a split would be empty; one line.
        """
        if not isinstance(name, str) or not name:
            raise errors.InputError(f"name must be text, got {name!r}.")
        found = arrays.splits(images, labels, validation, test, split_seed, tell)
        raw = found["train"][0]
        if mean is None or std is None:
            own_mean, own_std = arrays.moments(raw)
            mean, std = own_mean if mean is None else mean, own_std if std is None else std
        channels = 1 if raw.ndim == 1 else raw.shape[-1]
        return cls(
            name=name,
            train=Split(*found["train"]),
            validation=Split(*found["validation"]),
            test=Split(*found["test"]),
            classes=arrays.classes_of(found, classes),
            mean=arrays.given_moment("mean", mean, channels),
            std=arrays.given_moment("std", std, channels),
        )

    def check(self) -> None:
        """Refuses what no run could learn from, however the tuple was made.

        Raises:
            InputError: If images are not finite, splits differ in shape or dtype, labels lie
                outside, lengths differ, the training or test split is empty, or mean or std is no
                number per channel; one line.
        """
        for name in ("train", "validation", "test"):
            images, labels = map(np.asarray, getattr(self, name))
            if len(images) != len(labels) or not (len(images) or name == "validation"):
                raise errors.InputError(
                    f"{name} split: got {len(images)} images and {len(labels)} labels."
                )
            arrays.check_like(name, (images, labels), self.train)
            arrays.check_images(name, images)
            if self.classes:
                arrays.check_labels(name, labels, self.classes)
            else:
                arrays.check_numbers(name, labels, np.asarray(self.train.labels))
        for name in ("mean", "std"):  # Else every lane diverges at its first step.
            channels = np.shape(self.train.images)[-1]
            arrays.given_moment(name, getattr(self, name), channels)

    @property
    def outputs(self) -> int:
        """How many outputs a network has for it: one for each class, or for each number."""
        return self.classes or int(self.train.labels.shape[-1])

    @property
    def watched(self) -> Split:
        """The split that is scored after every epoch: the test split if nothing is held out."""
        return self.validation if len(self.validation.labels) else self.test

    def digest(self) -> str:
        """SHA-256 of what a run reads: all arrays of the three splits, mean and std."""
        seen = hashlib.sha256()
        for values in (*self.train, *self.validation, *self.test, self.mean, self.std):
            array = np.ascontiguousarray(values)
            seen.update(f"{array.dtype} {array.shape}".encode())
            seen.update(array.data)
        return seen.hexdigest()


class Raw(NamedTuple):
    """What a reader returns: [n, h, w, c] uint8 images and [n] uint8 labels, official order."""

    train_images: npt.NDArray[np.uint8]
    train_labels: npt.NDArray[np.uint8]
    test_images: npt.NDArray[np.uint8]
    test_labels: npt.NDArray[np.uint8]


class Reader(Protocol):
    """Reads the official images of a source from a folder.

    `remedy` says what the user can do about a bad file; it ends the message of the InputError.
    """

    def __call__(self, source: "Source", folder: pathlib.Path, remedy: str) -> Raw:
        """Returns all images in their official order."""


class Source(NamedTuple):
    """How one data set is read.

    shape: (h, w, c). train, test: number of images in the official files. validation: how many of
    the `train` images are held out. mean, std: per channel, in raw units.
    """

    shape: tuple[int, int, int]
    train: int
    test: int
    validation: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    read: Reader


def split(
    name: str, source: Source, raw: Raw, train_size: int = 0, hold_out: bool = True
) -> Dataset:
    """Splits what was read, the same way for every run.

    Args:
        name: Of the data set.
        source: How many images are held out.
        raw: All official images.
        train_size: Keep only the first so many images of the permuted training split; 0: all.
        hold_out: False leaves the validation split empty and trains on its images, too.
    """
    available = source.train - source.validation * hold_out
    order = arrays.permutation(source.train)
    kept = order[:available][: train_size or None]
    held_out = order[available:]
    return Dataset(
        name=name,
        train=Split(raw.train_images[kept], raw.train_labels[kept].astype(np.int32)),
        validation=Split(raw.train_images[held_out], raw.train_labels[held_out].astype(np.int32)),
        test=Split(raw.test_images, raw.test_labels.astype(np.int32)),
        classes=CLASSES,
        mean=np.asarray(source.mean, np.float32),
        std=np.asarray(source.std, np.float32),
        sha256=_fingerprint(raw),
        train_size=train_size,
    )


def normalize(images: jax.Array, mean: jax.Array, std: jax.Array) -> jax.Array:
    """(images − mean) / std per channel, in float32; a pure function for use inside jit.

    Args:
        images: [..., c] any real dtype, raw values.
        mean: [c] in raw units, or [1].
        std: [c] in raw units, or [1].
    """
    shape = (1,) * (jnp.ndim(images) - 1) + (-1,)
    mean = jnp.reshape(jnp.asarray(mean, jnp.float32), shape)
    std = jnp.reshape(jnp.asarray(std, jnp.float32), shape)
    return (jnp.asarray(images).astype(jnp.float32) - mean) / std


def _fingerprint(raw: Raw) -> str:
    digest = hashlib.sha256()
    for values in raw:
        digest.update(repr(values.shape).encode())
        digest.update(np.ascontiguousarray(values).data)
    return digest.hexdigest()
