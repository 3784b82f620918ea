"""Strong lottery tickets with ε-perturbation (Xiong, Liao, Kyrillidis 2023) in JAX.

The composition that this library is about, for any model of yours:

    scores = pruner.init(key, weights)
    kept = tree_kept(scores, sparsity=0.5)
    pruned = pruner.subnetwork(key, weights, scores, kept)       # differentiable in both
    tx = optax.chain(optax.sgd(0.01), keep_in_ball(eps=0.02))    # for the weights

`Study` runs grids of it into a folder. The folders `datasets`, `models`, `pruners`, `training`,
`theory` and `tickets` hold what these names are made of.
"""

from lth_jax import datasets, models, pruners, runs, sweep, theory, tickets, training
from lth_jax.datasets import DATASETS, Dataset, Split
from lth_jax.errors import InputError, RunError
from lth_jax.masks.selection import (
    apply_mask,
    kept_count,
    kth_largest,
    straight_through,
    topk_mask,
    tree_kept,
    tree_topk_mask,
)
from lth_jax.models import (
    INITIALIZERS,
    MODELS,
    Model,
    build_model,
    from_equinox,
    from_flax,
    from_nnx,
)
from lth_jax.models.convolution import fast_convolutions
from lth_jax.perturb import (
    displacement,
    keep_in_ball,
    project,
    random_in_ball,
    round_toward_zero,
)
from lth_jax.pruners import PRUNERS, Pruner, edge_popup
from lth_jax.study import Result, Started, Study
from lth_jax.sweep import Compiled, Compiling, Finished, Progress
from lth_jax.theory import subset_sum
from lth_jax.training import METHODS, Method, Stage, TrainConfig

__version__ = "0.1.0"  # Its one place: pyproject.toml reads it.

__all__ = [
    "DATASETS",
    "INITIALIZERS",
    "METHODS",
    "MODELS",
    "PRUNERS",
    "Compiled",
    "Compiling",
    "Dataset",
    "Finished",
    "InputError",
    "Method",
    "Model",
    "Progress",
    "Pruner",
    "Result",
    "RunError",
    "Split",
    "Stage",
    "Started",
    "Study",
    "TrainConfig",
    "apply_mask",
    "build_model",
    "datasets",
    "displacement",
    "edge_popup",
    "fast_convolutions",
    "from_equinox",
    "from_flax",
    "from_nnx",
    "keep_in_ball",
    "kept_count",
    "kth_largest",
    "models",
    "project",
    "pruners",
    "random_in_ball",
    "round_toward_zero",
    "runs",
    "straight_through",
    "subset_sum",
    "sweep",
    "theory",
    "tickets",
    "topk_mask",
    "training",
    "tree_kept",
    "tree_topk_mask",
]
