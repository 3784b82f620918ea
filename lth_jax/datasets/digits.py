"""The 1,797 8×8 digits within scikit-learn (UCI, 1998), which have no official test split."""

import importlib.util
import pathlib

import numpy as np
import numpy.typing as npt

from lth_jax.datasets import arrays, base


def read(source: base.Source, folder: pathlib.Path, remedy: str) -> base.Raw:
    """Reads the digits; the first `source.train` of a fixed permutation are for training.

    Args:
        source: The shape, and how many images are for training.
        folder: Unused, the file belongs to scikit-learn.
        remedy: Unused.
    """
    del folder, remedy
    records = pixels_and_labels()
    images, labels = records[:, :64].reshape(-1, *source.shape), records[:, 64]
    order = arrays.permutation(len(images))
    train, test = order[: source.train], order[source.train :]
    return base.Raw(images[train], labels[train], images[test], labels[test])


def pixels_and_labels() -> npt.NDArray[np.uint8]:
    """[1797, 65] pixels 0 to 16 and the label; from the file, as importing sklearn takes 1 s."""
    found = importlib.util.find_spec("sklearn")
    if found and found.origin:
        file = pathlib.Path(found.origin).parent / "datasets" / "data" / "digits.csv.gz"
        if file.exists():
            return np.loadtxt(file, np.uint8, delimiter=",")
    from sklearn import datasets

    digits = datasets.load_digits()
    return np.column_stack([digits.data, digits.target]).astype(np.uint8)
