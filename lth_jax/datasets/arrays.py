"""Arrays of the user's own as a data set: what jax holds, checked, split, measured."""

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from lth_jax import errors

Array = npt.NDArray[Any]
Pair = tuple[Array, Array]  # images [n, ...] and labels [n]
# A split of its own, or how many of the images are held out for it: a number or a fraction.
Held = tuple[npt.ArrayLike, npt.ArrayLike] | int | float
# The legacy generator: NumPy guarantees its stream for ever, which it does not for default_rng.
SPLIT_SEED = 20221016
_PIECE = 1 << 22  # entries that are measured at once


def permutation(count: int, seed: int = SPLIT_SEED) -> npt.NDArray[np.int64]:
    """The fixed order in which images are split, the same for ever."""
    return np.random.RandomState(seed).permutation(count)


def splits(
    images: npt.ArrayLike,
    labels: npt.ArrayLike,
    validation: Held,
    test: Held,
    seed: int,
    tell: Callable[[str], None],
) -> dict[str, Pair]:
    """The three splits by name, as jax holds them, checked; see Dataset.from_arrays.

    Raises:
        InputError: One line, with the split and the value.
    """
    found = {"train": _held_pair("train", (images, labels), tell)}
    for name, held in (("test", test), ("validation", validation)):
        if isinstance(held, tuple | list):
            if len(held) != 2:
                raise errors.InputError(
                    f"{name} must be a pair of images and labels, or how many to hold out, "
                    f"got {len(held)} arrays."
                )
            found[name] = _held_pair(name, (held[0], held[1]), tell)
    given, count = found["train"], len(found["train"][0])
    order = _order(count, seed)
    # The test split first, from the end: how much is held out for validation does not change it.
    for name, held in (("test", test), ("validation", validation)):
        if name not in found:
            end = len(order) - _number(name, held, count)
            if end < 1:
                raise errors.InputError(f"{name}: {held} of {count} images leave none to train on.")
            found[name] = given[0][order[end:]], given[1][order[end:]]
            order = order[:end]
    if len(order) < count:
        found["train"] = given[0][order], given[1][order]
    for name, pair in found.items():
        check_like(name, pair, found["train"])
    return found


def classes_of(found: dict[str, Pair], classes: int | None) -> int:
    """How many classes there are: as given, else one more than the largest label of all splits.

    Raises:
        InputError: If it is no integer of at least 1, or a label lies outside.
    """
    if classes is None:
        return 1 + max(int(labels.max()) for _, labels in found.values() if len(labels))
    if isinstance(classes, bool) or not isinstance(classes, int | np.integer) or classes < 1:
        raise errors.InputError(f"classes must be an integer of at least 1, got {classes!r}.")
    for name, (_, labels) in found.items():
        check_labels(name, labels, int(classes))
    return int(classes)


