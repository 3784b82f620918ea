"""What the tickets of a run say: which weights were kept, and how far they moved in the ball."""

import functools
import json
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lth_jax import errors, perturb, runs, sweep, tickets
from lth_jax.report.page import markup
from lth_jax.tickets import codec, leaves
from lth_jax.tickets import lane as lane_tickets
from lth_jax.tickets import origin as origins

BINS = 20  # of |w - w_0| / r from 0 to 1
# What was set on the boundary is a rounding inside of it.
BOUNDARY = 0.999
_Bits = npt.NDArray[np.uint8]


class Moves(NamedTuple):
    """How far the kept weights of a lane are from where they began, by |w - w_0| / r."""

    counts: tuple[int, ...]  # [BINS] from 0 to 1
    boundary: int  # of them, those at BOUNDARY or beyond
    kept: int


class Network(NamedTuple):
    """The ticket of a lane."""

    masks: dict[str, _Bits]  # by layer, a bit per weight
    moves: Moves | None  # None where there is no ball, or its centre is not known


class Networks(NamedTuple):
    """The tickets of a run."""

    sizes: dict[str, int]  # weights, by layer that is pruned
    by_lane: dict[sweep.Lane, Network]
    notes: list[str]  # what is missing, and why


def read(
    folder: pathlib.Path | None, rows: Sequence[Mapping[str, Any]], config: Mapping[str, Any]
) -> Networks:
    """Reads the tickets of a run's pruned lanes.

    Args:
        folder: The run's; None if only its rows are there.
        rows: As in results.jsonl.
        config: Of config.json.

    Raises:
        InputError: If a ticket is damaged or is not the one of its row.
    """
    if folder is None:
        return Networks({}, {}, ["An archive keeps rows, not the networks themselves."])
    fine = [row for row in rows if row["diverged"] is None and row["sparsity"] is not None]
    found: dict[sweep.Lane, Network] = {}
    sizes: dict[str, int] = {}
    missing, unread = 0, dict[str, int]()
    # By seed, so that a seed's initial weights are drawn once.
    for row in sorted(fine, key=lambda row: int(row["seed"])):
        lane = runs.lane_of(row)
        place = lane_tickets.place(folder, lane)
        if not place.exists():
            missing += 1
            continue
        try:
            ticket = tickets.load(place, _regenerate)
        except errors.InputError as error:
            codec.read(place)  # Raises if it is damaged, and not only of another version of jax.
            reason = str(error).removeprefix(f"{place}: ")
            unread[reason] = unread.get(reason, 0) + 1
            continue
        masks = {"/".join(path): mask for path, mask in leaves.flatten(ticket.masks).items()}
        pruned = {name: mask for name, mask in masks.items() if mask is not None}
        kept = sum(int(np.sum(mask)) for mask in pruned.values())
        if kept != row["kept"]:
            raise errors.InputError(f"{place}: keeps {kept} weights, its row says {row['kept']}.")
        sizes |= {name: mask.size for name, mask in pruned.items()}
        packed = {name: np.packbits(mask) for name, mask in pruned.items()}
        # A ticket holds the final network: of a pruner that changes weights not the trained ones.
        changed = "network_displacement" in row
        found[lane] = Network(packed, None if changed else _moves(ticket, pruned, lane, config))
    return Networks(sizes, found, _notes(len(fine), missing, unread, found, config))


def _notes(
    fine: int,
    missing: int,
    unread: Mapping[str, int],
    found: Mapping[sweep.Lane, Network],
    config: Mapping[str, Any],
) -> list[str]:
    notes = []
    if missing == fine:
        notes.append("This run kept no tickets (--keep_tickets), so only its rows are known.")
    elif missing:
        notes.append(f"{missing} of {fine} lanes have no ticket and are left out.")
    notes += [f"{count} tickets could not be read: {reason}" for reason, count in unread.items()]
    if config.get("norm", "linf") != "linf":
        notes.append(
            f"The ball is Euclidean ({config['norm']}): a weight has no boundary of its own."
        )
    elif any(_in_ball(lane) and network.moves is None for lane, network in found.items()):
        notes.append(
            "The initial weights of some tickets cannot be drawn again here, or their pruner makes "
            "other weights of those that moved, so how far these moved is not known."
        )
    return notes


