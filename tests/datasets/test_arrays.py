"""Data sets made of arrays: held as jax holds them, normalized once, and nothing bad gets in."""

import ml_dtypes
import numpy as np
import pytest

import lth_jax
from lth_jax import datasets, errors
from lth_jax.datasets import arrays

N = 60


def drawn(shape=(3,), dtype=np.float32, count=N, seed=0, scale=200.0):
    rng = np.random.default_rng(seed)
    values = rng.uniform(0, scale, (count, *shape))
    images = values > scale / 2 if dtype is bool else values.astype(dtype)
    return images, rng.integers(0, 4, count)


def made(images=None, labels=None, validation=0.2, test=0.1, **given):
    own = drawn()
    images, labels = own[0] if images is None else images, own[1] if labels is None else labels
    return lth_jax.Dataset.from_arrays(images, labels, validation=validation, test=test, **given)


def rows(split):
    return sorted((x.tobytes(), int(y)) for x, y in zip(*split, strict=True))


@pytest.mark.parametrize("shape", [(), (5,), (7, 5), (4, 4, 3), (2, 3, 4, 2)])
@pytest.mark.parametrize(
    "dtype", [bool, np.uint8, np.int8, np.uint16, np.float16, ml_dtypes.bfloat16, np.float32]
)
def test_every_row_is_in_one_split_as_it_was_and_normalized_once(shape, dtype):
    images, labels = drawn(shape, dtype, scale=100.0)
    found = made(images, labels)
    assert found.train.images.dtype == images.dtype and found.train.labels.dtype == np.int32
    held = rows(found.train) + rows(found.validation) + rows(found.test)
    assert sorted(held) == rows((images, labels))
    assert [len(s.labels) for s in (found.train, found.validation, found.test)] == [42, 12, 6]
    train = np.float64(found.train.images)
    axes = tuple(range(train.ndim if len(shape) in (0, 2) else train.ndim - 1))
    assert found.mean.shape == found.std.shape == (1 if len(shape) in (0, 2) else shape[-1],)
    np.testing.assert_allclose(found.mean, np.atleast_1d(train.mean(axes)), rtol=1e-6)
    np.testing.assert_allclose(found.std, np.atleast_1d(train.std(axes)), rtol=1e-6)
    normal = np.float64(datasets.normalize(found.train.images, found.mean, found.std))
    np.testing.assert_allclose(normal.mean(axes), 0, atol=1e-5)
    np.testing.assert_allclose(normal.std(axes), 1, rtol=1e-5)


def test_a_data_set_is_shown_by_its_shapes_and_not_by_its_numbers():
    found = made(*drawn((5, 4), np.uint8), test=12, validation=6)
    assert repr(found.train) == "Split(images uint8 [42, 5, 4], labels int32 [42])"
    assert len(repr(found)) < 500 and repr(found.test) in repr(found)


