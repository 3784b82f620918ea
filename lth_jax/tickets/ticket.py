"""A found subnetwork as a file: its origin, a bit per weight, low-bit moves.

The header names the origin of the initial weights and each leaf's shape; the payload holds per leaf
the packed mask and then either the kept float32 weights or their levels of perturbation. Only
uniform and signed-constant weights come out alike in every version of jax; normal ones may not,
which `load` notices: save those with `embed_weights`.
"""

import importlib.metadata
import math
import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import chex
import jax
import numpy as np
import numpy.typing as npt

from lth_jax import errors, files
from lth_jax.perturb import quantization
from lth_jax.tickets import codec, leaves
from lth_jax.tickets import origin as origins
from lth_jax.tickets import state as states

# ("init" of the header, tree of which leaves are pruned) -> initial weights.
Regenerate = Callable[[Mapping[str, Any], chex.ArrayTree], chex.ArrayTree]


class Ticket(NamedTuple):
    """What a file holds.

    What the network's inputs are: of a construction, pixels in [0, 1]; of an image study,
    (pixel - mean) / std per channel, with mean and std of header["note"] and pixels in the data's
    raw units (digits 0 to 16, else 0 to 255).
    """

    weights: chex.ArrayTree  # the pruned network: float32 tree, 0 where the mask is False
    masks: chex.ArrayTree  # bool tree, None where a leaf is not pruned
    header: dict[str, Any]
    state: chex.ArrayTree  # as Model.apply takes it: {} without running statistics
    # Like masks: as many ones, where the scores are the least; None if the file does not say.
    inverse: chex.ArrayTree | None = None

    def __repr__(self) -> str:
        """What is kept of which leaves, not thousands of numbers."""
        masks = [mask for mask in jax.tree.leaves(self.masks) if mask is not None]
        kept, total = sum(int(mask.sum()) for mask in masks), sum(mask.size for mask in masks)
        return f"Ticket({kept:,} of {total:,} weights kept, header {self.header})"

    @property
    def origin(self) -> origins.Origin:
        """The origin of the initial weights; `origin.model_of` makes a Model of it.

        Raises:
            KeyError, TypeError, ValueError: If the header has one of somebody's own.
        """
        return origins.from_json(self.header["init"])


class _Storage(NamedTuple):
    """How kept weights are stored."""

    bits: int | None
    eps: float | None
    embedded: bool


class _Leaf(NamedTuple):
    """What a header says of a leaf."""

    shape: tuple[int, ...]
    size: int
    pruned: bool
    radius: Any  # of the ball, where levels are stored


def save(
    path: str | os.PathLike[str],
    center: chex.ArrayTree,
    weights: chex.ArrayTree,
    masks: chex.ArrayTree,
    origin: origins.Origin | Mapping[str, Any],
    *,
    bits: int | None = None,
    eps: float | None = None,
    embed_weights: bool = False,
    note: Mapping[str, Any] | None = None,
    state: chex.ArrayTree | None = None,
    inverse: chex.ArrayTree | None = None,
) -> int:
    """Writes a ticket, whole or not at all.

    Args:
        path: Of the file.
        center: The initial weights, which `origin` regenerates: nested dicts of float32 arrays.
        weights: The final ones, like center; read only where kept.
        masks: Like center, bool; None where a leaf is not pruned.
        origin: Of the initial weights, or JSON of your own for `load(..., regenerate=)`.
        bits: 2 to 16 per kept weight for the perturbation, which is rounded to that (already
            rounded ones stay); None if nothing moved or the weights are embedded.
        eps: Radius of the ball, absolute; None takes the largest move of each leaf.
        embed_weights: Store the kept weights exactly; needs no regeneration.
        note: Anything else for the header, as JSON.
        state: The model's other state: nested dicts of arrays of state.DTYPES; None is {}.
        inverse: Like masks: what would be kept if the scores were inverted, for `ablations`.

    Returns:
        Size in bytes.

    Raises:
        ValueError: If a tree does not fit or is none that `load` would return, a kept weight left
            the ball, or moved without `bits`.
        OSError: If it cannot be written.
    """
    centers, finals = leaves.arrays(center), leaves.arrays(weights)
    marks = leaves.flatten(masks)
    if not list(centers) == list(finals) == list(marks):
        raise ValueError("expected center, weights and masks to be nested dicts with equal keys.")
    if isinstance(origin, origins.ConstructionOrigin) and not embed_weights:
        origins.count(origin)
    if sum(leaf.size for leaf in centers.values()) > origins.MOST:
        raise ValueError(f"expected at most {origins.MOST} weights.")
    storage = _Storage(bits, eps, embed_weights)
    described, payload = [], []
    for name, start in centers.items():
        entry, stored = _store(name, start, finals[name], marks[name], storage)
        described.append(entry)
        payload.append(stored)
    header = {
        "library": _version(),
        "jax": jax.__version__,
        "init": dict(origin) if isinstance(origin, Mapping) else origins.to_json(origin),
        "weights_sha256": leaves.digest(center),
        "bits": None if embed_weights else bits,
        "embedded": embed_weights,
        "leaves": described,
        "note": dict(note or {}),
    }
    entries, stored = states.pack({} if state is None else state)
    if entries:  # Without, a file is as it was before there was a state.
        header["state"] = entries
        payload.append(stored)
    if inverse is not None:
        header["inverse"] = True
        payload += _packed_like(masks, inverse)
    content = codec.seal(header, b"".join(payload))
    files.write(path, content)
    return len(content)


