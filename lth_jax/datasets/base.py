"""What a data set is: images in one fixed split, and how they are read.

The validation split does not depend on a run's seed: it is the tail of a fixed permutation of the
official training images. So every run chooses on the same images, and none of them is ever a test
image. Splits are random, not stratified by class.
"""

import hashlib
import pathlib
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

CLASSES = 10
# The legacy generator: NumPy guarantees its stream for ever, which it does not for default_rng.
_SPLIT_SEED = 20221016


class Split(NamedTuple):
    """images: [n, h, w, c] uint8; labels: [n] int32 in [0, classes)."""

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int32]


class Dataset(NamedTuple):
    """One data set, split.

    mean, std: [c] float32 per channel, in units of the raw values (digits 0 to 16, else 0 to 255).
    sha256: of all raw images and labels before splitting, whatever the files' compression and
        `train_size` were: equal hashes mean equal data. "" for data of your own, which a run's
        folder knows by their `digest`.
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
    order = permutation(source.train)
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
        mean: [c] in raw units.
        std: [c] in raw units.
    """
    shape = (1,) * (jnp.ndim(images) - 1) + (-1,)
    mean = jnp.reshape(jnp.asarray(mean, jnp.float32), shape)
    std = jnp.reshape(jnp.asarray(std, jnp.float32), shape)
    return (jnp.asarray(images).astype(jnp.float32) - mean) / std


def permutation(count: int) -> npt.NDArray[np.int64]:
    """The fixed order in which images are split, the same for ever."""
    return np.random.RandomState(_SPLIT_SEED).permutation(count)


def _fingerprint(raw: Raw) -> str:
    digest = hashlib.sha256()
    for values in raw:
        digest.update(repr(values.shape).encode())
        digest.update(np.ascontiguousarray(values).data)
    return digest.hexdigest()
