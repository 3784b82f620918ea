"""The tickets of a run: one file per finished lane."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from lth_jax import datasets, errors, models, pruners, runs, sweep, training
from lth_jax.tickets import origin, state, ticket

FOLDER = "tickets"


def place(folder: pathlib.Path, lane: sweep.Lane) -> pathlib.Path:
    """The file of a lane: its method, and the axes that the method takes."""
    eps = lane.eps if training.METHODS[lane.method].takes_eps else None
    axes = (("eps", eps), ("sparsity", lane.sparsity), ("seed", lane.seed))
    shown = [f"{name}-{value}" for name, value in axes if value is not None]
    return folder / FOLDER / ("_".join([lane.method, *shown]) + ".ticket")


def missing(folder: pathlib.Path, rows: Sequence[Mapping[str, Any]]) -> int:
    """How many of a run's finished lanes should have a ticket and have none."""
    lanes = [runs.lane_of(row) for row in rows if row["diverged"] is None]
    return sum(not place(folder, lane).exists() for lane in lanes)


def check(sizes: training.Initial) -> None:
    """Refuses a network that a ticket cannot hold, before anything has run.

    Args:
        sizes: From training.lane_shapes.

    Raises:
        ValueError: If the weights are no nested dicts of float32 arrays with text as keys, or the
            state is none of arrays of state.DTYPES.
    """
    try:
        state.check(sizes.model_state)
    except ValueError as error:
        raise ValueError(f"keep_tickets: {error}") from None
    for path, leaf in jax.tree_util.tree_flatten_with_path(sizes.weights)[0]:
        names = [getattr(step, "key", None) for step in path]
        if not path or not all(isinstance(name, str) for name in names):
            raise ValueError("keep_tickets needs weights in nested dicts, by names of text.")
        if leaf.dtype != np.float32:
            raise ValueError(f"keep_tickets needs float32 weights, got {leaf.dtype}.")


def keep(
    folder: pathlib.Path,
    event: sweep.Finished,
    architecture: models.Architecture | None,
    scaled: bool,
    bits: int,
    dataset: datasets.Dataset,
    model: str,
    pruner: pruners.Pruner,
) -> None:
    """Writes FOLDER/tickets/LANE.ticket; a lane that diverged leaves none.

    Args:
        folder: The run's.
        event: The finished lane.
        architecture: What draws its initial weights again from the seed; None if only the user's
            own program does.
        scaled: Whether they were multiplied by 1/√(kept fraction).
        bits: 0 stores the kept weights themselves, else the perturbation in so many bits per
            weight, beside the seed that draws the rest again.
        dataset: For its name, and what its inputs are normalized by, in raw units.
        model: Its name.
        pruner: That found the mask.

    Raises:
        RunError: If it cannot be written.
    """
    row, seed = event.row, event.lane.seed
    if row["diverged"] is not None:
        return
    scale = (row["kept"] / row["total"]) ** -0.5 if scaled else 1.0
    drawn_from: origin.Origin = origin.OwnOrigin(seed)
    if architecture is not None:
        drawn_from = origin.ModelOrigin(architecture, seed, float(np.float32(scale)))
    final = event.network if jax.tree.leaves(event.network) else event.weights
    center, weights, masks = jax.tree.map(np.asarray, (event.center, final, event.mask))
    path = place(folder, event.lane)
    try:
        path.parent.mkdir(exist_ok=True)
        ticket.save(
            path,
            center,
            weights,
            masks,
            drawn_from,
            bits=bits or None,
            embed_weights=not bits,
            state=jax.tree.map(np.asarray, event.state),
            inverse=jax.tree.map(np.asarray, pruners.opposite(pruner, event.scores, masks)),
            note={
                "test_accuracy": row["test_accuracy"],
                "dataset": dataset.name,
                "model": model,
                "pruner": pruner.name,
                "classes": dataset.classes,
                # What its inputs are normalized by, per channel: (pixel - mean) / std, all three in
                # the data's raw units (digits 0 to 16, else 0 to 255).
                "mean": np.asarray(dataset.mean, float).tolist(),
                "std": np.asarray(dataset.std, float).tolist(),
            },
        )
    except OSError as error:
        raise errors.RunError(f"{error.filename or folder}: {error.strerror or error}.") from None
