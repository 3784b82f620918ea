"""What is known of a lane after each of its stages, and the row that it ends in."""

import math
import operator
from typing import Any, NamedTuple

import jax
import numpy as np
import numpy.typing as npt

from lth_jax import datasets, files, pruners, training
from lth_jax.perturb import ball
from lth_jax.sweep import plan
from lth_jax.training import curves, methods


class History(NamedTuple):
    """A lane so far, as the host knows it."""

    seconds: float = 0.0  # its share of the blocks' time, compiling left out
    curve: tuple[float | None, ...] = ()  # validation accuracy after each epoch
    losses: tuple[float | None, ...] = ()  # mean training loss of each epoch, None if not known
    steps: int = 0
    diverged: int | None = None  # the first step with a non-finite loss
    radii: Any = None  # tree of scalars, once there was a ball
    dense: float | None = None  # validation accuracy of the unpruned network that was trained
    # By name and epoch, see training.curves; None where scores did not move or the lane diverged.
    recorded: tuple[tuple[float | None, ...], ...] = ((),) * len(curves.NAMES)


def extend(
    before: History,
    kind: training.StageKind,
    steps: int,
    state: training.State,
    validation: int,
    seconds: float,
) -> History:
    """Adds a stage to a lane's history.

    Args:
        before: Up to the stage.
        kind: Of the stage.
        steps: Of the stage.
        state: Its last one, of this lane, on the host; its weights are not read.
        validation: Images in the split that is scored after every epoch.
        seconds: The lane's share of the stage's time.

    Returns:
        The history with the stage. An epoch in which the lane diverged, and all after it, have
        no accuracy and no loss: the curves hold None there.
    """
    counts = [int(right) for right in state.curve if right >= 0]
    diverged, sound = before.diverged, len(counts)
    per_epoch = steps // max(len(counts), 1)
    if diverged is not None:
        sound = 0
    elif state.diverged >= 0:
        diverged = before.steps + int(state.diverged)
        sound = int(state.diverged) // per_epoch if counts else 0
    fresh = tuple(c / validation if i < sound else None for i, c in enumerate(counts))
    recorded = np.full((len(curves.NAMES), len(counts)), np.nan)
    if isinstance(state.recorded, curves.Curves):
        recorded[:, :sound] = state.recorded.values[:, :sound]
    known = [tuple(None if math.isnan(v) else float(f"{v:.6g}") for v in row) for row in recorded]
    sums = [float(loss) for loss in state.losses[: len(counts)]]
    losses = tuple(
        s / per_epoch if i < sound and math.isfinite(s) else None for i, s in enumerate(sums)
    )
    return History(
        seconds=before.seconds + seconds,
        curve=before.curve + fresh,
        losses=before.losses + losses,
        steps=before.steps + steps,
        diverged=diverged,
        radii=state.radii if kind.in_ball else before.radii,
        recorded=tuple(map(operator.add, before.recorded, known)),
        dense=fresh[-1] if fresh and not kind.masked else before.dense,
    )


