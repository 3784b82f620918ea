"""Keeps the network of a finished lane as a ticket, for --keep_tickets."""

import pathlib

import jax
import numpy as np

from lth_jax import datasets, errors, runs, sweep, tickets


def name_of(lane) -> str:
    """The file of a lane: its method, and the axes that it has."""
    axes = (("eps", lane.eps), ("sparsity", lane.sparsity), ("seed", lane.seed))
    shown = [f"{name}-{value}" for name, value in axes if value is not None]
    return "_".join([lane.method, *shown]) + ".ticket"


def without(folder: pathlib.Path, rows: list[dict]) -> int:
    """How many of a run's finished lanes should have a ticket and have none."""
    lanes = [runs.lane_of(row) for row in rows if row["diverged"] is None]
    return sum(not (folder / "tickets" / name_of(lane)).exists() for lane in lanes)


def keep(folder: pathlib.Path, event: sweep.Finished, config, dataset: datasets.Dataset) -> None:
    """Writes FOLDER/tickets/LANE.ticket.

    Args:
        folder: The run's.
        event: The finished lane; one that diverged leaves no ticket.
        config: Settings of the run. `ticket_bits` 0 stores the kept weights themselves, else the
            perturbation in so many bits per weight, beside the seed that draws the rest again.
        dataset: For the shape of an image.

    Raises:
        RunError: If it cannot be written.
    """
    row = event.row
    if row["diverged"] is not None:
        return
    scale = (row["kept"] / row["total"]) ** -0.5 if config.scale_init else 1.0
    drawn_from = tickets.ModelOrigin(
        config.model,
        dataset.train.images.shape[1:],
        dataset.classes,
        config.init,
        config.width,
        event.lane.seed,
        float(np.float32(scale)),
    )
    center, weights, masks = jax.tree.map(np.asarray, (event.center, event.weights, event.mask))
    try:
        (folder / "tickets").mkdir(exist_ok=True)
        tickets.save(
            folder / "tickets" / name_of(event.lane),
            center,
            weights,
            masks,
            drawn_from,
            bits=config.ticket_bits or None,
            embed_weights=not config.ticket_bits,
            note={
                "test_accuracy": row["test_accuracy"],
                "dataset": dataset.name,
                # What its inputs are normalized by, per channel: (pixel - mean) / std.
                "mean": np.asarray(dataset.mean, float).tolist(),
                "std": np.asarray(dataset.std, float).tolist(),
            },
        )
    except OSError as error:
        raise errors.RunError(f"{error.filename or folder}: {error.strerror or error}.") from None
