"""Networks by name, all as `Model`: pure functions of weights and state."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from lth_jax.models import conv, initializers, mlp
from lth_jax.models.base import Model, from_flax
from lth_jax.models.initializers import INITIALIZERS

# name -> (classes, kernel_init, width factor) -> flax module. A new network is a line here.
MODELS: dict[str, Callable] = {
    "lenet": lambda classes, init, width: mlp.MLP(
        (round(300 * width), round(100 * width), classes), init
    ),
    "redundant": lambda classes, init, width: mlp.RedundantMLP(
        (*(round(500 * width),) * 3, classes), kernel_init=init
    ),
    **{
        f"conv{depth}": lambda classes, init, width, depth=depth: conv.ConvNet(
            depth=depth, width=width, classes=classes, kernel_init=init
        )
        for depth in (2, 4, 6, 8)
    },
}

# Models whose paper starts edge-popup's scores elsewhere than at U(±1/√fan_in).
SCORE_BOUNDS = {"redundant": mlp.redundant_score_bound}


def build(
    name: str, shape: tuple[int, ...], classes: int, init: str = "kaiming_normal", width: float = 1
) -> Model:
    """Builds a network of MODELS.

    Args:
        name: One of MODELS.
        shape: Of one input, (h, w, c).
        classes: Number of outputs.
        init: One of INITIALIZERS, for every weight.
        width: Factor of the hidden units or channels.

    Returns:
        The model.

    Raises:
        ValueError: If a name is unknown or width is not positive.
    """
    for known, value, what in ((MODELS, name, "model"), (INITIALIZERS, init, "init")):
        if value not in known:
            raise ValueError(f"{what} must be one of {', '.join(known)}, got {value!r}.")
    if not 0 < width < float("inf"):
        raise ValueError(f"width must be positive, got {width}.")
    module = MODELS[name](classes, INITIALIZERS[init], width)
    return from_flax(module, jax.ShapeDtypeStruct((1, *shape), jnp.float32))


__all__ = ["INITIALIZERS", "MODELS", "SCORE_BOUNDS", "Model", "build", "from_flax", "initializers"]
