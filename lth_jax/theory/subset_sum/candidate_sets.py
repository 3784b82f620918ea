"""Which weights of a network share a set of candidates."""

import typing
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Sharing = Literal["row", "weight"]  # a set per output row, for all of its weights, or per weight
SHARINGS: tuple[Sharing, ...] = typing.get_args(Sharing)


def owners(
    weights: Sequence[npt.NDArray[Any]], sets: Sharing
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """All weights of a network as targets, and the set that each draws on.

    Args:
        weights: [out, in] matrices.
        sets: Who shares a set.

    Returns:
        z [m] float64 and the index of each one's set [m], which never falls.

    Raises:
        ValueError: If `sets` is not one of SHARINGS.
    """
    if sets not in SHARINGS:
        raise ValueError(f'expected sets "row" or "weight", got {sets!r}.')
    z = np.concatenate([w.ravel() for w in weights]).astype(np.float64)
    if sets == "weight":
        return z, np.arange(len(z))
    widths = [w.shape[1] for w in weights for _ in range(w.shape[0])]
    return z, np.repeat(np.arange(len(widths)), widths)