def test_moments_do_not_depend_on_the_pieces_they_are_summed_in(monkeypatch):
    images, _ = drawn((5, 4, 3), np.uint16)
    whole = arrays.moments(images)
    monkeypatch.setattr(arrays, "_PIECE", 100)
    for ours, theirs in zip(arrays.moments(images), whole, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_what_never_varies_and_what_is_given_are_in_raw_units():
    images, labels = drawn((3,))
    images[:, 1] = 0.1
    found = made(images, labels)
    assert found.std[1] == 1 and found.mean[1] == np.float32(0.1)
    given = made(images, labels, mean=127.5, std=[1, 2, 3])
    assert given.mean.tolist() == [127.5] and given.std.tolist() == [1, 2, 3]
    tokens = made(np.arange(N * 4).reshape(N, 4), labels, mean=0, std=1)
    as_they_are = datasets.normalize(tokens.train.images, tokens.mean, tokens.std)
    np.testing.assert_array_equal(as_they_are, tokens.train.images)


def test_the_split_is_fixed_and_another_seed_splits_otherwise():
    first, again, other = made(), made(), made(split_seed=1)
    assert first.digest() == again.digest() != other.digest()
    # The test split does not depend on what is held out for validation, nor in which form it comes.
    for validation in (0, 1, 30, 0.25, drawn(seed=1)):
        np.testing.assert_array_equal(made(validation=validation).test.images, first.test.images)
    assert made(test=6).digest() == made(test=0.1).digest()
    watched = made(validation=0)
    assert len(watched.validation.labels) == 0 and watched.watched is watched.test


def test_pairs_are_taken_as_they_are():
    validation, test = drawn(seed=1, count=7), drawn(seed=2, count=9)
    found = made(validation=validation, test=list(test))
    for ours, theirs in (
        (found.train, drawn()),
        (found.validation, validation),
        (found.test, test),
    ):
        np.testing.assert_array_equal(ours.images, theirs[0])
        np.testing.assert_array_equal(ours.labels, theirs[1])
    assert found.classes == 4 and made(classes=np.int64(9)).classes == 9


def test_what_jax_does_not_hold_is_rounded_aloud_or_refused():
    told = []
    images, labels = drawn(dtype=np.float64)
    found = made(images, labels, tell=told.append)
    assert found.train.images.dtype == np.float32
    assert told == ["train images: float64 are rounded to float32, in which networks compute"]
    told.clear()
    exact = made(np.round(images), labels.tolist(), tell=told.append)
    assert told == [] and exact.train.images.dtype == np.float32
    assert made(np.int64(images), labels).train.images.dtype == np.int32
    big_endian = made(images.astype(">f4"), labels.astype(">i8"))
    assert big_endian.digest() == made(images.astype("<f4"), labels).digest()
    for values, said in ((images * 1e300, "fit float32"), (np.int64(images) + 2**31, "fit int32")):
        with pytest.raises(errors.InputError, match=f"train images must {said}, got"):
            made(values, labels)


def spoiled(value, dtype=np.float32):
    images, _ = drawn(dtype=dtype)
    images[17, 1] = value
    return images


OTHER = drawn(seed=1)


@pytest.mark.parametrize(
    "given, said",
    [
        ({"images": spoiled(np.nan)}, "train images must be finite, got nan in image 17"),
        ({"images": spoiled(-np.inf, np.float16)}, "must be finite, got -inf in image 17"),
        ({"images": spoiled(np.nan, ml_dtypes.bfloat16)}, "finite, got nan in image 17"),
        ({"test": (spoiled(np.inf), OTHER[1])}, "test images must be finite, got inf in image 17"),
        ({"images": np.zeros((0, 3))}, r"train images must be \[n, ...\], got shape \(0, 3\)"),
        ({"images": np.zeros((N, 0))}, r"got shape \(60, 0\)"),
        ({"images": 3.0}, r"got shape \(\)"),
        ({"images": [[1, 2], [3]]}, "train images must be one array: .*inhomogeneous"),
        ({"images": np.zeros((N, 3), complex)}, "must be real numbers, got dtype complex128"),
        ({"images": np.full((N, 3), "a")}, "must be real numbers, got dtype <U1"),
        ({"images": np.ma.masked_array(OTHER[0])}, "got a masked one"),
        ({"labels": OTHER[1][1:]}, r"one for each of the 60 images, got shape \(59,\)"),
        ({"labels": np.eye(N)}, r"got shape \(60, 60\) \(of one-hot rows take argmax"),
        ({"labels": OTHER[1] * 1.0}, "train labels must be integers, got float64"),
        ({"labels": OTHER[1] > 1}, "train labels must be integers, got bool"),
        ({"labels": OTHER[1] - 1}, r"must lie in \[0, classes\), got -1 at place"),
        ({"labels": np.uint64(OTHER[1]) + 2**63}, r"must lie in \[0, classes\), got 92233"),
        ({"test": (OTHER[0], OTHER[1] - 5)}, "test labels must lie in"),
        ({"classes": 3}, r"train labels must lie in \[0, 3\), got 3 at place"),
        ({"classes": 0}, "classes must be an integer of at least 1, got 0"),
        ({"classes": True}, "classes must be an integer"),
        ({"classes": 4.0}, "classes must be an integer of at least 1, got 4.0"),
        ({"validation": (OTHER[0][:, :2], OTHER[1])}, r"shape of the train images, \(3,\), got"),
        ({"test": (np.uint8(OTHER[0]), OTHER[1])}, "dtype of the train images, float32, got uint8"),
        ({"validation": (OTHER[0][:0], OTHER[1][:0])}, r"validation images must be \[n, ...\]"),
        ({"validation": (OTHER[0],)}, "validation must be a pair .*, got 1 arrays"),
        ({"validation": None}, "validation must be a pair of images and labels, a number"),
        ({"validation": True}, "validation must be a pair .*, got True"),
        ({"validation": -1}, "validation must be a pair .*, got -1"),
        ({"validation": 60}, "a number of images below 60 .*, got 60"),
        ({"validation": 1.0}, r"a fraction of them in \[0, 1\), got 1.0"),
        ({"validation": float("nan")}, "got nan"),
        ({"validation": 0.01}, "validation: 0.01 of 60 images are none"),
        ({"test": 0}, "test: 0 of 60 images are none"),
        ({"test": None}, "test must be a pair"),
        ({"validation": 30, "test": 30}, "validation: 30 of 60 images leave none to train on"),
        ({"mean": [1, 2]}, r"mean must be one number or 3, one per channel, got shape \(2,\)"),
        ({"mean": np.nan}, "mean must be finite, got nan"),
        ({"std": [1, 0, 1]}, "std must be positive and finite, got 0.0"),
        ({"std": -1}, "std must be positive and finite, got -1.0"),
        ({"std": "wide"}, "std must be numbers, got 'wide'"),
        ({"name": ""}, "name must be text, got ''"),
        ({"split_seed": -1}, "split_seed must be an integer"),
        ({"split_seed": None}, "split_seed must be an integer"),
    ],
)
def test_bad_arrays_are_one_line(given, said):
    with pytest.raises(errors.InputError, match=said) as error:
        made(**given)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "change, said",
    [
        (
            lambda d: {"train": (spoiled(np.nan)[:42], d.train.labels)},
            "train images must be finite",
        ),
        (lambda d: {"test": (d.test.images, d.test.labels[1:])}, "test split: got 6 images and 5"),
        (lambda d: {"test": (d.test.images[:0], d.test.labels[:0])}, "test split: got 0 images"),
        (
            lambda d: {"test": (d.test.images[:, :2], d.test.labels)},
            "test images must have the shape",
        ),
        (
            lambda d: {"validation": (d.validation.images, d.validation.labels + 9)},
            "validation lab",
        ),
    ],
)
def test_a_data_set_made_by_hand_is_held_to_the_same(change, said):
    good = made()
    good.check()
    made(validation=0).check()
    bad = {name: lth_jax.Split(*pair) for name, pair in change(good).items()}
    with pytest.raises(errors.InputError, match=said):
        good._replace(**bad).check()


@pytest.mark.parametrize(
    "change, said",
    [
        ({"std": np.zeros(3, np.float32)}, "std must be positive and finite, got 0"),
        ({"std": np.float32([1, np.nan, 1])}, "std must be positive and finite, got nan"),
        ({"mean": np.float32([np.inf] * 3)}, "mean must be finite, got inf"),
        ({"mean": np.float32([1, 2])}, "mean must be one number or 3, one per channel"),
        ({"mean": None}, "mean must be"),
    ],
)
def test_what_normalizes_a_data_set_made_by_hand_is_numbers(change, said):
    with pytest.raises(errors.InputError, match=said):
        made()._replace(**change).check()
