"""Are stored constructions as near their target as is said? Once more, by other code.

    python -m experiments.verify --target=FILE.npz FOLDER/*certified-0.01*.ticket

The bound by entries of each ticket's own weights, in whole numbers, beside the one that the
construction.json of its folder holds, and the farthest that a kept weight is from its candidate.
"""

import dataclasses
import pathlib
import sys
from fractions import Fraction
from typing import Any, NamedTuple

import jax

from experiments import cli
from experiments.cli.construction import objects
from lth_jax import errors, files, numerics, tickets
from lth_jax.theory import targets
from lth_jax.theory.construction import exact_certificate, random_network

_LOOSE = Fraction(1, 10**9)  # Share by which rounding up may make a certificate larger.


@dataclasses.dataclass(frozen=True)
class Config:
    """The tickets and their target."""

    ticket: tuple[str, ...] = cli.setting(
        (), "Tickets of experiments.construction, each in its folder.", positional=True
    )
    target: str = cli.setting("", "The .npz of matrices [out, in] that they hide.")


class Verified(NamedTuple):
    """What is exactly so of a ticket, and what its row says."""

    exact: Fraction  # bound by entries
    stored: float  # the same of the row
    moved: Fraction  # farthest that a kept weight is from its candidate
    eps: float
    holds: bool


def run(config: Config) -> list[Verified]:
    """Prints a line for each ticket.

    Raises:
        InputError: If a file is missing, damaged, or not of what this can verify.
        RunError: If a ticket is not what its row says.
    """
    if not (config.target and config.ticket):
        raise errors.InputError("target and a ticket must be given.")
    target = targets.load(config.target)
    found = []
    for name in config.ticket:
        path = pathlib.Path(name)
        seen = _verify(path, _row_of(path, targets.digest(target)), target)
        found.append(seen)
        print(
            f"{path.name}: exactly {float(seen.exact):.10g}, stored {seen.stored:.10g}, moved by "
            f"{float(seen.moved):.10g} of {seen.eps:g}: {'agrees' if seen.holds else 'DIFFERS'}",
            flush=True,
        )
    wrong = sum(not seen.holds for seen in found)
    if wrong:
        raise errors.RunError(f"{wrong} of {len(found)} tickets are not what their rows say.")
    print(f"{len(found)} of {len(found)} agree")
    return found


def _row_of(path: pathlib.Path, digest: str) -> dict[str, Any]:
    """The object of construction.json that a ticket was stored with."""
    fields = ("eps", "target_sha256", "certificate_entrywise", "halves")
    rows = files.read_json(path.parent / "construction.json", fields, list) or []
    for row in rows:
        if objects.cell_of(row).name == path.stem:
            break
    else:
        raise errors.InputError(f"{path}: no object of it in the construction.json beside it.")
    if row["target_sha256"] != digest:
        raise errors.InputError(f"{path}: it hides another target.")
    if row["halves"] != 1:
        raise errors.InputError(f"{path}: it is of full width, and only half is verified.")
    return dict(row)


def _verify(path: pathlib.Path, row: dict[str, Any], target: targets.Weights) -> Verified:
    ticket = tickets.load(path)
    origin = ticket.origin
    if not isinstance(origin, tickets.ConstructionOrigin) or ticket.header["embedded"]:
        raise errors.InputError(f"{path}: expected a construction of uniform candidates.")
    drawn = jax.device_get(random_network.draw(numerics.key(origin.seed), origin.layout))
    exact = exact_certificate.certificate(target, ticket.weights, origin.layout)
    moved = exact_certificate.farthest(ticket.weights, ticket.masks, drawn)
    eps, stored = row["eps"], row["certificate_entrywise"]
    holds = exact <= Fraction(stored) <= exact * (1 + _LOOSE) and moved <= Fraction(eps)
    return Verified(exact, stored, moved, eps, bool(holds))


if __name__ == "__main__":
    sys.exit(cli.main(run, Config(), __doc__))
