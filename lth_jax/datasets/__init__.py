"""Inputs to prune on, by name or of arrays, split once and for all."""

from lth_jax.datasets.base import Dataset, Split, normalize
from lth_jax.datasets.registry import DATASETS, DatasetName, load, register

__all__ = ["DATASETS", "Dataset", "DatasetName", "Split", "load", "normalize", "register"]
