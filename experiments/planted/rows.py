"""The objects of planted.json: planted tickets, and what the methods found beside them."""

import dataclasses
import functools
import pathlib
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any, NamedTuple

import chex
import jax
import numpy as np

from experiments.planted import flags, tasks
from lth_jax import files, numerics, pruners, study, tickets, training
from lth_jax.masks import selection
from lth_jax.theory import planting
from lth_jax.theory.construction import error_search
from lth_jax.tickets import lane as lane_tickets
from lth_jax.training import config as train_config

PLANTED = "planted"  # In place of a method's name.


class Variant(NamedTuple):
    """A task, and how it is searched: one folder of lanes."""

    task: tasks.TaskName
    odd: planting.Odd
    count: train_config.KeptSchedule


class Cell(NamedTuple):
    """What an object is of. A planted ticket has no count; kept is None of a network without."""

    task: str
    odd: str
    count: str | None
    method: str
    eps: float | str | None
    kept: int | None
    seed: int


def cell_of(row: Mapping[str, Any]) -> Cell:
    """The cell of an object of planted.json."""
    return Cell(*(row[name] for name in Cell._fields))


def sparsity_of(kept: int, copies: int) -> float:
    """1 − kept/copies, rounded up so that every tensor keeps exactly its share."""
    exact = 1 - Fraction(kept, copies)
    value = float(exact)
    while Fraction(str(value)) < exact:
        value = float(np.nextafter(value, 1))
    return value


def pruner_for(network: planting.Network) -> pruners.Pruner:
    """Edge-popup that chooses among what a planted ticket chooses among, with its counts."""
    if network.odd == "given":
        return pruners.edge_popup(prunable=lambda path, leaf: path[-1].key == planting.EVEN)

    def counts(scores: chex.ArrayTree, sparsity: Any, scope: selection.Scope) -> chex.ArrayTree:
        def one(path: Any, leaf: Any, kept: int) -> int:
            return kept if path[-1].key == planting.EVEN else leaf.shape[1]

        kept = selection.tree_kept(scores, sparsity, scope)
        return jax.tree_util.tree_map_with_path(one, scores, kept)

    return pruners.edge_popup()._replace(counts=counts)


def add(
    config: flags.Config,
    task: tasks.Task,
    variant: Variant,
    folder: pathlib.Path,
    there: dict[Cell, dict[str, Any]],
) -> list[Cell]:
    """Runs what is missing of a variant, in a folder of its own, and adds its objects.

    Args:
        config: The settings.
        task: Of the variant.
        variant: Which one.
        folder: Of the whole study.
        there: All objects so far.

    Returns:
        The cells of the variant that were asked for, planted ones first.
    """
    network = planting.network_for(task.target, config.copies, variant.odd)
    made = study.Study(
        planting.as_model(network),
        task.dataset,
        pruner_for(network),
        dataclasses.replace(config.train, kept_schedule=variant.count),
        out=folder / "_".join(variant),
        name=f"planted_{variant.task}",
        strategy=config.strategy,
        max_lanes=config.max_lanes,
        keep_tickets=True,
        lock=config.lock,
    )
    seeds = range(config.seed, config.seed + config.seeds)
    plants = _Plants(config, task, variant, network, made.problem)
    asked = []
    for seed in seeds:
        for eps in sorted({0.0, *config.eps}):  # At 0 for methods without an ε.
            for kept in config.kept:
                cell = Cell(variant.task, variant.odd, None, PLANTED, eps, kept, seed)
                if cell not in there:
                    there[cell] = plants.row(cell)
                asked.append(cell)
    result = made.run(
        config.methods(variant.odd, variant.count),
        seeds,
        config.eps,
        [sparsity_of(kept, config.copies) for kept in config.kept],
    )
    per_sparsity = {sparsity_of(kept, config.copies): kept for kept in config.kept}
    for row in result.rows:
        kept = per_sparsity.get(row["sparsity"])
        cell = Cell(*variant, row["method"], row["eps"], kept, row["seed"])
        if cell not in there:
            there[cell] = plants.found(cell, row, result.path)
        asked.append(cell)
    return asked


