"""Data sets: what is read is what was written, splits are fixed, bad files name themselves."""

import gzip
import hashlib
import io
import struct
import tarfile
import typing
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lth_jax import datasets, errors
from lth_jax.datasets import digits, registry

TRAIN, TEST, VALIDATION = 60, 20, 10
STEMS = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")


@pytest.fixture
def small(monkeypatch):
    """The official data sets with counts that a test can write in a moment."""
    for name in ("mnist", "fashion_mnist", "cifar10"):
        source = registry.SOURCES[name]._replace(train=TRAIN, test=TEST, validation=VALIDATION)
        monkeypatch.setitem(registry.SOURCES, name, source)


def images_and_labels(shape, seed=0):
    rng = np.random.default_rng(seed)

    def draw(*size):
        return rng.integers(0, 256, size, dtype=np.uint8)

    def labels(n):
        return rng.integers(0, 10, n, dtype=np.uint8)

    return draw(TRAIN, *shape), labels(TRAIN), draw(TEST, *shape), labels(TEST)


def idx_bytes(values):
    return (
        struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape) + values.tobytes()
    )


def write_idx(folder, arrays, zipped=True):
    folder.mkdir(parents=True, exist_ok=True)
    for stem, values in zip(STEMS, arrays, strict=True):
        blob = idx_bytes(values)
        name = f"{stem}-ubyte" + (".gz" if zipped else "")
        (folder / name).write_bytes(gzip.compress(blob, mtime=0) if zipped else blob)


def cifar_files(arrays):
    def records(images, labels):
        pixels = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
        return np.concatenate([labels[:, None], pixels], axis=1)

    train = records(arrays[0], arrays[1])
    parts = np.split(train, 5)
    files = {f"data_batch_{i + 1}.bin": part.tobytes() for i, part in enumerate(parts)}
    return {**files, "test_batch.bin": records(arrays[2], arrays[3]).tobytes()}