def _in_ball(lane: sweep.Lane) -> bool:
    """Whether its weights moved within a radius that is neither 0 nor infinite."""
    return lane.eps is not None and 0 < lane.eps < float("inf")


def _moves(
    ticket: tickets.Ticket,
    masks: Mapping[str, npt.NDArray[Any]],
    lane: sweep.Lane,
    config: Mapping[str, Any],
) -> Moves | None:
    if not _in_ball(lane) or config.get("norm", "linf") != "linf":
        return None
    center = _center(ticket)
    if center is None:
        return None
    unit: perturb.Unit = config.get("eps_unit", "absolute")
    starts = leaves.arrays(center)
    radii = leaves.arrays(perturb.radii(center, lane.eps or 0.0, unit, "linf"))
    shares = []
    for path, end in leaves.arrays(ticket.weights).items():
        mask, radius = masks.get("/".join(path)), float(radii[path])
        if mask is not None and radius > 0:
            moved = np.abs(end[mask].astype(np.float64) - starts[path][mask])
            shares.append(moved / radius)
    share = np.concatenate(shares) if shares else np.zeros(0)
    counts, _ = np.histogram(np.minimum(share, 1), BINS, (0.0, 1.0))
    boundary = int(np.sum(share >= BOUNDARY))
    return Moves(tuple(map(int, counts)), boundary, len(share))


def _center(ticket: tickets.Ticket) -> Any:
    """The initial weights, or None where they do not come out as they were."""
    masks = leaves.flatten(ticket.masks)
    pruned = leaves.nest({path: mask is not None for path, mask in masks.items()})
    try:
        center = _regenerate(ticket.header["init"], pruned)
    except (KeyError, TypeError, ValueError):
        return None  # Only the program of a model of one's own draws them.
    return center if _digest(*_named(ticket.header["init"], pruned)) == _wanted(ticket) else None


def _wanted(ticket: tickets.Ticket) -> Any:
    return ticket.header["weights_sha256"]


def _named(init: Mapping[str, Any], pruned: Any) -> tuple[str, str]:
    return json.dumps(init, sort_keys=True), json.dumps(pruned, sort_keys=True)


def _regenerate(init: Mapping[str, Any], pruned: Any) -> Any:
    return _drawn(*_named(init, pruned))


@functools.lru_cache(maxsize=2)  # Tickets come by seed.
def _drawn(init: str, pruned: str) -> Any:
    return origins.regenerate(origins.from_json(json.loads(init)), json.loads(pruned))


@functools.lru_cache(maxsize=2)
def _digest(init: str, pruned: str) -> str:
    return tickets.digest(_drawn(init, pruned))


def pooled(networks: Iterable[Network]) -> npt.NDArray[np.float64] | None:
    """The share of kept weights in each bin of |w - w_0| / r, over several lanes."""
    moves = [network.moves for network in networks if network.moves is not None]
    kept = sum(each.kept for each in moves)
    if not kept:
        return None
    counts = np.sum([each.counts for each in moves], axis=0, dtype=np.float64)
    return np.asarray(counts / kept)


def jaccard(one: Network, other: Network) -> float:
    """Of the weights that either keeps, the share that both keep."""
    both = either = 0
    for name, bits in one.masks.items():
        both += int(np.bitwise_count(bits & other.masks[name]).sum())
        either += int(np.bitwise_count(bits | other.masks[name]).sum())
    return both / either if either else 1.0


def chance(one: Network, other: Network, sizes: Mapping[str, int]) -> float:
    """What `jaccard` is near for random masks that keep as many in each layer."""
    both = either = 0.0
    for name, bits in one.masks.items():
        a, b = (int(np.bitwise_count(x).sum()) for x in (bits, other.masks[name]))
        shared = a * b / sizes[name]
        both, either = both + shared, either + a + b - shared
    return both / either if either else 1.0


def density(network: Network, sizes: Mapping[str, int]) -> dict[str, float]:
    """The share of weights kept, by layer."""
    return {n: int(np.bitwise_count(b).sum()) / sizes[n] for n, b in network.masks.items()}


def said(networks: Networks) -> list[markup.Markup]:
    """What is missing, for the page."""
    return [markup.paragraph(note, class_="note") for note in networks.notes]