def check_images(name: str, images: Array) -> None:
    """Refuses images that are not finite.

    Args:
        name: Of the split.
        images: [n, ...] of any real dtype.

    Raises:
        InputError: With the first image that is not.
    """
    if jnp.issubdtype(images.dtype, np.floating):
        rows = max(1, _PIECE // max(1, images[:1].size))
        for start in range(0, len(images), rows):
            piece = images[start : start + rows]
            good = np.isfinite(piece).reshape(len(piece), -1)
            if not good.all():
                place = int(np.argmin(good.all(axis=1)))
                value = piece[place].reshape(-1)[np.argmin(good[place])]
                raise errors.InputError(
                    f"{name} images must be finite, got {value} in image {start + place}."
                )


def check_labels(name: str, labels: Array, classes: int | None) -> None:
    """Refuses labels that are no integers in [0, classes).

    Args:
        name: Of the split.
        labels: [n].
        classes: None is any number of them.

    Raises:
        InputError: With the first one that is not.
    """
    if not jnp.issubdtype(labels.dtype, np.integer):
        raise errors.InputError(f"{name} labels must be integers, got {labels.dtype}.")
    top = 2**31 - 1 if classes is None else classes
    bad = (labels < 0) | (labels >= top)
    if bad.any():
        place = int(np.argmax(bad))
        raise errors.InputError(
            f"{name} labels must lie in [0, {'classes' if classes is None else classes}), "
            f"got {labels[place]} at place {place}."
        )


def check_numbers(name: str, labels: Array, train: Array) -> None:
    """Refuses labels that are no finite numbers [n, k] float32, as many as those to train on.

    Raises:
        InputError: With what they are, or the first one that is not finite.
    """
    if labels.ndim != 2 or labels.shape[1:] != train.shape[1:] or labels.dtype != np.float32:
        raise errors.InputError(
            f"{name} labels of no classes must be [n, k] float32, got {labels.dtype} of shape "
            f"{labels.shape}."
        )
    good = np.isfinite(labels).all(axis=1)
    if not good.all():
        place = int(np.argmin(good))
        raise errors.InputError(
            f"{name} labels must be finite, got {labels[place]} at place {place}."
        )


def check_like(name: str, pair: Pair, train: Pair) -> None:
    """Refuses a split whose images are of another shape or dtype than those to train on.

    Raises:
        InputError: With both. A split that was scaled while the other was not looks like this.
    """
    for what, ours, theirs in (
        ("shape", pair[0].shape[1:], train[0].shape[1:]),
        ("dtype", pair[0].dtype, train[0].dtype),
    ):
        if ours != theirs:
            raise errors.InputError(
                f"{name} images must have the {what} of the train images, {theirs}, got {ours}."
            )


def moments(images: Array) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Mean and standard deviation of each channel, in raw units, summed in float64.

    Args:
        images: [n, ...]. The last axis counts as channels where there are one or at least three
            axes: features of a vector, channels of images and volumes. Else all values are one.

    Returns:
        mean: [c] or [1] float32.
        std: Likewise; 1 where nothing varies.
    """
    axes = tuple(range(images.ndim if images.ndim in (1, 3) else images.ndim - 1))
    rows = max(1, _PIECE // images[0].size)
    starts = range(0, len(images), rows)

    def average(of: Callable[[Array], Array]) -> Array:
        pieces = [of(images[i : i + rows].astype(np.float64)).sum(axes) for i in starts]
        return np.atleast_1d(sum(pieces) / (images.size // np.size(pieces[0])))

    mean = average(lambda piece: piece)
    std = np.sqrt(average(lambda piece: np.square(piece - mean)))
    std = np.where(std < np.finfo(np.float32).tiny, 1.0, std)
    return mean.astype(np.float32), std.astype(np.float32)


def given_moment(name: str, value: npt.ArrayLike, channels: int) -> npt.NDArray[np.float32]:
    """A mean or a standard deviation as the user gives it: [c] float32, or [1] for all channels.

    Raises:
        InputError: If it is not finite, of another shape or, for a std, not positive.
    """
    try:
        array = np.atleast_1d(np.asarray(value, np.float64)).astype(np.float32)
    except (TypeError, ValueError):
        raise errors.InputError(f"{name} must be numbers, got {value!r}.") from None
    if array.shape not in ((1,), (channels,)):
        raise errors.InputError(
            f"{name} must be one number or {channels}, one per channel, got shape {array.shape}."
        )
    good = np.isfinite(array) & ((array >= np.finfo(np.float32).tiny) | (name != "std"))
    if not good.all():
        wanted = "positive and finite" if name == "std" else "finite"
        raise errors.InputError(f"{name} must be {wanted}, got {array[np.argmin(good)]}.")
    return array


def _held_pair(
    name: str, pair: tuple[npt.ArrayLike, npt.ArrayLike], tell: Callable[[str], None]
) -> Pair:
    """Images and labels as jax holds them: finite, of one length and not empty."""
    images, labels = _array(f"{name} images", pair[0]), _array(f"{name} labels", pair[1])
    if images.ndim == 0 or images.size == 0:
        raise errors.InputError(f"{name} images must be [n, ...], got shape {images.shape}.")
    if labels.shape != images.shape[:1]:
        hint = " (of one-hot rows take argmax(axis=1))" if labels.ndim == 2 else ""
        raise errors.InputError(
            f"{name} labels must be one for each of the {len(images)} images, "
            f"got shape {labels.shape}{hint}."
        )
    check_labels(name, labels, None)
    check_images(name, images)
    return _as_jax_holds(name, images, tell), labels.astype(np.int32)


def _array(name: str, values: npt.ArrayLike) -> Array:
    """What was given as a NumPy array of the machine's byte order."""
    if isinstance(values, np.ma.MaskedArray):
        raise errors.InputError(f"{name} must be an array, got a masked one: fill it first.")
    try:
        array = np.asarray(values)
    except (TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise errors.InputError(f"{name} must be one array: {reason}") from None
    real = (np.bool_, np.integer, np.floating)
    if not any(jnp.issubdtype(array.dtype, kind) for kind in real):
        raise errors.InputError(f"{name} must be real numbers, got dtype {array.dtype}.")
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _as_jax_holds(name: str, images: Array, tell: Callable[[str], None]) -> Array:
    """Images in at most 32 bits: jax has no more, and would cut them off without a word."""
    if images.dtype.itemsize <= 4:
        return images
    whole = jnp.issubdtype(images.dtype, np.integer)
    dtype = np.dtype(np.int32 if whole else np.float32)
    limits = np.iinfo(np.int32) if whole else np.finfo(np.float32)
    for value in (images.min(), images.max()):
        if not limits.min <= value <= limits.max:
            raise errors.InputError(f"{name} images must fit {dtype}, got {value}.")
    held = images.astype(dtype)
    if not whole and not np.array_equal(held, images):
        tell(f"{name} images: {images.dtype} are rounded to {dtype}, in which networks compute")
    return held


def _order(count: int, seed: Any) -> npt.NDArray[np.int64]:
    if type(seed) is not int or not 0 <= seed < 2**32:
        raise errors.InputError(f"split_seed must be an integer in [0, 2^32), got {seed!r}.")
    return permutation(count, seed)


def _number(name: str, held: Any, count: int) -> int:
    """How many of `count` images are held out, of a number or a fraction of them."""
    whole = isinstance(held, int | np.integer) and not isinstance(held, bool)
    if whole and 0 <= held < count:
        number = int(held)
    elif isinstance(held, float | np.floating) and 0 <= held < 1:
        # Of the decimal that was typed, as for sparsity.
        number = int(count * Fraction(str(held)))
    else:
        raise errors.InputError(
            f"{name} must be a pair of images and labels, a number of images below {count} or a "
            f"fraction of them in [0, 1), got {held!r}."
        )
    if number == 0 and not (name == "validation" and held == 0):
        raise errors.InputError(f"{name}: {held} of {count} images are none.")
    return number