def make_row(
    lane: plan.Lane,
    history: History,
    outcome: training.Outcome,
    center: Any,
    dataset: datasets.Dataset,
    config: training.TrainConfig,
) -> dict[str, Any]:
    """The row of a finished lane.

    Args:
        lane: Which one.
        history: All its stages.
        outcome: Its final network, on the host.
        center: Tree of arrays, w_0.
        dataset: For the sizes of its splits.
        config: How it was trained.

    Returns:
        The fields that do not depend on the run, as JSON has them; accuracies are None if the lane
        diverged, an infinite eps is "inf". Without a validation split there is no accuracy on it,
        and `test_curve` says that it was the test split that was scored after every epoch. Where
        the pruner changes kept weights, the ball is about the trained weights, and
        `network_displacement` is how far the final network's kept weights are from w_0.
    """
    diverged = history.diverged
    if diverged is None and not outcome.finite:
        diverged = history.steps
    curve = list(history.curve)
    if curve and diverged == history.steps:  # Only the last network is known not to be finite.
        curve[-1] = None
    masks = jax.tree.leaves(outcome.mask)
    # The reference line has no ball of its own to be held to.
    radii = None if methods.find(lane.method).eps == math.inf else history.radii

    def share(right: jax.Array, split: datasets.Split) -> float | None:
        return None if diverged is not None else int(right) / len(split.labels)

    held_out = len(dataset.validation.labels) > 0
    validation = share(outcome.validation_right, dataset.validation) if held_out else None
    fields = {
        "method": lane.method,
        "eps": lane.eps,
        "sparsity": lane.sparsity,
        "seed": lane.seed,
        "kept": int(sum(np.sum(mask) for mask in masks)),
        "total": sum(mask.size for mask in masks),
        **ball_certificate(center, outcome.weights, radii, config.norm),
        "dense_val_accuracy": history.dense if held_out else None,
        "val_accuracy": validation,
        **({"val_curve": curve} if held_out else {"val_curve": [], "test_curve": curve}),
        "train_loss_curve": list(history.losses),
        "test_accuracy": share(outcome.test_right, dataset.test),
        "diverged": diverged,
        "jax": jax.__version__,
        "seconds": round(history.seconds, 4),
    }
    if jax.tree.leaves(outcome.network):
        fields["network_displacement"] = network_displacement(center, outcome)
    if config.curves:
        named = zip(curves.NAMES, history.recorded, strict=True)
        fields |= {f"{name}_curve": list(values) for name, values in named}
    return {name: files.jsonable(value) for name, value in fields.items()}


def by_tensor(mask: Any, least: Any) -> dict[str, dict[str, int]]:
    """What is kept of each tensor, where that is not the same share of all.

    Args:
        mask: Tree of bool arrays, None where a leaf is not pruned.
        least: Tree like mask of the numbers below which none may fall; None without a floor.

    Returns:
        Fields of a row: `kept_by_tensor`, and `floor_by_tensor` where there is one.
    """
    counts = {"kept_by_tensor": jax.tree.map(np.sum, mask)}
    if least is not None:
        counts["floor_by_tensor"] = least
    named = {name: jax.tree_util.tree_leaves_with_path(tree) for name, tree in counts.items()}
    return {
        name: {pruners.kernels.name_of(path): int(count) for path, count in leaves}
        for name, leaves in named.items()
    }


def network_displacement(center: Any, outcome: training.Outcome) -> float:
    """Largest |v - w_0| of the final network's kept weights v, in float64.

    Args:
        center: Tree of NumPy arrays, w_0.
        outcome: On the host, with a network of its own.
    """
    pruned = jax.tree.map(
        lambda c, v, m: v if m is None else np.where(m, v, c), center, outcome.network, outcome.mask
    )
    return ball.displacement(center, pruned)


def ball_certificate(center: Any, weights: Any, radii: Any, norm: str) -> dict[str, float | None]:
    """What the float64 check of the ball says: the fields of a row.

    Args:
        center: Tree of NumPy arrays, w_0.
        weights: Tree like center.
        radii: Tree of scalars, None where a tensor does not move; None for no ball.
        norm: See ball.keep_in_ball.

    Returns:
        radius_max, max_displacement (entrywise) and ball_fraction, the largest displacement over
        its radius in the ball's own norm: at most 1, null without a ball, NaN if a weight is.
    """
    largest = ball.displacement(center, weights)
    found = {"radius_max": None, "max_displacement": largest, "ball_fraction": None}
    if radii is None:
        return found
    moved: list[npt.NDArray[np.float64]] = []
    bounds: list[float] = []

    def one(c: Any, w: Any, r: Any) -> None:
        moved.append(np.ravel(np.asarray(w, np.float64) - np.asarray(c, np.float64)))
        bounds.append(0.0 if r is None else float(r))  # What has no ball must not have moved.

    # Weights first: only they have a leaf where the radii have None.
    jax.tree.map(one, center, weights, radii)
    if norm == "l2_global":
        moved, bounds = [np.concatenate(moved)], [max(bounds)]
    order = np.inf if norm == "linf" else 2
    lengths = [float(np.linalg.norm(m, order)) for m in moved]
    # A displacement of 0 is inside every ball, one of radius 0 as well.
    fractions = [d and (d / r if r else math.inf) for d, r in zip(lengths, bounds, strict=True)]
    # NumPy's max: Python's forgets a NaN that does not come first.
    return found | {"radius_max": max(bounds), "ball_fraction": float(np.max(fractions))}
