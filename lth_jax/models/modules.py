"""Models out of modules of other libraries, each of which is imported where it is used."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from lth_jax.models import base

if TYPE_CHECKING:
    from flax import nnx


def from_nnx(make: "Callable[..., nnx.Module]", switch: str | None = None) -> base.Model:
    """Wraps a flax.nnx module; its convolutions become the ones that train fast in loops.

    Args:
        make: Makes the module, called as `make(rngs=nnx.Rngs(key))`: its class, or a function of
            `rngs`. The module is called as `module(x)`, with every argument of linen.SWITCHES that
            it has; its attributes `deterministic` and `use_running_average` are set likewise.
        switch: Name of the argument that is true in training, if it is called otherwise; for one
            that is true in evaluation, "not NAME".

    Returns:
        A Model whose weights are the module's nnx.Param and whose state is all else but streams of
        random numbers (nnx.RngState): these begin anew from the key of every step. Both are nested
        dicts by names; models.nnx.to_module makes a module of them. Its `apply` raises a ValueError
        for running statistics that never move in training, or that move in evaluation.

    Raises:
        ValueError: If the module has no argument of the name that `switch` gives, or an array for
            an attribute that is no nnx.Variable.
    """
    from lth_jax.models import nnx as of_nnx

    return of_nnx.from_nnx(make, switch)


def from_equinox(make: Callable[..., Any]) -> base.Model:
    """Wraps an equinox module; it is mapped over the batch.

    Args:
        make: Makes the module, called as `make(key=key)`: its class, a function of `key`, or either
            in `equinox.nn.make_with_state`. The module is called as `module(x)` on one input,
            with `key=` if it takes one, and as `module(x, state)` if it has running statistics,
            then returning (logits, state). BatchNorm must be of mode "batch".

    Returns:
        A Model whose weights are the module's floating arrays and whose state is all other arrays
        and running statistics, both as nested dicts by names; models.equinox.to_module makes a
        module of them. Training and evaluation differ by `equinox.nn.inference_mode`. Its
        convolutions are equinox's own, whose gradients are slow inside loops on a CPU.

    Raises:
        ImportError: If equinox is not installed: nothing else here needs it.
        ValueError: If a BatchNorm is of another mode, BatchNorms name several axes, or the module
            has running statistics without an argument `state` or an attribute `inference`, or
            Dropout without an argument `key`.
    """
    try:
        from lth_jax.models import equinox as of_equinox
    except ImportError:
        raise ImportError(
            "equinox is not installed, and only from_equinox needs it: pip install equinox."
        ) from None
    return of_equinox.from_equinox(make)
