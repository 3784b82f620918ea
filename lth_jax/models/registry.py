"""Networks by name."""

import weakref
from collections.abc import Callable
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from lth_jax import pruners
from lth_jax.models import base, conv, initializers, linen, mlp

ModelName = Literal["lenet", "redundant", "conv2", "conv4", "conv6", "conv8"]

# (classes, kernel_init, width factor) -> flax module.
Builder = Callable[[int, jax.nn.initializers.Initializer, float], nn.Module]


def _conv_net(depth: int) -> Builder:
    return lambda classes, init, width: conv.ConvNet(depth, width, classes, init)


# A new network is a line here, and its name one in ModelName.
MODELS: dict[str, Builder] = {
    "lenet": lambda classes, init, width: mlp.MLP(
        (round(300 * width), round(100 * width), classes), init
    ),
    "redundant": lambda classes, init, width: mlp.RedundantMLP(
        (*(round(500 * width),) * 3, classes), kernel_init=init
    ),
    **{f"conv{depth}": _conv_net(depth) for depth in conv.DEPTHS},
}

_BUILT: weakref.WeakKeyDictionary[
    base.Apply, tuple[base.Init, base.Architecture, pruners.KernelAxes]
] = weakref.WeakKeyDictionary()

# Models whose paper starts edge-popup's scores elsewhere than at U(±1/√fan_in).
SCORE_BOUNDS: dict[str, Callable[[tuple[Any, ...], jax.Array], float]] = {
    "redundant": mlp.redundant_score_bound
}


def build_model(
    name: ModelName,
    shape: tuple[int, ...],
    classes: int,
    init: initializers.InitializerName = "kaiming_normal",
    width: float = 1.0,
) -> base.Model:
    """Builds a network of MODELS.

    Args:
        name: One of MODELS.
        shape: Of one input, (h, w, c).
        classes: Number of outputs.
        init: One of INITIALIZERS, for every weight.
        width: Factor of the hidden units or channels.

    Returns:
        The model, with its architecture.

    Raises:
        ValueError: If a name is unknown, classes or a part of shape is no
            integer >= 1, or width is not positive.
    """
    if name not in MODELS:
        raise ValueError(f"model must be one of {', '.join(MODELS)}, got {name!r}.")
    if init not in initializers.INITIALIZERS:
        known = ", ".join(initializers.INITIALIZERS)
        raise ValueError(f"init must be one of {known}, got {init!r}.")
    if isinstance(classes, bool) or not isinstance(classes, int | np.integer) or classes < 1:
        raise ValueError(f"classes must be an integer >= 1, got {classes!r}.")
    if not isinstance(shape, tuple | list) or not all(type(n) is int and n >= 1 for n in shape):
        raise ValueError(f"shape must be integers >= 1, got {shape!r}.")
    # So that no number of units is infinite.
    if not 0 < width < 1e300:
        raise ValueError(f"width must be positive and below 1e300, got {width}.")
    module = MODELS[name](classes, initializers.INITIALIZERS[init], width)
    model = linen.from_flax(module, jax.ShapeDtypeStruct((1, *shape), jnp.float32))
    architecture = base.Architecture(name, tuple(shape), classes, init, width)
    model = model._replace(architecture=architecture, name=name)
    _BUILT[model.apply] = (model.init, architecture, model.kernel_axes)
    return model


def built_as(model: base.Model) -> base.Architecture | None:
    """What `build_model` was asked for; None for a model that it did not make as it is."""
    init, architecture, axes = _BUILT.get(model.apply, (None, None, None))
    same = init is model.init and axes is model.kernel_axes
    return architecture if same and architecture == model.architecture else None
