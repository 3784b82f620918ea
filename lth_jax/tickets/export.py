"""Plain masked weights for any framework, and in PyTorch's layout."""

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import chex
import jax
import numpy as np
import numpy.typing as npt

from lth_jax import files, models, numerics
from lth_jax.masks import selection
from lth_jax.tickets import leaves, torch_layout
from lth_jax.tickets import origin as origins
from lth_jax.tickets import ticket as ticket_file

Layout = Literal["flax", "torch"]
_ABOUT = ("model", "classes", "dataset", "mean", "std", "test_accuracy")  # of a ticket's note


def export(
    path: str | os.PathLike[str],
    weights: chex.ArrayTree,
    masks: chex.ArrayTree | None = None,
    *,
    layout: Layout = "flax",
    model: models.Model | None = None,
    shape: Sequence[int] | None = None,
    state: chex.ArrayTree | None = None,
    about: Mapping[str, Any] | None = None,
) -> int:
    """Writes plain masked weights as .safetensors for any framework.

    Layout "flax" writes arrays as they are, their names joined by "/". Layout "torch" is what a
    torch module with layers of the same names and in the same places loads with `load_state_dict`:
    names joined by ".", ending in weight and bias; dense kernels (out, in), convolutions
    (out, in, height, width). Its images are (c, h, w): where they are flattened before a dense
    layer, the columns of that layer's weight are put into that order. How each array is used is
    read off the model's program; what cannot be told is refused. Not carried over: how layers pad
    (flax's "SAME" with strides may differ from torch's), and the epsilon of a LayerNorm (1e-6 in
    flax, 1e-5 in torch).

    Args:
        path: Of the file.
        weights: Nested dicts of arrays, as `Ticket.weights`.
        masks: None, or what to apply first.
        layout: "flax" or "torch".
        model: Of the weights, for layout "torch".
        shape: Of one input, (h, w, c), for layout "torch"; None takes the model's own, if
            `build_model` made it.
        state: The model's other state, as `Model.init` returns it: for layout "torch" running
            statistics of flax's BatchNorm (those of equinox are refused), for layout "flax" any,
            under names that begin with "state/".
        about: Anything for the file's metadata, a JSON text for each name: as "mean" and "std" in
            raw units, "classes", "model". Its "layout" is added.

    Returns:
        Size in bytes.

    Raises:
        OSError: If it cannot be written.
        ValueError: If the weights are no nested dicts by names of text, if two names are the same
            when joined, or one is `__metadata__`, which the format reserves; for layout "torch"
            also if the model or the shape is missing or a kernel's use is none that torch has.
    """
    if layout not in get_args(Layout):
        raise ValueError(f"layout must be one of {', '.join(get_args(Layout))}, got {layout!r}.")
    leaves.flatten(weights)
    weights = weights if masks is None else selection.apply_mask(weights, masks)
    if layout == "torch":
        flat = _for_torch(weights, model, shape, state)
    else:
        named = leaves.arrays(weights)
        rest = leaves.arrays({} if state is None else state)
        all_named = [*named.items(), *((("state", *names), leaf) for names, leaf in rest.items())]
        flat = {"/".join(names): np.asarray(leaf, order="C") for names, leaf in all_named}
        if len(flat) < len(all_named):
            raise ValueError("expected names that differ when joined by '/'.")
    if "__metadata__" in flat:
        raise ValueError("expected another name than __metadata__, which safetensors reserves.")
    import safetensors.numpy  # Here, so that a machine that only trains does without it.

    content = safetensors.numpy.save(flat, _metadata(layout, about))
    files.write(path, content)
    return len(content)


def export_ticket(
    path: str | os.PathLike[str],
    ticket: ticket_file.Ticket,
    *,
    layout: Layout = "flax",
    model: models.Model | None = None,
    shape: Sequence[int] | None = None,
) -> int:
    """Writes a ticket's network by `export`, with what its file says of it as metadata.

    Args:
        path: Of the file.
        ticket: From `load`.
        layout: "flax" or "torch".
        model: Of the weights; None takes the one that the ticket knows.
        shape: Of one input; None takes that of the same.

    Returns:
        Size in bytes.

    Raises:
        OSError: If it cannot be written.
        ValueError: See `export`; also if the ticket does not know its model and none is given.
    """
    note = ticket.header["note"]
    about = {name: note[name] for name in _ABOUT if name in note}
    origin = origins.from_json(ticket.header["init"]) if model is None else None
    if isinstance(origin, origins.ModelOrigin):
        architecture = origin.architecture
        about |= {"model": architecture.name, "classes": architecture.classes}
    if layout == "torch" and origin is not None:
        model = origins.model_of(origin)
        shape = origin.layout.sizes[:1] if isinstance(origin, origins.ConstructionOrigin) else shape
    named: dict[str, Any] = {"layout": layout, "model": model, "shape": shape, "about": about}
    return export(path, ticket.weights, state=ticket.state, **named)


def _for_torch(
    weights: chex.ArrayTree,
    model: models.Model | None,
    shape: Sequence[int] | None,
    state: chex.ArrayTree | None,
) -> dict[str, npt.NDArray[Any]]:
    if model is None:
        raise ValueError("layout 'torch' needs the model of the weights.")
    if shape is None and model.architecture is not None:
        shape = model.architecture.shape
    if shape is None:
        raise ValueError("layout 'torch' needs the shape of one input of a model of your own.")
    if state is None:
        _, state = jax.eval_shape(model.init, jax.eval_shape(lambda: numerics.key(0)))
        if jax.tree.leaves(state):
            raise ValueError("layout 'torch' needs the state of a model with running statistics.")
    return torch_layout.state_dict(model, weights, state, shape)


def _metadata(layout: Layout, about: Mapping[str, Any] | None) -> dict[str, str] | None:
    """None for plain arrays of which nothing is to be said."""
    if layout == "flax" and about is None:
        return None
    # Some libraries of torch's refuse a file that does not say "pt".
    said = {"format": "pt"} if layout == "torch" else {}
    told = {name: json.dumps(value, allow_nan=False) for name, value in (about or {}).items()}
    return {**told, **said, "layout": layout}
