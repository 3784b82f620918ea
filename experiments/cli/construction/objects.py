"""One object of construction.json: a network built, stored, run and certified."""

import dataclasses
import pathlib
import time
from typing import Any

import numpy as np

from experiments.cli.construction import flags
from lth_jax import errors, numerics, runs, tickets
from lth_jax.masks import selection
from lth_jax.theory import construction, targets
from lth_jax.theory.construction import examination, problem


@dataclasses.dataclass(frozen=True)
class Cell:
    """What of the axes one network is of; with a tolerance per weight there is no certificate."""

    eps: float
    certified: float | None
    assignment: construction.Assignment
    key: int

    @property
    def name(self) -> str:
        """The name of its ticket, without its ending."""
        if self.certified is None:
            return f"eps-{self.eps}_seed-{self.key}"
        return f"eps-{self.eps}_certified-{self.certified}_{self.assignment}_key-{self.key}"


def cells(config: flags.Config) -> list[Cell]:
    """All that the flags ask for, in order."""
    keys = range(config.seed, config.seed + config.keys)
    if config.eta is not None:
        return [Cell(eps, None, "uniform", key) for eps in config.eps for key in keys]
    return [
        Cell(eps, share, assignment, key)
        for share in config.certified
        for eps in config.eps
        for assignment in config.assignment
        for key in keys
    ]


def cell_of(row: dict[str, Any]) -> Cell:
    """The cell of an object of construction.json."""
    if "certified_target" not in row:
        return Cell(row["eps"], None, "uniform", row["seed"])
    return Cell(row["eps"], row["certified_target"], row["assignment"], row["key"])


def make(
    config: flags.Config, given: problem.Problem, folder: pathlib.Path, cell: Cell
) -> dict[str, Any]:
    """Builds, stores, runs and certifies one network, and returns its object.

    Raises:
        RunError: If no network is certified, or the certificate is refuted by an error that was
            found: a bug.
    """
    if config.eta is not None:
        return _of_tolerance(config, config.eta, given, cell, folder)
    return _of_certificate(config, given, cell, folder)


def _of_tolerance(
    config: flags.Config,
    eta: float,
    given: problem.Problem,
    cell: Cell,
    folder: pathlib.Path,
) -> dict[str, Any]:
    started = time.perf_counter()
    built = construction.approximate(
        given.target,
        numerics.key(cell.key),
        cell.eps,
        eta,
        config.width,
        nonnegative_input=not config.full,
        candidates=config.candidates,
        objective=config.objective,
        bits=config.bits,
    )
    found_at = time.perf_counter()
    known = _known(config, given, built, cell, folder)
    layout = built.layout
    theory = construction.widths_by_theory(layout, given.target, cell.eps, eta, config.delta)
    return {
        "eps": cell.eps,
        "eta": eta,
        "seed": cell.key,
        "n": max(layout.widths),
        **(theory._asdict() if theory else dict.fromkeys(examination.Widths._fields)),
        "not_found": int(sum((~found).sum() for found in built.found)),
        "float32_bytes": 4 * known["candidates"],
        **known,
        "construct_seconds": found_at - started,
        "seconds": time.perf_counter() - started,
    }


def _of_certificate(
    config: flags.Config, given: problem.Problem, cell: Cell, folder: pathlib.Path
) -> dict[str, Any]:
    started, share = time.perf_counter(), cell.certified or 0.0
    allowed = share * float(np.abs(given.logits).max())
    try:
        least = construction.least(
            given.target,
            numerics.key(cell.key),
            cell.eps,
            allowed,
            cell.assignment,
            candidates=config.candidates,
            bits=config.bits,
            width=config.width,
        )
    except ValueError as error:
        raise errors.RunError(f"{cell.name}: no network is certified ({error})") from None
    found_at = time.perf_counter()
    known = _known(config, given, least.built, cell, folder)
    if not known["certificate"] <= allowed:
        raise errors.RunError(f"{cell.name}: certified {known['certificate']}, over {allowed}.")
    theory = construction.sizes_by_theory(
        least.built.layout, given.target, cell.eps, least.tolerances, config.delta
    )
    return {
        "eps": cell.eps,
        "certified_target": share,
        "assignment": cell.assignment,
        "key": cell.key,
        "candidates_per_weight": known["over_parameterization"],
        "kept_per_weight": known["kept"] / known["weights"],
        "kept_per_weight_best": least.kept_by_best / known["weights"],
        "tolerances": list(least.tolerances),
        "proved": theory.proved,
        "necessary": theory.necessary,
        **known,
        "construct_seconds": found_at - started,
        "seconds": time.perf_counter() - started,
    }


def _known(
    config: flags.Config,
    given: problem.Problem,
    built: construction.Construction,
    cell: Cell,
    folder: pathlib.Path,
) -> dict[str, Any]:
    """Stores a network and runs it, and says what is known of it."""
    started, path, layout = time.perf_counter(), folder / f"{cell.name}.ticket", built.layout
    size = tickets.save(
        path,
        built.candidates,
        built.weights,
        built.masks,
        tickets.ConstructionOrigin(cell.key, layout),
        bits=config.bits if cell.eps > 0 else None,
        eps=cell.eps,
        embed_weights=config.candidates != "uniform",
    )
    stored_at = time.perf_counter()
    pruned = selection.apply_mask(built.weights, built.masks)
    accuracy = problem.accuracy(built.model, pruned, given)
    ran_at, rng = time.perf_counter(), np.random.default_rng(cell.key)
    seen = construction.examine(built, given.target, given.images, rng)
    if not seen.holds:
        raise errors.RunError(
            f"{path.name}: certified {seen.bound.value}, but found {seen.found.value}."
        )
    return {
        "widths": list(layout.widths),
        "halves": layout.halves,
        "scales": list(layout.scales),
        **construction.counts(built)._asdict(),
        "domain": seen.domain,
        "certificate": seen.bound.value,
        "certificate_entrywise": seen.bound.entrywise,
        "certificate_l2": seen.bound.l2,
        "certificate_relaxed": seen.bound.relaxed,
        "largest_error_found": seen.found.value,
        "largest_error_on_data": seen.found.data,
        "rounding": seen.bound.rounding,
        "largest_logit": float(np.abs(given.logits).max()),
        "target_accuracy": float(np.mean(given.logits.argmax(axis=1) == given.labels)),
        "ticket_accuracy": accuracy,
        "ticket_bytes": size,
        "target_sha256": targets.digest(given.target),
        "git": runs.git_revision(),
        "store_seconds": stored_at - started,
        "run_seconds": ran_at - stored_at,
        "certify_seconds": time.perf_counter() - ran_at,
    }