def _store(
    name: leaves.Path,
    start: npt.NDArray[Any],
    end: npt.NDArray[Any],
    mask: npt.NDArray[Any] | None,
    storage: _Storage,
) -> tuple[dict[str, Any], bytes]:
    """The header's entry of a leaf, and its part of the payload."""
    shape = start.shape
    if start.dtype != np.float32 or end.dtype != np.float32:
        raise ValueError(f"expected float32 weights, got {start.dtype}, {end.dtype} at {name}.")
    if end.shape != shape or (mask is not None and mask.shape != shape):
        raise ValueError(f"expected arrays of one shape at {name}.")
    kept = np.ones(shape, bool) if mask is None else mask.astype(bool)
    entry = {"path": name, "shape": shape, "pruned": mask is not None, "radius": None}
    packed = b"" if mask is None else codec.pack_mask(kept)
    if storage.embedded:
        return entry, packed + end[kept].astype("<f4").tobytes()
    radius = _radius(name, start, end, kept, storage)
    entry["radius"] = radius
    if storage.bits is not None:
        columns = shape[-1] if len(shape) > 1 else start.size
        center, wanted, mask = (a.reshape(-1, columns) for a in (start, end, kept))
        levels = quantization.levels_of(center, wanted, mask, radius, storage.bits)
        levels = levels.reshape(shape)[kept] + quantization.top_level(storage.bits)
        packed += codec.pack_levels(levels, storage.bits)
    return entry, packed


def _packed_like(masks: chex.ArrayTree, inverse: chex.ArrayTree) -> list[bytes]:
    """The bits of the pruned leaves, in the order of the leaves."""
    pairs = zip(leaves.flatten(masks).items(), leaves.flatten(inverse).items(), strict=True)
    packed = []
    for (name, mask), (other, inverted) in pairs:
        if name != other or (mask is None) != (inverted is None):
            raise ValueError("expected inverse to be like masks.")
        if mask is not None and inverted is not None:
            if mask.shape != inverted.shape:
                raise ValueError(f"expected arrays of one shape at {name}.")
            packed.append(codec.pack_mask(inverted.astype(bool)))
    return packed


def _radius(
    name: leaves.Path,
    start: npt.NDArray[np.float32],
    end: npt.NDArray[np.float32],
    kept: npt.NDArray[np.bool_],
    storage: _Storage,
) -> float:
    """The radius of a leaf's ball: ε, or the largest move of a kept weight."""
    moved = np.abs(end.astype(np.float64) - start)[kept]
    most = float(moved.max(initial=0.0))
    radius = most if storage.eps is None else float(storage.eps)
    if not most <= radius or not np.isfinite(radius):
        raise ValueError(f"a kept weight moved by {most} at {name}, more than eps {storage.eps}.")
    if storage.bits is None and most > 0:
        raise ValueError(f"weights moved at {name}: choose bits, or embed_weights.")
    return radius


