"""Pruners that score weights once, at initialization: baselines of every finder."""

from lth_jax.pruners.one_shot.grasp import grasp, grasp_saliency
from lth_jax.pruners.one_shot.magnitude import magnitude, magnitude_saliency
from lth_jax.pruners.one_shot.network import Batch
from lth_jax.pruners.one_shot.random import random, random_saliency
from lth_jax.pruners.one_shot.saliency import by_saliency
from lth_jax.pruners.one_shot.snip import snip, snip_saliency
from lth_jax.pruners.one_shot.synflow import flow, synflow, synflow_saliency

__all__ = [
    "Batch",
    "by_saliency",
    "flow",
    "grasp",
    "grasp_saliency",
    "magnitude",
    "magnitude_saliency",
    "random",
    "random_saliency",
    "snip",
    "snip_saliency",
    "synflow",
    "synflow_saliency",
]
