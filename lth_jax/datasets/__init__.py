"""Images to prune on, by name, split once and for all."""

from lth_jax.datasets.base import Dataset, Split, normalize
from lth_jax.datasets.registry import DATASETS, DatasetName, load

__all__ = ["DATASETS", "Dataset", "DatasetName", "Split", "load", "normalize"]
