"""Plain masked weights for any framework."""

import os

import chex
import numpy as np
import safetensors.numpy

from lth_jax import files
from lth_jax.masks import selection
from lth_jax.tickets import leaves


def export(
    path: str | os.PathLike[str], weights: chex.ArrayTree, masks: chex.ArrayTree | None = None
) -> int:
    """Writes plain masked weights as .safetensors for any framework; names are joined by "/".

    Args:
        path: Of the file.
        weights: Nested dicts of arrays, as `Ticket.weights`.
        masks: None, or what to apply first.

    Returns:
        Size in bytes.

    Raises:
        OSError: If it cannot be written.
        ValueError: If the weights are no nested dicts by names of text, if two names are the same
            when joined, or one is `__metadata__`, which the format reserves.
    """
    leaves.flatten(weights)
    weights = weights if masks is None else selection.apply_mask(weights, masks)
    named = leaves.arrays(weights)
    flat = {"/".join(map(str, path)): np.asarray(leaf, order="C") for path, leaf in named.items()}
    if len(flat) < len(named):
        raise ValueError("expected names that differ when joined by '/'.")
    if "__metadata__" in flat:
        raise ValueError("expected another name than __metadata__, which safetensors reserves.")
    content = safetensors.numpy.save(flat)
    files.write(path, content)
    return len(content)
