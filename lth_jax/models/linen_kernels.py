"""Which parameters of a flax.linen network are kernels, by the modules that they belong to."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax

from lth_jax.models import base
from lth_jax.pruners import kernels

# (module, rank of the leaf) -> the axes that its kernel sums over.
_Axes = Callable[[Any, int], tuple[int, ...]]


def _count(sizes: Any) -> int:
    return len(sizes) if hasattr(sizes, "__len__") else 1


def _of_dense_general(module: nn.DenseGeneral, rank: int) -> tuple[int, ...]:
    """Of (batch..., in..., out...); axes before them are those of a scan or vmap over modules."""
    inputs = _count(module.axis)
    first = rank - inputs - _count(module.features)
    return tuple(range(first, first + inputs))


def _of_conv(module: nn.Conv, rank: int) -> tuple[int, ...]:
    return tuple(range(rank - 2 - _count(module.kernel_size), rank - 1))


def _of_conv_transpose(module: nn.ConvTranspose, rank: int) -> tuple[int, ...]:
    window = range(rank - 2 - _count(module.kernel_size), rank - 2)
    return (*window, rank - 1 if module.transpose_kernel else rank - 2)


def _of_last_but_one(module: nn.Module, rank: int) -> tuple[int, ...]:
    return (rank - 2,)


_KINDS: dict[type[nn.Module], _Axes] = {
    nn.Dense: _of_last_but_one,
    nn.DenseGeneral: _of_dense_general,
    nn.Conv: _of_conv,
    nn.ConvLocal: _of_last_but_one,  # (places..., window · in, out)
    nn.ConvTranspose: _of_conv_transpose,
}


def axes_of(init: base.Init) -> kernels.KernelAxes:
    """Finds the modules of a network while its initialization is traced, once, when first asked.

    Args:
        init: Of a Model that calls a linen module.

    Returns:
        See `kernels.KernelAxes`. What is called kernel in a module of flax's own is known by that
        module; all else, such as `self.param` of a module of your own, by its name.
    """
    # Not functools.cache: a model must be able to go to another process.
    found: dict[tuple[Any, ...], nn.Module] = {}

    def modules() -> dict[tuple[Any, ...], nn.Module]:
        def note(call: Any, args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
            found[context.module.path] = context.module.clone(parent=None)
            return call(*args, **kwargs)

        if not found:
            with nn.intercept_methods(note):
                # A function of its own: jax does not call one again that it has traced before.
                jax.eval_shape(lambda: init(jax.random.key(0)))
        return found

    def axes(path: kernels.Path, leaf: Any) -> tuple[int, ...] | None:
        names = tuple(getattr(entry, "key", None) for entry in path)
        module = modules().get(names[:-1])
        for kind, of in _KINDS.items():
            if isinstance(module, kind) and names[-1] == "kernel":
                return of(module, len(leaf.shape))
        return kernels.kernel_axes(path, leaf)

    return axes
