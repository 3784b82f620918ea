"""Which weights stay: exact selection, its threshold search, the straight-through gradient."""

from lth_jax.masks.selection import (
    Floored,
    Scope,
    apply_mask,
    kept_count,
    kth_largest,
    straight_through,
    topk_mask,
    tree_kept,
    tree_topk_mask,
    with_floor,
)

__all__ = [
    "Floored",
    "Scope",
    "apply_mask",
    "kept_count",
    "kth_largest",
    "straight_through",
    "topk_mask",
    "tree_kept",
    "tree_topk_mask",
    "with_floor",
]
