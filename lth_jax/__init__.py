"""Strong lottery tickets with ε-perturbation (Xiong, Liao, Kyrillidis 2023) in JAX.

The composition that this library is about, for any model of yours:

    scores = pruner.init(key, weights)
    kept = tree_kept(scores, sparsity=0.5)
    pruned = pruner.subnetwork(key, weights, scores, kept)       # differentiable in both
    tx = optax.chain(optax.sgd(0.01), keep_in_ball(eps=0.02))    # for the weights
"""

from lth_jax.datasets import DATASETS, Dataset, load
from lth_jax.errors import InputError
from lth_jax.masks import (
    apply_mask,
    kept_count,
    kth_largest,
    straight_through,
    topk_mask,
    tree_kept,
    tree_topk_mask,
)
from lth_jax.models import INITIALIZERS, MODELS, Model, build_model, from_flax
from lth_jax.models.convolution import fast_convolutions
from lth_jax.perturb import (
    displacement,
    keep_in_ball,
    project,
    random_in_ball,
    round_toward_zero,
)
from lth_jax.pruners import PRUNERS, Pruner, edge_popup
from lth_jax.report import statistics
from lth_jax.sweep import plan
from lth_jax.sweep.runner import Grid
from lth_jax.theory import subset_sum
from lth_jax.training.methods import METHODS, Recipe
from lth_jax.training.stage import Problem

__all__ = [
    "DATASETS",
    "INITIALIZERS",
    "METHODS",
    "MODELS",
    "PRUNERS",
    "Dataset",
    "Grid",
    "InputError",
    "Model",
    "Problem",
    "Pruner",
    "Recipe",
    "apply_mask",
    "build_model",
    "displacement",
    "edge_popup",
    "fast_convolutions",
    "from_flax",
    "keep_in_ball",
    "kept_count",
    "kth_largest",
    "load",
    "plan",
    "project",
    "random_in_ball",
    "round_toward_zero",
    "statistics",
    "straight_through",
    "subset_sum",
    "topk_mask",
    "tree_kept",
    "tree_topk_mask",
]
