"""Images to prune on, by name, split once and for all."""

from lth_jax.datasets.base import DATASETS, Dataset, Split, load, normalize

__all__ = ["DATASETS", "Dataset", "Split", "load", "normalize"]
