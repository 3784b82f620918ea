"""How a network uses each kernel, read off its traced program, not off names.

Another framework keeps images and kernels in other orders. What has to be reordered shows where an
array is summed: over which of its axes, in a dense layer or a convolution, and, where images were
flattened, in which order their channels and places come. What cannot be followed is unknown, never
guessed.
"""

import functools
import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from lth_jax import models
from lth_jax.models import base, convolution
from lth_jax.tickets import axes

Path = tuple[Any, ...]  # of a leaf, as jax.tree_util writes it


class Dense(NamedTuple):
    """A kernel of a dense layer."""

    inputs: tuple[int, ...]  # the kernel's axes that are summed over
    parts: axes.Axis | None  # what these inputs are, outermost first; None is unknown


class Convolution(NamedTuple):
    """A kernel of a convolution."""

    order: tuple[int, ...]  # the kernel's axes as (out, in, window...)


Use = Dense | Convolution


class _Kernel(NamedTuple):
    """A leaf on its way to a layer: which one, and where its axes are by now."""

    path: Path
    order: tuple[int, ...]


class _Activation(NamedTuple):
    """An array that depends on the input; its axes are None if it could not be followed."""

    axes: axes.Axes | None


class _Constant(NamedTuple):
    """An array of weights and numbers alone, and along which of its axes it may vary."""

    varies: tuple[bool, ...]


_Value = _Kernel | _Activation | _Constant
_UNKNOWN = _Activation(None)
_INSIDE = ("jit", "pjit", "custom_jvp_call", "custom_vjp_call", "remat", "remat2", "checkpoint")
_SCRAMBLES = (
    *("gather", "sort", "rev", "scatter", "scatter-add", "top_k"),
    *("scan", "while", "cond", "shard_map"),
)


def find(
    model: models.Model, weights: chex.ArrayTree, state: chex.ArrayTree, shape: Sequence[int]
) -> dict[Path, Use]:
    """The leaves of a network that are summed with activations, and how.

    Args:
        model: Traced in evaluation mode.
        weights: Tree of arrays or shapes.
        state: The same of the model's other state.
        shape: Of one input; three axes are an image (h, w, c).

    Raises:
        ValueError: If a leaf is used twice in different ways, or as no layer of torch does.
    """
    x = jax.ShapeDtypeStruct((2, *shape), jnp.float32)
    with convolution.plain_convolutions():
        traced = jax.make_jaxpr(functools.partial(base.in_evaluation, model))(weights, state, x)
    given: list[_Value] = [
        _Kernel(path, tuple(range(len(leaf.shape))))
        for path, leaf in jax.tree_util.tree_leaves_with_path(weights)
    ]
    given += [_varying(leaf.shape) for leaf in jax.tree.leaves(state)]
    given.append(_Activation(axes.batch_of(tuple(shape))))
    uses: dict[Path, Use] = {}
    _follow(traced.jaxpr, given, uses)
    return uses


def _varying(shape: Sequence[int]) -> _Constant:
    return _Constant(tuple(n > 1 for n in shape))


def _follow(program: Any, given: Sequence[_Value], uses: dict[Path, Use]) -> list[_Value]:
    """Walks through a program, notes uses, and returns what its outputs are."""
    known: dict[Any, _Value] = dict(zip(program.invars, given, strict=True))

    def value(variable: Any) -> _Value:
        literal = hasattr(variable, "val")
        found = None if literal else known.get(variable)
        return _varying(variable.aval.shape) if found is None else found

    for step in program.eqns:
        values = [value(variable) for variable in step.invars]
        inner = step.params.get("jaxpr", step.params.get("call_jaxpr"))
        if step.primitive.name in _INSIDE and inner is not None:
            outs = _follow(getattr(inner, "jaxpr", inner), values, uses)
        else:
            outs = [_after(step, tuple(out.aval.shape), values, uses) for out in step.outvars]
        known |= zip(step.outvars, outs, strict=True)
    return [value(variable) for variable in program.outvars]


def _after(step: Any, shape: axes.Shape, values: Sequence[_Value], uses: dict[Path, Use]) -> _Value:
    """What an operation makes of its operands."""
    name, params = step.primitive.name, step.params
    if not any(isinstance(value, _Activation) for value in values):
        return _made_of_weights(name, params, values, shape)
    shapes = [tuple(variable.aval.shape) for variable in step.invars]
    if name == "dot_general":
        return _product(params["dimension_numbers"], shapes, values, uses)
    if name == "conv_general_dilated":
        return _convolved(params, shape, values, uses)
    first = values[0]
    if name == "gather" and not isinstance(first, _Activation) and not _has_channels(values):
        return _Activation(axes.of_no_image(shape))  # Rows of an embedding, by their numbers.
    if name in _SCRAMBLES or _UNKNOWN in values:
        return _UNKNOWN
    if isinstance(first, _Activation) and first.axes is not None:
        if name in axes.MOVES:
            return _Activation(axes.MOVES[name](first.axes, params, shape))
        if "axes" in params:  # Of a reduction.
            left = tuple(a for i, a in enumerate(first.axes) if i not in params["axes"])
            return _Activation(left)
    return _entrywise(shape, values, shapes)


