"""A found subnetwork as a file: what regenerates the weights, a bit per weight, low-bit moves.

Layout: MAGIC, 8 bytes of header length (little-endian), the header as JSON, per leaf the packed
mask and then either the kept float32 weights or their levels of perturbation, and last the SHA-256
of all that. No pickle. Only uniform and signed-constant weights come out alike in every version of
jax; normal ones may not, which `load` notices: save those with `embed_weights`.
"""

import hashlib
import importlib.metadata
import json
import math
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
import safetensors.numpy

from lth_jax import errors, files
from lth_jax.masks import selection
from lth_jax.perturb import quantization
from lth_jax.tickets import origin

MAGIC = b"lth_jax ticket 1\n"
_DIGEST = 32


class Ticket(NamedTuple):
    """What a file holds."""

    weights: Any  # the pruned network: float32 tree, 0 where the mask is False
    masks: Any  # bool tree, None where a leaf is not pruned
    header: dict[str, Any]


def save(
    path: str | os.PathLike,
    center: Any,
    weights: Any,
    masks: Any,
    init: Mapping[str, Any],
    *,
    bits: int | None = None,
    eps: float | None = None,
    embed_weights: bool = False,
    note: Mapping[str, Any] | None = None,
) -> int:
    """Writes a ticket, whole or not at all.

    Args:
        path: Of the file.
        center: The weights that `init` regenerates: nested dicts of float32 arrays.
        weights: The final ones, like center; read only where kept.
        masks: Like center, bool; None where a leaf is not pruned.
        init: See recipes.py, or a recipe of your own for `load(..., regenerate=)`.
        bits: 2 to 16 per kept weight for the perturbation, which is rounded to that (already
            rounded ones stay); None if nothing moved or the weights are embedded.
        eps: Radius of the ball, absolute; None takes the largest move of each leaf.
        embed_weights: Store the kept weights exactly; needs no regeneration.
        note: Anything else for the header, as JSON.

    Returns:
        Size in bytes.

    Raises:
        ValueError: If a tree does not fit, a kept weight left the ball, or moved without `bits`.
        OSError: If it cannot be written.
    """
    centers, finals, marks = _leaves(center), _leaves(weights), _leaves(masks)
    if not list(centers) == list(finals) == list(marks):
        raise ValueError("expected center, weights and masks to be nested dicts with equal keys.")
    leaves, payload = [], []
    for name, start in centers.items():
        end, mask = finals[name], marks[name]
        shape = start.shape
        if start.dtype != np.float32 or end.dtype != np.float32:
            raise ValueError(f"expected float32 weights, got {start.dtype}, {end.dtype} at {name}.")
        if end.shape != shape or (mask is not None and mask.shape != shape):
            raise ValueError(f"expected arrays of one shape at {name}.")
        kept = np.ones(shape, bool) if mask is None else mask.astype(bool)
        if mask is not None:
            payload.append(np.packbits(kept).tobytes())
        moved = np.abs(end.astype(np.float64) - start)[kept]
        most = float(moved.max(initial=0.0))
        radius = most if eps is None else float(eps)
        if embed_weights:
            radius = None
            payload.append(end[kept].astype("<f4").tobytes())
        elif not most <= radius or not np.isfinite(radius):
            raise ValueError(f"a kept weight moved by {most} at {name}, more than eps {eps}.")
        elif bits is None and most > 0:
            raise ValueError(f"weights moved at {name}: choose bits, or embed_weights.")
        elif bits is not None:
            rows = (-1, shape[-1] if len(shape) > 1 else start.size)
            args = (a.reshape(rows) for a in (start, end, kept))
            levels = quantization.levels_of(*args, radius, bits).reshape(shape)[kept]
            payload.append(_pack(levels + quantization.top_level(bits), bits))
        leaves.append({"path": name, "shape": shape, "pruned": mask is not None, "radius": radius})
    header = {
        "library": _version(),
        "jax": jax.__version__,
        "init": dict(init),
        "weights_sha256": digest(center),
        "bits": None if embed_weights else bits,
        "embedded": embed_weights,
        "leaves": leaves,
        "note": dict(note or {}),
    }
    text = json.dumps(header, allow_nan=False, separators=(",", ":")).encode()
    content = MAGIC + len(text).to_bytes(8, "little") + text + b"".join(payload)
    content += hashlib.sha256(content).digest()
    files.write(path, content)
    return len(content)


def load(
    path: str | os.PathLike,
    regenerate: Callable[[Mapping[str, Any], Any], Any] = origin.regenerate,
) -> Ticket:
    """Reads a ticket and rebuilds its network, bit for bit, or refuses.

    Args:
        path: Of the file.
        regenerate: (recipe, tree of which leaves are pruned) -> initial weights.

    Raises:
        InputError: One line: no such file, no ticket, damaged, or weights that this version of
            jax draws otherwise.
    """
    header, payload = _read(path)
    try:
        return _rebuild(header, payload, regenerate)
    except errors.InputError as error:
        raise errors.InputError(f"{path}: {error}") from None
    except Exception as error:  # Whatever becomes of a forged header.
        reason = " ".join(f"{type(error).__name__} {error}".split())[:100]
        raise errors.InputError(f"{path}: not a usable ticket ({reason}).") from None