def write_cifar(folder, files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, blob in files.items():
        (folder / name).write_bytes(blob)


def write_tar(path, files, extra=()):
    with tarfile.open(path, "w:gz") as archive:
        for member in extra:
            archive.addfile(member)
        for name, blob in files.items():
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = len(blob)
            archive.addfile(member, io.BytesIO(blob))


def assert_holds(dataset, arrays):
    """Every official image is in exactly one split, beside its own label."""

    def rows(images, labels):
        return sorted(bytes([y]) + x.tobytes() for x, y in zip(images, labels, strict=True))

    held = rows(*dataset.train) + rows(*dataset.validation)
    assert sorted(held) == rows(arrays[0], arrays[1])
    assert rows(*dataset.test) == rows(arrays[2], arrays[3])


def one_line(error, *words):
    text = str(error.value)
    assert "\n" not in text and "data_dir=" in text
    for word in words:
        assert word in text, text


def test_the_literal_of_names_is_the_registry():
    assert typing.get_args(datasets.DatasetName) == tuple(datasets.DATASETS)


def test_digits_are_split_without_loss_and_without_a_seed():
    first, second = datasets.load("digits"), datasets.load("digits")
    assert [len(s.labels) for s in (first.train, first.validation, first.test)] == [1197, 300, 300]
    assert first.train.images.shape[1:] == (8, 8, 1) and first.train.images.dtype == np.uint8
    assert first.train.labels.dtype == np.int32
    from sklearn.datasets import load_digits

    official = load_digits()
    everything = np.concatenate([s.images for s in (first.train, first.validation, first.test)])
    assert everything.astype(int).sum() == official.images.sum()
    there, records = digits.pixels_and_labels(), np.column_stack([official.data, official.target])
    with mock.patch("pathlib.Path.exists", lambda path: False):  # Should the file ever move.
        assert np.array_equal(there, records) and np.array_equal(
            digits.pixels_and_labels(), records
        )
    np.testing.assert_array_equal(first.validation.images, second.validation.images)
    # The split itself, so that no release of NumPy or of this file changes it unseen.
    digest = hashlib.sha256(first.validation.labels.tobytes()).hexdigest()
    assert digest.startswith("8f2891d487fb2f2e")
    normal = datasets.normalize(first.train.images, first.mean, first.std)
    assert abs(normal.mean()) < 1e-3 and abs(normal.std() - 1) < 1e-3


def test_every_official_image_of_mnist_is_in_one_split_whatever_the_folder(small, tmp_path):
    arrays = images_and_labels((28, 28, 1))
    flat = [a[..., 0] if a.ndim == 4 else a for a in arrays]
    write_idx(tmp_path / "zipped", flat)
    write_idx(tmp_path / "plain" / "mnist", flat, zipped=False)
    zipped = datasets.load("mnist", tmp_path / "zipped")
    plain = datasets.load("mnist", tmp_path / "plain")
    assert_holds(zipped, arrays)
    assert zipped.sha256 == plain.sha256
    jax.tree.map(np.testing.assert_array_equal, zipped.train, plain.train)
    assert len(zipped.validation.labels) == VALIDATION


def test_the_subfolder_of_the_data_sets_name_goes_before_files_of_the_same_name(small, tmp_path):
    arrays = [images_and_labels((28, 28), seed) for seed in (0, 1)]
    write_idx(tmp_path, arrays[0])
    write_idx(tmp_path / "fashion-mnist", arrays[1])
    fashion = datasets.load("fashion_mnist", tmp_path)
    assert fashion.test.images.tobytes() == arrays[1][2].tobytes()
    assert datasets.load("mnist", tmp_path).sha256 != fashion.sha256


def test_without_a_validation_split_every_other_image_is_trained_on():
    full, all_of_it = datasets.load("digits"), datasets.load("digits", hold_out=False)
    assert len(all_of_it.validation.labels) == 0
    for ours, train, held_out in zip(all_of_it.train, full.train, full.validation, strict=True):
        np.testing.assert_array_equal(ours, np.concatenate([train, held_out]))
    np.testing.assert_array_equal(all_of_it.test.images, full.test.images)
    assert full.watched is full.validation and all_of_it.watched is all_of_it.test
    assert len(datasets.load("digits", train_size=1497, hold_out=False).train.labels) == 1497


def test_train_size_is_a_prefix_and_leaves_validation_and_hash_alone():
    full, short = datasets.load("digits"), datasets.load("digits", train_size=100)
    np.testing.assert_array_equal(short.train.images, full.train.images[:100])
    np.testing.assert_array_equal(short.validation.images, full.validation.images)
    assert short.sha256 == full.sha256
    assert (full.train_size, short.train_size) == (0, 100)
    for size in (0, -1, 1198):
        with pytest.raises(errors.InputError, match="train_size"):
            datasets.load("digits", train_size=size)
    with pytest.raises(errors.InputError, match="dataset must be one of digits, mnist"):
        datasets.load("cifar100")


def truncated_gzip(blob):
    return gzip.compress(blob)[:-20]


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda blob: None, ["no such file"]),
        (lambda blob: b"", ["got 0 bytes"]),
        (lambda blob: gzip.compress(b"\0\0"), ["2 bytes"]),
        (lambda blob: gzip.compress(blob[:-1]), ["truncated"]),
        (truncated_gzip, ["truncated"]),
        (lambda blob: b"<html>not found</html>", ["damaged gzip"]),
        (lambda blob: gzip.compress(b"\0\0\x0d\x03" + blob[4:]), ["00000d03", "00000803"]),
        (lambda blob: gzip.compress(blob[:4] + struct.pack(">I", 61) + blob[8:]), ["61×28×28"]),
        (lambda blob: gzip.compress(blob + b"x"), ["too long"]),
        (lambda blob: gzip.compress(idx_bytes(np.zeros(TRAIN, np.uint8))), ["00000801"]),
    ],
)
def test_a_bad_idx_file_is_one_line_with_its_name_and_what_was_expected(
    small, tmp_path, damage, words
):
    arrays = images_and_labels((28, 28))
    write_idx(tmp_path, arrays)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    blob = damage(idx_bytes(arrays[0]))
    path.unlink() if blob is None else path.write_bytes(blob)
    with pytest.raises(errors.InputError) as error:
        datasets.load("mnist", tmp_path)
    one_line(error, str(path), *words)


def test_labels_out_of_range_are_refused(small, tmp_path):
    arrays = list(images_and_labels((28, 28)))
    arrays[3][7] = 10
    write_idx(tmp_path, arrays)
    with pytest.raises(errors.InputError) as error:
        datasets.load("mnist", tmp_path)
    one_line(error, "t10k-labels", "from 0 to 9, got 10")