def _version() -> str:
    try:
        return importlib.metadata.version("lth-jax")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def load(path: str | os.PathLike[str], regenerate: Regenerate | None = None) -> Ticket:
    """Reads a ticket and rebuilds its network, bit for bit, or refuses.

    Args:
        path: Of the file.
        regenerate: Draws the initial weights of an origin of your own; None knows the library's.

    Raises:
        InputError: One line: no such file, no ticket, damaged, or weights that this version of
            jax draws otherwise.
    """
    header, payload = codec.read(path)
    try:
        return _rebuild(header, codec.Payload(payload), regenerate)
    except errors.InputError as error:
        raise errors.InputError(f"{path}: {error}") from None
    except Exception as error:  # Whatever becomes of a forged header.
        reason = " ".join(f"{type(error).__name__} {error}".split())[:100]
        raise errors.InputError(f"{path}: not a usable ticket ({reason}).") from None


def _rebuild(header: Any, payload: codec.Payload, regenerate: Regenerate | None) -> Ticket:
    embedded, bits = header["embedded"], header["bits"]
    described = _described(header["leaves"])
    # Each entry takes this many bits at least; so nothing is made that the file is too short for.
    least = 32 if embedded else bits or 0
    needed = sum(leaf.size * (1 if leaf.pruned else least) for leaf in described.values())
    if sum(leaf.size for leaf in described.values()) > origins.MOST:
        raise ValueError("it asks for too large a network")
    if needed > 8 * len(payload):
        raise ValueError("it ends too early")
    centers = {} if embedded else _centers(header, described, regenerate)
    masks, weights = {}, {}
    for name, leaf in described.items():
        kept = np.ones(leaf.shape, bool)
        if leaf.pruned:
            kept = payload.mask(leaf.size).reshape(leaf.shape)
        weights[name], count = np.zeros(leaf.shape, np.float32), int(kept.sum())
        if embedded:
            weights[name][kept] = payload.floats(count)
        elif bits is None:
            weights[name][kept] = centers[name][kept]
        else:
            top = quantization.top_level(bits)
            levels = payload.levels(count, bits) - top
            center = centers[name][kept]
            weights[name][kept] = quantization.rebuild(center, levels, leaf.radius, bits)
        masks[name] = kept if leaf.pruned else None
    state = states.unpack(header.get("state", ()), payload)
    inverse = None
    if header.get("inverse"):
        inverse = leaves.nest(
            {
                name: payload.mask(leaf.size).reshape(leaf.shape) if leaf.pruned else None
                for name, leaf in described.items()
            }
        )
    payload.end()
    return Ticket(leaves.nest(weights), leaves.nest(masks), header, state, inverse)


def _described(entries: Any) -> dict[leaves.Path, _Leaf]:
    """The leaves of a header, which may be forged."""
    found = {}
    for entry in entries:
        name, shape = tuple(entry["path"]), tuple(entry["shape"])
        if any(type(n) is not int or n < 0 for n in shape):
            raise ValueError("expected shapes of integers")
        if not all(type(step) is str for step in name):
            raise ValueError("expected names of text")
        size = math.prod(shape)
        found[name] = _Leaf(shape, size, bool(entry["pruned"]), entry.get("radius"))
    return found


def _centers(
    header: Any, described: Mapping[leaves.Path, _Leaf], regenerate: Regenerate | None
) -> dict[leaves.Path, npt.NDArray[Any]]:
    """The initial weights, drawn again."""
    pruned = leaves.nest({name: leaf.pruned for name, leaf in described.items()})
    if regenerate is None:
        origin = origins.from_json(header["init"])
        if origins.count(origin) != sum(leaf.size for leaf in described.values()):
            raise ValueError("its origin is a network of another size")
        weights = origins.regenerate(origin, pruned)
    else:
        weights = regenerate(header["init"], pruned)
    found = leaves.arrays(weights)
    same = {name: leaf.shape for name, leaf in found.items()} == {
        name: leaf.shape for name, leaf in described.items()
    }
    if not same or leaves.digest(weights) != header["weights_sha256"]:
        raise errors.InputError(
            f"jax {jax.__version__} draws other initial weights here than jax {header['jax']} did; "
            "save it with embed_weights to carry it over."
        )
    return found
