"""What the axes of an activation are made of, and where operations leave these parts.

Flattened images are one axis of several parts, rows, columns and channels, in some order.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

CHANNEL, PLACE, OTHER = "channel", "place", "other"


class Part(NamedTuple):
    """A factor of an axis."""

    kind: str  # CHANNEL, PLACE (rows or columns of an image) or OTHER
    size: int


Axis = tuple[Part, ...]  # outermost first
Axes = tuple[Axis, ...]
Shape = tuple[int, ...]


def of_no_image(shape: Shape) -> Axes:
    """Axes of which nothing is known but their sizes."""
    return tuple((Part(OTHER, n),) for n in shape)


def of_image(shape: Shape, places: Sequence[int]) -> Axes:
    """Axes of images in any layout.

    Args:
        shape: Of the array.
        places: Where its axes stand: (batch, channels, rows, columns).
    """
    kinds = dict(zip(places, (OTHER, CHANNEL, *(PLACE,) * len(shape)), strict=False))
    return tuple((Part(kinds[i], n),) for i, n in enumerate(shape))


def batch_of(shape: Shape) -> Axes:
    """Axes of a batch of inputs of a shape; those of three axes are images (h, w, c)."""
    batch = (2, *shape)
    return of_image(batch, (0, 3, 1, 2)) if len(shape) == 3 else of_no_image(batch)


def size(axis: Axis) -> int:
    """Entries along it."""
    return math.prod(part.size for part in axis)


def channels_first(axis: Axis) -> list[int]:
    """The places of its parts in the order that they have where channels come before places."""
    if any(part.kind == PLACE for part in axis):
        return sorted(range(len(axis)), key=lambda i: axis[i].kind != CHANNEL)
    return list(range(len(axis)))


def is_other_there(axis: Axis) -> bool:
    """Whether its entries stand in another order where channels come before places."""
    order = channels_first(axis)
    return order != sorted(order)


def agree(one: Sequence[Axis], other: Sequence[Axis]) -> bool:
    """Whether the entries of two activations stand in one order, in both layouts."""
    pairs = zip(one, other, strict=True)
    return all(a == b or not (is_other_there(a) or is_other_there(b)) for a, b in pairs)


def resized(found: Axes, own: Shape, shape: Shape) -> Axes | None:
    """After an operation that leaves entries about where they are, as pooling or padding.

    Args:
        found: Before it.
        own: The shape before.
        shape: The shape afterwards, of as many axes.

    Returns:
        None where flattened images were cut or joined.
    """
    kept = []
    for axis, before, after in zip(found, own, shape, strict=True):
        if before != after and len(axis) > 1:
            return None
        kept.append(axis if before == after else (axis[0]._replace(size=after),))
    return tuple(kept)


def _reshaped(found: Axes, params: Mapping[str, Any], shape: Shape) -> Axes | None:
    """The parts, in their order, dealt to the new axes."""
    left = [part for axis in found for part in axis if part.size != 1]
    dealt: list[Axis] = []
    for wanted in shape:
        taken: Axis = ()
        while left and size(taken) < wanted:
            part, room = left.pop(0), wanted // size(taken)
            if part.size > room:
                if part.kind == PLACE or room == 0 or part.size % room:
                    return None
                left.insert(0, part._replace(size=part.size // room))
                part = part._replace(size=room)
            taken = (*taken, part)
        if size(taken) != wanted:
            return None
        dealt.append(taken or (Part(OTHER, 1),))
    return tuple(dealt)


def _broadcast(found: Axes, params: Mapping[str, Any], shape: Shape) -> Axes:
    moved = dict(zip(params["broadcast_dimensions"], found, strict=True))
    return tuple(
        moved[i] if i in moved and size(moved[i]) == n else (Part(OTHER, n),)
        for i, n in enumerate(shape)
    )


def _transposed(found: Axes, params: Mapping[str, Any], shape: Shape) -> Axes:
    return tuple(found[i] for i in params["permutation"])


def _squeezed(found: Axes, params: Mapping[str, Any], shape: Shape) -> Axes:
    return tuple(axis for i, axis in enumerate(found) if i not in params["dimensions"])


# By the name of jax's operation: (axes before, its parameters, shape afterwards) -> axes
# afterwards; None where a part would have to be cut.
MOVES: dict[str, Callable[[Axes, Mapping[str, Any], Shape], Axes | None]] = {
    "reshape": _reshaped,
    "broadcast_in_dim": _broadcast,
    "transpose": _transposed,
    "squeeze": _squeezed,
}
