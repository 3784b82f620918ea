"""Networks by name."""

import weakref
from collections.abc import Callable
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from lth_jax import errors, names, pruners
from lth_jax.models import base, initializers, linen, linen_statistics
from lth_jax.models.networks import conv, mlp, resnet

ModelName = Literal[
    "lenet", "redundant", "conv2", "conv4", "conv6", "conv8", "resnet20", "resnet18"
]

# Makes a model of shape=, classes=, init= and width=, see `register`.
Build = Callable[..., base.Model]
# (classes, kernel_init, width factor) -> flax module.
_Make = Callable[[int, jax.nn.initializers.Initializer, float], nn.Module]


def _of_flax(make: _Make) -> Build:
    def build(
        shape: tuple[int, ...], classes: int, init: jax.nn.initializers.Initializer, width: float
    ) -> base.Model:
        example = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
        return linen.from_flax(make(classes, init, width), example)

    return build


def _conv_net(depth: int) -> Build:
    return _of_flax(lambda classes, init, width: conv.ConvNet(depth, width, classes, init))


def _resnet(make: Callable[..., nn.Module]) -> Build:
    build = _of_flax(lambda classes, init, width: make(width, classes, init))

    def with_own_statistics(**arguments: Any) -> base.Model:
        model: base.Model = build(**arguments)
        return model._replace(batch_state=linen_statistics.of_one_batch(model.apply))

    return with_own_statistics


# A new network of the library is an entry here, and its name one in ModelName.
MODELS: names.Registry[Build] = names.Registry(
    "model",
    {
        "lenet": _of_flax(
            lambda classes, init, width: mlp.MLP(
                (round(300 * width), round(100 * width), classes), init
            )
        ),
        "redundant": _of_flax(
            lambda classes, init, width: mlp.RedundantMLP(
                (*(round(500 * width),) * 3, classes), kernel_init=init
            )
        ),
        **{f"conv{depth}": _conv_net(depth) for depth in conv.DEPTHS},
        "resnet20": _resnet(resnet.resnet20),
        "resnet18": _resnet(resnet.resnet18),
    },
)

_BUILT: weakref.WeakKeyDictionary[
    base.Apply, tuple[base.Init, base.Architecture, pruners.KernelAxes, base.BatchState | None]
] = weakref.WeakKeyDictionary()

# Models whose paper starts edge-popup's scores elsewhere than at U(±1/√fan_in).
SCORE_BOUNDS: dict[str, Callable[[tuple[Any, ...], jax.Array], float]] = {
    "redundant": mlp.redundant_score_bound
}


def register(name: str, build: Build) -> Build:
    """Makes a model known by a name, to studies and to the command line.

    Args:
        name: Letters, digits and _.+-
        build: Makes a Model of those of these arguments that it takes: `shape` of one input,
            `classes`, `init` (an initializer for kernels) and `width` (a factor of its units).

    Returns:
        `build`.

    Raises:
        InputError: If the name belongs to another one; the message is one line.
    """
    return MODELS.register(name, build)


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
        shape: Of one input, as (h, w, c).
        classes: Number of outputs.
        init: One of INITIALIZERS, for every weight.
        width: Factor of the hidden units or channels.

    Returns:
        The model, with its architecture if it is one of the library's.

    Raises:
        ValueError: If a name is unknown, classes or a part of shape is no integer >= 1, width is
            not positive, or a registered model takes no init or width and is asked for another one.
    """
    build, who = MODELS.find(name), f"model {name!r}"
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
    offered = {"shape": tuple(shape), "classes": int(classes)}
    asked = {
        "init": (initializers.INITIALIZERS[init], initializers.INITIALIZERS["kaiming_normal"]),
        "width": (width, 1.0),
    }
    model: base.Model = names.call(build, who, offered, asked)
    if not MODELS.is_built_in(name):
        if not isinstance(model, base.Model):
            raise errors.InputError(f"{who} must be made as a Model, got {type(model).__name__}.")
        return model._replace(architecture=None, name=name)
    architecture = base.Architecture(name, tuple(shape), classes, init, width)
    model = model._replace(architecture=architecture, name=name)
    _BUILT[model.apply] = (model.init, architecture, model.kernel_axes, model.batch_state)
    return model


def built_as(model: base.Model) -> base.Architecture | None:
    """What `build_model` was asked for; None for a model that it did not make as it is."""
    init, architecture, *others = _BUILT.get(model.apply, (None, None, None, None))
    own = (model.init, model.kernel_axes, model.batch_state)
    same = all(a is b for a, b in zip((init, *others), own, strict=True))
    return architecture if same and architecture == model.architecture else None
