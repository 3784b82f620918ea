"""Images to prune on: digits, MNIST, Fashion-MNIST and CIFAR-10, with one fixed split each.

The validation split does not depend on a run's seed: it is the tail of a fixed permutation of the
official training images, so that every run chooses on the same images and none of them is ever a
test image. Splits are random, not stratified by class.
"""

import hashlib
import importlib.util
import pathlib
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lth_jax import errors
from lth_jax.datasets import cifar, downloads, idx

CLASSES = 10
# The legacy generator: NumPy guarantees its stream for ever, which it does not for default_rng.
_SPLIT_SEED = 20221016


class Split(NamedTuple):
    """images: [n, h, w, c] uint8; labels: [n] int32 in [0, classes)."""

    images: np.ndarray
    labels: np.ndarray


class Dataset(NamedTuple):
    """One data set, split.

    mean, std: [c] float32 per channel, in units of the raw values (digits 0 to 16, else 0 to 255).
    sha256: of all raw images and labels before splitting, whatever the files' compression and
        `train_size` were: equal hashes mean equal data.
    """

    name: str
    train: Split
    validation: Split
    test: Split
    classes: int
    mean: np.ndarray
    std: np.ndarray
    sha256: str


class Raw(NamedTuple):
    """What a reader returns: [n, h, w, c] uint8 images and [n] uint8 labels, official order."""

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray


class Source(NamedTuple):
    """How one data set is read.

    shape: (h, w, c). train, test: images in the official files. validation: how many of the `train`
    images are held out. mean, std: per channel in raw units. read: (source, folder, remedy) -> Raw,
    where `remedy` says what to do about a bad file.
    """

    shape: tuple[int, int, int]
    train: int
    test: int
    validation: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    read: Callable[["Source", pathlib.Path, str], Raw]


def _digits() -> np.ndarray:
    """[1797, 65] uint8, pixels and label: scikit-learn's file, without the second it imports."""
    package = pathlib.Path(importlib.util.find_spec("sklearn").origin).parent
    file = package / "datasets" / "data" / "digits.csv.gz"
    if file.exists():
        return np.loadtxt(file, np.uint8, delimiter=",")
    from sklearn import datasets

    digits = datasets.load_digits()
    return np.column_stack([digits.data, digits.target]).astype(np.uint8)


def _read_digits(source: Source, folder: pathlib.Path, remedy: str) -> Raw:
    """The 1,797 8×8 digits within scikit-learn (UCI, 1998), which have no official test split."""
    records = _digits()
    images, labels = records[:, :64].reshape(-1, 8, 8, 1), records[:, 64]
    order = _permutation(len(images))
    train, test = order[: source.train], order[source.train :]
    return Raw(images[train], labels[train], images[test], labels[test])


def _read_idx(source: Source, folder: pathlib.Path, remedy: str) -> Raw:
    def read(stem: str, shape: tuple[int, ...]) -> np.ndarray:
        plain = folder / f"{stem}-ubyte"
        path = plain if plain.exists() else folder / f"{stem}-ubyte.gz"
        values = idx.read(path, shape, remedy)
        if len(shape) == 1 and values.max() >= CLASSES:
            raise errors.InputError(
                f"{path}: expected labels from 0 to {CLASSES - 1}, got {values.max()}; {remedy}"
            )
        return values

    h, w, _ = source.shape
    return Raw(
        read("train-images-idx3", (source.train, h, w))[..., None],
        read("train-labels-idx1", (source.train,)),
        read("t10k-images-idx3", (source.test, h, w))[..., None],
        read("t10k-labels-idx1", (source.test,)),
    )


def _read_cifar10(source: Source, folder: pathlib.Path, remedy: str) -> Raw:
    return Raw(*cifar.read(folder, source.train, source.test, source.shape, remedy))


def _of_255(*fractions: float) -> tuple[float, ...]:
    return tuple(fraction * 255 for fraction in fractions)


SOURCES = {
    # mean and std of the 1,197 training images.
    "digits": Source((8, 8, 1), 1497, 300, 300, (4.880,), (6.016,), _read_digits),
    # The usual values for the next three: of all official training images.
    "mnist": Source(
        (28, 28, 1), 60_000, 10_000, 6_000, _of_255(0.1307), _of_255(0.3081), _read_idx
    ),
    "fashion_mnist": Source(
        (28, 28, 1), 60_000, 10_000, 6_000, _of_255(0.2860), _of_255(0.3530), _read_idx
    ),
    "cifar10": Source(
        (32, 32, 3),
        50_000,
        10_000,
        5_000,
        _of_255(0.4914, 0.4822, 0.4465),
        _of_255(0.2470, 0.2435, 0.2616),
        _read_cifar10,
    ),
}
DATASETS = tuple(SOURCES)


def load(
    name: str,
    data_dir: str | pathlib.Path | None = None,
    train_size: int | None = None,
    mirror: str | None = None,
    offline: bool = False,
) -> Dataset:
    """Loads a data set and splits it, the same way for every run.

    Args:
        name: One of DATASETS.
        data_dir: Folder with the official files, or with a subfolder of the data set's name that
            has them (mnist/, fashion_mnist/, cifar10/): checked by magic number, shape and range,
            not by checksum. None takes the cache folder, downloading what is missing there.
            digits needs neither.
        train_size: Keep only the first so many images of the permuted training split; None: all.
        mirror: HTTPS base URL to download from instead of the data set's own.
        offline: Never download.

    Raises:
        errors.InputError: If a file is missing or is not what its name says, `train_size` does not
            fit, or `name` is unknown. One line, with the file and what to do.
    """
    if name not in SOURCES:
        raise errors.InputError(f"dataset must be one of {', '.join(DATASETS)}, got {name!r}.")
    source = SOURCES[name]
    available = source.train - source.validation
    if train_size is not None and not 1 <= train_size <= available:
        raise errors.InputError(
            f"train_size must lie in [1, {available}] for {name}, got {train_size}."
        )
    if name not in downloads.REMOTES:
        raw = source.read(source, pathlib.Path(), "")
    elif data_dir is None:
        folder = downloads.fetch(name, mirror, offline)
        raw = source.read(source, folder, downloads.remedy(name))
    else:
        folder = _folder(name, data_dir, downloads.remedy(name))
        raw = source.read(source, folder, downloads.remedy(name))
    order = _permutation(source.train)
    kept = order[:available][:train_size]
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


def _permutation(count: int) -> np.ndarray:
    return np.random.RandomState(_SPLIT_SEED).permutation(count)


def _folder(name: str, data_dir: str | pathlib.Path, remedy: str) -> pathlib.Path:
    """The folder with the files: the subfolder of the data set's name if there is one."""
    root = pathlib.Path(data_dir).expanduser()
    if not root.is_dir():
        raise errors.InputError(f"{root}: expected a folder with the files of {name}; {remedy}")
    # The subfolder first: MNIST and Fashion-MNIST name their files alike.
    for subfolder in (name, name.replace("_", "-")):
        if (root / subfolder).is_dir():
            return root / subfolder
    return root


def _fingerprint(raw: Raw) -> str:
    digest = hashlib.sha256()
    for values in raw:
        digest.update(repr(values.shape).encode())
        digest.update(np.ascontiguousarray(values).data)
    return digest.hexdigest()