def _has_channels(values: Sequence[_Value]) -> bool:
    """Whether some activation may stand in another order where channels come first."""
    found = [value.axes for value in values if isinstance(value, _Activation)]
    parts = [part for each in found if each is not None for axis in each for part in axis]
    return None in found or any(part.kind == axes.CHANNEL and part.size > 1 for part in parts)


def _made_of_weights(
    name: str, params: Mapping[str, Any], values: Sequence[_Value], shape: axes.Shape
) -> _Value:
    """A kernel that is only cast or turned is still that kernel; all else is a constant."""
    first = values[0] if values else None
    if isinstance(first, _Kernel) and name in ("convert_element_type", "copy"):
        return first
    if isinstance(first, _Kernel) and name == "transpose":
        return first._replace(order=tuple(first.order[i] for i in params["permutation"]))
    if isinstance(first, _Constant) and name == "broadcast_in_dim":
        varies = dict(zip(params["broadcast_dimensions"], first.varies, strict=True))
        return _Constant(tuple(varies.get(i, False) for i in range(len(shape))))
    if isinstance(first, _Kernel) and name == "broadcast_in_dim":
        return _Constant(tuple(i in params["broadcast_dimensions"] for i in range(len(shape))))
    return _varying(shape)


def _note(uses: dict[Path, Use], path: Path, use: Use) -> None:
    if uses.setdefault(path, use) != use:
        raise ValueError(f"{_name(path)} is used in two ways, as no one array of torch can be.")


def _name(path: Path) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _product(
    dimensions: Any,
    shapes: Sequence[axes.Shape],
    values: Sequence[_Value],
    uses: dict[Path, Use],
) -> _Value:
    """Sums of products of an activation with a kernel, a constant or another activation."""
    summed, shared = dimensions
    for one, other in ((0, 1), (1, 0)):
        kernel, met = values[one], values[other]
        if isinstance(kernel, _Kernel) and isinstance(met, _Activation) and not shared[one]:
            inputs = tuple(kernel.order[axis] for axis in summed[one])
            parts = None
            if met.axes is not None:
                parts = tuple(itertools.chain.from_iterable(met.axes[i] for i in summed[other]))
            _note(uses, kernel.path, Dense(inputs, parts))
    if _UNKNOWN in values:
        return _UNKNOWN
    found: list[axes.Axis] = []
    for side, value in enumerate(values):
        own = axes.of_no_image(shapes[side])
        if isinstance(value, _Activation) and value.axes is not None:
            own = value.axes
        if side == 0:
            found += [own[i] for i in shared[0]]
        found += [a for i, a in enumerate(own) if i not in (*summed[side], *shared[side])]
    return _Activation(tuple(found))


def _convolved(
    params: Mapping[str, Any],
    shape: axes.Shape,
    values: Sequence[_Value],
    uses: dict[Path, Use],
) -> _Value:
    """A convolution, in any layout: its dimension numbers say which axes are what."""
    images, kernel = values
    numbers = params["dimension_numbers"]
    if isinstance(kernel, _Kernel):
        if params["batch_group_count"] != 1 or set(params["lhs_dilation"]) - {1}:
            raise ValueError(f"{_name(kernel.path)}: a transposed convolution is not exported.")
        _note(uses, kernel.path, Convolution(tuple(kernel.order[i] for i in numbers.rhs_spec)))
    if not isinstance(images, _Activation) or images.axes is None:
        return _UNKNOWN
    found = list(axes.of_image(shape, numbers.out_spec))
    found[numbers.out_spec[0]] = images.axes[numbers.lhs_spec[0]]
    return _Activation(tuple(found))


def _entrywise(shape: axes.Shape, values: Sequence[_Value], shapes: Sequence[axes.Shape]) -> _Value:
    """Anything that leaves entries about where they are: arithmetic, pooling, padding, joining."""
    found: axes.Axes | None = None
    for value, own in zip(values, shapes, strict=True):
        if not isinstance(value, _Activation) or value.axes is None or len(own) != len(shape):
            continue
        moved = axes.resized(value.axes, own, shape)
        if moved is None or (found is not None and not axes.agree(found, moved)):
            return _UNKNOWN
        found = found or moved
    if found is None:
        return _UNKNOWN
    for value, own in zip(values, shapes, strict=True):
        if isinstance(value, _Activation) or len(own) != len(shape):
            continue
        varies = value.varies if isinstance(value, _Constant) else (True,) * len(own)
        pairs = zip(varies, found, strict=True)
        # Its entries would have to be put into another order together with those of the images.
        if any(changes and axes.is_other_there(axis) for changes, axis in pairs):
            return _UNKNOWN
    return _Activation(found)
