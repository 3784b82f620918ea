"""Made-up rows of a grid as large as people run, for tables and plots: nothing is trained."""

import functools
import math

import numpy as np

from lth_jax.training import methods

EPS = (0, 0.001, 0.0025, 0.01, 0.05, math.inf)


@functools.cache
def rows(sparsities=(0.5, 0.9, 0.95), seeds=5, epochs=6):
    """Every method over ε, sparsity and seeds; some lanes diverged, of one cell all."""
    draws, found = np.random.default_rng(0), []
    for place, (name, method) in enumerate(methods.METHODS.items()):
        for eps in EPS if method.takes_eps else (method.eps,):
            for sparsity in (None,) if name == "dense" else sparsities:
                for seed in range(seeds):
                    right = 0.9 - 0.02 * place - 0.4 * (sparsity or 0) ** 6
                    right += min(eps or 0, 0.05) + draws.normal(0, 0.01)
                    lost = eps == math.inf and (seed == 2 or (name, sparsity) == ("joint", 0.5))
                    grown = [right * (1 - 0.5**epoch) for epoch in range(1, epochs + 1)]
                    found.append(
                        {
                            "method": name,
                            "eps": "inf" if eps == math.inf else eps,
                            "sparsity": sparsity,
                            "seed": seed,
                            "val_accuracy": None if lost else right,
                            "test_accuracy": None if lost else right - 0.01,
                            "diverged": 7 if lost else None,
                            "val_curve": grown,
                            "train_loss_curve": [3 * (1 - g) for g in grown],
                        }
                    )
    return found