@dataclasses.dataclass(frozen=True)
class _Plants:
    """The tickets planted in the random networks of a variant, and judgement beside them."""

    config: flags.Config
    task: tasks.Task
    variant: Variant
    network: planting.Network
    problem: training.Problem
    planted: dict[tuple[float, int, int], planting.Planted] = dataclasses.field(
        default_factory=dict
    )

    @functools.cached_property
    def _draw(self) -> Any:
        return jax.jit(lambda key: training.initial(self.problem, key).weights)

    @functools.cached_property
    def _apply(self) -> Any:
        return jax.jit(lambda weights, x: self.problem.model.apply(weights, {}, x)[0])

    @functools.cached_property
    def _of_target(self) -> tasks.Judged:
        points = self.task.points.astype(np.float64)
        return self._judge(error_search.target_output(self.task.target, points))

    def _judge(self, outputs: Any) -> tasks.Judged:
        return tasks.judge(self.task, outputs)

    def ticket(self, eps: float, kept: int, seed: int) -> planting.Planted:
        """The one that is planted in the random network of a seed."""
        if (eps, kept, seed) not in self.planted:
            self.planted[eps, kept, seed] = self._plant(eps, kept, seed)
        return self.planted[eps, kept, seed]

    def _plant(self, eps: float, kept: int, seed: int) -> planting.Planted:
        candidates = jax.device_get(self._draw(numerics.key(seed)))
        return planting.plant(
            self.task.target,
            candidates,
            self.network,
            eps,
            kept,
            self.task.points,
            lambda outputs: self._judge(outputs).loss,
        )

    def row(self, cell: Cell) -> dict[str, Any]:
        """The object of a planted ticket."""
        assert isinstance(cell.eps, int | float) and cell.kept is not None
        ticket = self.ticket(cell.eps, cell.kept, cell.seed)
        outputs = self._outputs(selection.apply_mask(ticket.weights, ticket.masks))
        return self._common(cell, outputs) | {
            "density": ticket.density,
            "certificate": ticket.certificate.value,
            "largest_output": float(np.abs(outputs).max()),
        }

    def found(self, cell: Cell, row: Mapping[str, Any], folder: pathlib.Path) -> dict[str, Any]:
        """The object of a lane, judged by its ticket; without numbers where it diverged."""
        lane = lane_tickets.place(folder, study.runs.lane_of(row))
        about = {
            "density": row["kept"] / row["total"] if cell.kept else 1.0,
            "ball_fraction": row["ball_fraction"],
            "diverged": row["diverged"],
            "validation_accuracy": row["val_accuracy"],
            "seconds": row["seconds"],
        }
        if row["diverged"] is not None:
            return cell._asdict() | about | {"loss": None, "accuracy": None}
        ticket = tickets.load(lane)
        found = self._common(cell, self._outputs(ticket.weights)) | about
        if cell.kept is not None:
            # A method without ε is held to the ticket that moves no weight.
            eps = cell.eps if isinstance(cell.eps, int | float) else 0.0
            theirs = self.ticket(eps, cell.kept, cell.seed).masks
            pairs = list(_even_masks(ticket.masks, theirs))
            both = sum(int(np.sum(ours & planted)) for ours, planted in pairs)
            found["overlap"] = both / sum(int(np.sum(planted)) for _, planted in pairs)
        return found

    def _outputs(self, weights: chex.ArrayTree) -> Any:
        return np.asarray(self._apply(weights, self.task.points))

    def _common(self, cell: Cell, outputs: Any) -> dict[str, Any]:
        mine, target = self._judge(outputs), self._of_target
        found = cell._asdict() | mine._asdict()
        found |= {"target_loss": target.loss, "target_accuracy": target.accuracy}
        return {name: files.jsonable(value) for name, value in found.items()}


def _even_masks(ours: Any, planted: Any) -> Iterator[tuple[Any, Any]]:
    for name, block in planted.items():
        yield np.asarray(ours[name][planting.EVEN]), block[planting.EVEN]