def export(path: str | os.PathLike, weights: Any, masks: Any = None) -> int:
    """Writes plain masked weights as .safetensors for any framework; names are joined by "/".

    Args:
        path: Of the file.
        weights: Nested dicts of arrays, as `Ticket.weights`.
        masks: None, or what to apply first.

    Returns:
        Size in bytes.

    Raises:
        OSError: If it cannot be written.
        ValueError: If two names are the same when joined.
    """
    weights = weights if masks is None else selection.apply_mask(weights, masks)
    leaves = _leaves(weights)
    flat = {"/".join(map(str, path)): np.asarray(leaf, order="C") for path, leaf in leaves.items()}
    if len(flat) < len(leaves):
        raise ValueError("expected names that differ when joined by '/'.")
    content = safetensors.numpy.save(flat)
    files.write(path, content)
    return len(content)


def digest(weights: Any) -> str:
    """SHA-256 over names, shapes and little-endian float32 bits of a tree, in name order."""
    seen = hashlib.sha256()
    for name, leaf in _leaves(weights).items():
        seen.update(json.dumps([name, leaf.shape]).encode())
        seen.update(leaf.astype("<f4").tobytes())
    return seen.hexdigest()


def _leaves(tree, path=()):
    """{path: NumPy array or None} of nested dicts, sorted by name."""
    if not isinstance(tree, Mapping):
        return {path: None if tree is None else np.asarray(tree)}
    found = {}
    for name in sorted(tree):
        found |= _leaves(tree[name], (*path, name))
    return found


def _nest(flat):
    tree = {}
    for path, leaf in flat.items():
        *above, name = path
        place = tree
        for step in above:
            place = place.setdefault(step, {})
        place[name] = leaf
    return tree


def _version():
    try:
        return importlib.metadata.version("lth-jax")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def _pack(values, bits):
    return np.packbits(values[:, None] >> np.arange(bits) & 1).tobytes()


def _unpack(content, count, bits):
    each = np.unpackbits(np.frombuffer(content, np.uint8), count=count * bits)
    return each.reshape(count, bits).astype(np.int64) @ (1 << np.arange(bits))


def _read(path):
    try:
        content = pathlib.Path(path).read_bytes()
    except OSError as error:
        raise errors.InputError(f"{path}: {error.strerror or error}.") from None
    body, start = content[:-_DIGEST], len(MAGIC) + 8
    if not content.startswith(MAGIC):
        raise errors.InputError(f"{path}: not a ticket of this library.")
    if len(body) < start or hashlib.sha256(body).digest() != content[-_DIGEST:]:
        raise errors.InputError(f"{path}: damaged, its checksum does not fit.")
    end = start + int.from_bytes(body[len(MAGIC) : start], "little")
    try:
        return json.loads(body[start:end]), body[end:]
    except (ValueError, RecursionError):
        raise errors.InputError(f"{path}: damaged, its header is no JSON.") from None


def _rebuild(header, payload, regenerate):
    leaves = {tuple(leaf["path"]): leaf for leaf in header["leaves"]}
    shapes = {name: tuple(leaf["shape"]) for name, leaf in leaves.items()}
    if any(type(n) is not int or n < 0 for s in shapes.values() for n in s):
        raise ValueError("expected shapes of integers")
    if not all(type(step) is str for name in leaves for step in name):
        raise ValueError("expected names of text")
    sizes = {name: int(np.prod([1, *shape], dtype=object)) for name, shape in shapes.items()}
    # Each entry takes this many bits at least; so nothing is made that the file is too short for.
    least = 32 if header["embedded"] else header["bits"] or 0
    bits = sum(size * (1 if leaves[name]["pruned"] else least) for name, size in sizes.items())
    if bits > 8 * len(payload):
        raise ValueError("it ends too early")
    centers = None if header["embedded"] else _centers(header, leaves, shapes, regenerate)
    position, masks, weights = 0, {}, {}

    def take(count):
        nonlocal position
        position += count
        if position > len(payload):
            raise ValueError("it ends too early")
        return payload[position - count : position]

    for name, leaf in leaves.items():
        size, shape = sizes[name], shapes[name]
        kept = np.ones(shape, bool)
        if leaf["pruned"]:
            packed = np.frombuffer(take(-(-size // 8)), np.uint8)
            kept = np.unpackbits(packed, count=size).astype(bool).reshape(shape)
        weights[name], count = np.zeros(shape, np.float32), int(kept.sum())
        if header["embedded"]:
            weights[name][kept] = np.frombuffer(take(4 * count), "<f4")
        elif header["bits"] is None:
            weights[name][kept] = centers[name][kept]
        else:
            bits = header["bits"]
            top = quantization.top_level(bits)
            levels = _unpack(take(-(-count * bits // 8)), count, bits) - top
            center = centers[name][kept]
            weights[name][kept] = quantization.rebuild(center, levels, leaf["radius"], bits)
        masks[name] = kept if leaf["pruned"] else None
    if position != len(payload):
        raise ValueError("it is longer than its header says")
    return Ticket(_nest(weights), _nest(masks), header)


def _centers(header, leaves, shapes, regenerate):
    whole = sum(math.prod(shape) for shape in shapes.values())
    if regenerate is origin.regenerate and origin.count(header["init"]) != whole:
        raise ValueError("its recipe is of a network of another size")
    weights = regenerate(header["init"], _nest({n: x["pruned"] for n, x in leaves.items()}))
    found = _leaves(weights)
    same = {name: leaf.shape for name, leaf in found.items()} == shapes
    if not same or digest(weights) != header["weights_sha256"]:
        raise errors.InputError(
            f"jax {jax.__version__} draws other initial weights here than jax {header['jax']} did; "
            "save it with embed_weights to carry it over."
        )
    return found
