"""Sets of defaults for studies on MNIST: the paper's recipe, a fair one, and others' numbers.

What each says stands in `python -m experiments.mnist --help`.
"""

from typing import Any

_PAPER: dict[str, Any] = {
    "model": "redundant",
    "init": "uniform",
    "method": ("perturb_then_prune", "random_then_prune", "prune_then_perturb"),
    "eps": (0.0, 0.001, 0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.1, 0.2, 0.3),
    "sparsity": (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8),
    "seeds": 1,
    "hold_out": False,
    "batch_size": 64,
    "perturb_epochs": 100,
    "perturb_lr": 0.03,
    "perturb_decay": 5e-4,
    "perturb_schedule": "step",
    "prune_epochs": 50,
    "prune_lr": 0.1,
    "prune_decay": 5e-4,
    "prune_schedule": "cosine",
    "max_lanes": 4,
}
_PAPER_CODE: dict[str, Any] = {
    **_PAPER,
    "seed": 1,
    "last_batch": True,
    "schedule_per": "epoch",
    "project_per": "epoch",
    "shared_shift": True,
    "shift_share": 0.5,
    "skip_at_zero": True,
}
_FAIR: dict[str, Any] = {
    "method": (
        *("prune", "prune_longer", "perturb_then_prune", "random_then_prune"),
        *("prune_then_perturb", "joint", "random_mask_then_perturb"),
    ),
    "eps": (0.1, 0.2, 0.5, 1.0, 2.0),
    "eps_unit": "std",
    "sparsity": (0.5, 0.7, 0.9),
    "seeds": 12,
    "seed": 100,
}
_ANCHOR: dict[str, Any] = {
    "init": "signed_constant",
    "method": ("prune",),
    "perturb_epochs": 0,
    "seeds": 5,
    "hold_out": False,
}
_SUPSUP: dict[str, Any] = {**_ANCHOR, "sparsity": (0.5,), "prune_epochs": 1, "last_batch": True}
_SIGNED_SUPERMASK: dict[str, Any] = {
    **_ANCHOR,
    "pruner": "signed",
    "scope": "erk",  # 38 weights of each tensor's 3.77 % in the last one are too few.
    "prune_lr": 1.0,
    "sparsity": (0.9623,),
    "prune_epochs": 100,
}
PRESETS = {"fair": _FAIR, "paper": _PAPER, "paper_code": _PAPER_CODE}
# For numbers of other papers.
ANCHORS = {"supsup": _SUPSUP, "signed_supermask": _SIGNED_SUPERMASK}
