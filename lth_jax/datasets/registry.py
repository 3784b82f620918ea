"""The data sets by name: digits, MNIST, Fashion-MNIST and CIFAR-10, and those of one's own."""

import functools
import pathlib
from collections.abc import Callable
from typing import Literal

import numpy as np

from lth_jax import errors, names
from lth_jax.datasets import base, cifar, digits, idx

DatasetName = Literal["digits", "mnist", "fashion_mnist", "cifar10"]


def _of_255(*fractions: float) -> tuple[float, ...]:
    return tuple(fraction * 255 for fraction in fractions)


SOURCES: dict[str, base.Source] = {
    # mean and std of the 1,197 training images.
    "digits": base.Source((8, 8, 1), 1497, 300, 300, (4.880,), (6.016,), digits.read),
    # The usual values for the next three: of all official training images.
    "mnist": base.Source(
        (28, 28, 1), 60_000, 10_000, 6_000, _of_255(0.1307), _of_255(0.3081), idx.read
    ),
    "fashion_mnist": base.Source(
        (28, 28, 1), 60_000, 10_000, 6_000, _of_255(0.2860), _of_255(0.3530), idx.read
    ),
    "cifar10": base.Source(
        (32, 32, 3),
        50_000,
        10_000,
        5_000,
        _of_255(0.4914, 0.4822, 0.4465),
        _of_255(0.2470, 0.2435, 0.2616),
        cifar.read,
    ),
}
# Reads a data set, of data_dir=, mirror= and offline=; one of the user's own may leave out what it
# has no use for. Those of the library also take train_size= and hold_out=.
Loader = Callable[..., base.Dataset]


def register(name: str, loader: Loader) -> Loader:
    """Makes a data set known by a name, to studies and to the command line.

    Args:
        name: Letters, digits and _.+-
        loader: Returns a Dataset, as Dataset.from_arrays makes it, of those of these arguments that
            it takes: `data_dir`, a folder or None, `mirror` and `offline`, see `load`.

    Returns:
        `loader`.

    Raises:
        InputError: If the name belongs to another one; the message is one line.
    """
    return DATASETS.register(name, loader)


def load(
    name: DatasetName,
    data_dir: str | pathlib.Path | None = None,
    train_size: int | None = None,
    mirror: str | None = None,
    offline: bool = False,
    hold_out: bool = True,
) -> base.Dataset:
    """Loads a data set and splits it, the same way for every run.

    Args:
        name: One of DATASETS.
        data_dir: Folder with the official files, or with a subfolder of the data set's name that
            has them (mnist/, fashion_mnist/, cifar10/): checked by magic number, shape and range,
            not by checksum. None takes the cache folder, downloading what is missing there.
            digits needs neither. For a registered data set, whatever it takes it for.
        train_size: Keep only the first so many images of the permuted training split; None: all.
        mirror: HTTPS base URL to download from instead of the data set's own.
        offline: Never download.
        hold_out: False leaves the validation split empty and trains on its images, too: as some
            papers do. Then the test split is scored after every epoch, and nothing may be chosen.

    Raises:
        errors.InputError: If a file is missing or is not what its name says, `train_size` does not
            fit, or `name` is unknown. One line, with the file and what to do.
    """
    loader = DATASETS.find(name)
    if DATASETS.is_built_in(name):
        return loader(data_dir, train_size, mirror, offline, hold_out)
    asked = {"data_dir": (data_dir, None), "mirror": (mirror, None), "offline": (offline, False)}
    try:
        found = names.call(loader, f"data set {name!r}", {}, asked)
    except errors.InputError:
        raise
    except (OSError, ValueError) as error:
        raise errors.InputError(f"data set {name!r}: {' '.join(str(error).split())}") from error
    if not isinstance(found, base.Dataset):
        raise errors.InputError(
            f"data set {name!r} must be read as a Dataset, got {type(found).__name__}."
        )
    found.check()
    return _chosen(found._replace(name=name), train_size, hold_out)


def _chosen(dataset: base.Dataset, train_size: int | None, hold_out: bool) -> base.Dataset:
    """A registered data set, with its validation split trained on, or its first images only."""
    train = dataset.train
    if not hold_out and len(dataset.validation.labels):
        pairs = zip(train, dataset.validation, strict=True)
        train = base.Split(*(np.concatenate(pair) for pair in pairs))
        none = base.Split(*(values[:0] for values in dataset.validation))
        dataset = dataset._replace(validation=none)
    _check_size(dataset.name, train_size, len(train.labels))
    return dataset._replace(
        train=base.Split(*(values[: train_size or None] for values in train)),
        train_size=train_size or 0,
    )


def _official(
    name: str,
    data_dir: str | pathlib.Path | None,
    train_size: int | None,
    mirror: str | None,
    offline: bool,
    hold_out: bool,
) -> base.Dataset:
    source = SOURCES[name]
    _check_size(name, train_size, source.train - source.validation * hold_out)
    if source.read is digits.read:  # scikit-learn has them.
        raw = source.read(source, pathlib.Path(), "")
        return base.split(name, source, raw, train_size or 0, hold_out)
    # Here, for pooch, requests and rich take a fifth of a second to import.
    from lth_jax.datasets import downloads

    if data_dir is None:
        folder = downloads.fetch(name, mirror, offline)
        raw = source.read(source, folder, downloads.remedy(name))
    else:
        folder = _folder(name, data_dir, downloads.remedy(name))
        raw = source.read(source, folder, downloads.remedy(name))
    return base.split(name, source, raw, train_size or 0, hold_out)


def _check_size(name: str, train_size: int | None, available: int) -> None:
    if train_size is not None and not 1 <= train_size <= available:
        raise errors.InputError(
            f"train_size must lie in [1, {available}] for {name}, got {train_size}."
        )


DATASETS: names.Registry[Loader] = names.Registry(
    "dataset", {name: functools.partial(_official, name) for name in SOURCES}
)


def _folder(name: str, data_dir: str | pathlib.Path, remedy: str) -> pathlib.Path:
    """The folder with the files: the subfolder of the data set's name if there is one."""
    try:
        root = pathlib.Path(data_dir).expanduser()
    except RuntimeError:  # "~" of a user whom nobody knows.
        raise errors.InputError(f"{data_dir}: no such home folder; {remedy}") from None
    if not root.is_dir():
        raise errors.InputError(f"{root}: expected a folder with the files of {name}; {remedy}")
    # The subfolder first: MNIST and Fashion-MNIST name their files alike.
    for subfolder in (name, name.replace("_", "-")):
        if (root / subfolder).is_dir():
            return root / subfolder
    return root