def test_a_gzip_bomb_is_not_unpacked(small, tmp_path):
    import tracemalloc

    write_idx(tmp_path, images_and_labels((28, 28)))
    bomb = gzip.compress(b"\0\0\x08\x03" + struct.pack(">3I", TRAIN, 28, 28) + bytes(1 << 26))
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(bomb)
    tracemalloc.start()
    with pytest.raises(errors.InputError, match="too long"):
        datasets.load("mnist", tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 23  # Of 64 MiB in the bomb; the array asked for has 47 kB.


def test_cifar_is_the_same_from_files_subfolder_and_archive(small, tmp_path):
    arrays = images_and_labels((32, 32, 3))
    files = cifar_files(arrays)
    write_cifar(tmp_path / "flat", files)
    write_cifar(tmp_path / "sub" / "cifar10" / "cifar-10-batches-bin", files)
    (tmp_path / "tar").mkdir()
    readme = tarfile.TarInfo("cifar-10-batches-bin/readme.html")
    write_tar(tmp_path / "tar" / "cifar-10-binary.tar.gz", files, [readme])
    found = [datasets.load("cifar10", tmp_path / place) for place in ("flat", "sub", "tar")]
    assert_holds(found[0], arrays)
    assert len({dataset.sha256 for dataset in found}) == 1
    assert [p.name for p in (tmp_path / "tar").iterdir()] == ["cifar-10-binary.tar.gz"]
    assert found[0].mean.shape == found[0].std.shape == (3,)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda blob: None, ["no such file"]),
        (lambda blob: blob[:-1], ["61460 bytes", "got 61459"]),
        (lambda blob: blob + b"x", ["61460 bytes", "got more"]),
        (lambda blob: b"\x0a" + blob[1:], ["from 0 to 9", "label 10"]),
    ],
)
def test_a_bad_cifar_file_is_one_line(small, tmp_path, damage, words):
    files = cifar_files(images_and_labels((32, 32, 3)))
    write_cifar(tmp_path, files)
    path = tmp_path / "test_batch.bin"
    blob = damage(files["test_batch.bin"])
    path.unlink() if blob is None else path.write_bytes(blob)
    with pytest.raises(errors.InputError) as error:
        datasets.load("cifar10", tmp_path)
    one_line(error, str(path), *words)


def member(name, kind=tarfile.REGTYPE, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize(
    "extra",
    [
        member("cifar-10-batches-bin/link", tarfile.SYMTYPE, "/etc/passwd"),
        member("cifar-10-batches-bin/link", tarfile.LNKTYPE, "cifar-10-batches-bin/test_batch.bin"),
        member("/etc/absolute"),
        member("cifar-10-batches-bin/../../up"),
        member("pipe", tarfile.FIFOTYPE),
    ],
    ids=lambda info: info.name,
)
def test_an_archive_that_leads_outside_is_refused(small, tmp_path, extra):
    files = cifar_files(images_and_labels((32, 32, 3)))
    write_tar(tmp_path / "cifar-10-binary.tar.gz", files, [extra])
    with pytest.raises(errors.InputError) as error:
        datasets.load("cifar10", tmp_path)
    one_line(error, "cifar-10-binary.tar.gz", "refused", extra.name)


def test_a_damaged_or_overlong_archive_is_one_line(small, tmp_path):
    files = cifar_files(images_and_labels((32, 32, 3)))
    path = tmp_path / "cifar-10-binary.tar.gz"
    with pytest.raises(errors.InputError) as error:
        datasets.load("cifar10", tmp_path)
    one_line(error, "cifar-10-binary.tar.gz")
    for blob in (b"", b"<html>", None):
        if blob is None:
            write_tar(path, files)
            blob = path.read_bytes()[:-2000]
        path.write_bytes(blob)
        with pytest.raises(errors.InputError) as error:
            datasets.load("cifar10", tmp_path)
        one_line(error, str(path))
    write_tar(path, {name: blob for name, blob in files.items() if "batch_3" not in name})
    with pytest.raises(errors.InputError) as error:
        datasets.load("cifar10", tmp_path)
    one_line(error, str(path), "data_batch_3.bin")
    write_tar(path, {**files, "test_batch.bin": bytes(1 << 24)})
    with pytest.raises(errors.InputError) as error:
        datasets.load("cifar10", tmp_path)
    one_line(error, str(path), "test_batch.bin")


def test_normalize_matches_numpy_and_runs_in_jit():
    images = np.random.default_rng(0).integers(0, 256, (4, 5, 6, 3), np.uint8)
    mean, std = np.float32([1.0, 20.0, 300.0]), np.float32([2.0, 30.0, 4.0])
    expected = (np.float64(images) - mean) / std
    found = jax.jit(datasets.normalize)(images, mean, std)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, expected, rtol=1e-6)
