"""Models out of flax.nnx modules."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import chex
import jax
import jax.numpy as jnp
from flax import nnx, traverse_util
from jax import lax

from lth_jax.models import base, convolution, linen
from lth_jax.pruners import kernels

# Makes a module: called as make(rngs=...).
Make = Callable[..., nnx.Module]
_Path = tuple[Any, ...]  # of a variable in its module, as nnx has it
_Values = dict[_Path, Any]


def from_nnx(make: Make, switch: str | None = None) -> base.Model:
    """See `models.from_nnx`."""
    abstract = nnx.eval_shape(lambda: make(rngs=nnx.Rngs(0)))
    _check(abstract)
    name = type(abstract).__name__
    switches = linen.switches_of(abstract, switch)
    graph, variables = nnx.split(abstract)
    apply = _Apply(name, switches, graph, dict(nnx.to_flat_state(variables)))
    axes = _axes_of(abstract)
    return base.Model(functools.partial(_init, make), apply, name=name, kernel_axes=axes)


def to_module(model: base.Model, weights: chex.ArrayTree, state: chex.ArrayTree) -> nnx.Module:
    """The module of a model that `from_nnx` made, with weights and state put in; it evaluates.

    Args:
        model: From `from_nnx`.
        weights: As the model's `init` gives them, such as a ticket's.
        state: Likewise.

    Raises:
        ValueError: If the model is of another kind.
    """
    if not isinstance(model.apply, _Apply):
        raise ValueError(f"expected a model of from_nnx, got {model.name!r}.")
    module: nnx.Module = model.apply.module(weights, state, jax.random.key(0), train=False)
    return module


def _init(make: Make, key: jax.Array) -> tuple[chex.ArrayTree, chex.ArrayTree]:
    """Weights and state of a module."""
    flat = dict(nnx.to_flat_state(nnx.state(make(rngs=nnx.Rngs(key)))))
    weights = {path: _strong(leaf) for path, leaf in flat.items() if _is_weight(leaf)}
    return _nest(weights), _nest({path: _strong(leaf) for path, leaf in _others(flat)})


@dataclasses.dataclass(frozen=True, eq=False)
class _Apply:
    """The `apply` of a module; it takes a key if the module keeps a stream of random numbers."""

    name: str
    switches: dict[str, bool]
    graph: nnx.GraphDef[nnx.Module]
    variables: _Values  # of shapes

    def __call__(
        self,
        weights: chex.ArrayTree,
        state: chex.ArrayTree,
        x: jax.Array,
        train: bool = False,
        key: jax.Array | None = None,
    ) -> tuple[jax.Array, chex.ArrayTree]:
        if train and key is None and self.draws():
            raise ValueError(f"{self.name} draws random numbers in training: apply needs key=.")
        # Without a stream of random numbers nothing is made of the key.
        module = self.module(weights, state, jax.random.key(0) if key is None else key, train)
        before = self._flat(module)
        given: Any = {name: value == train for name, value in self.switches.items()}
        logits = module(x, **given)
        after = self._flat(module)
        kinds = (nnx.RngCount, nnx.BatchStat)
        drew, moved = ([after[p] is not before[p] for p in self._of(kind)] for kind in kinds)
        if not train and any(drew + moved):
            what = "draws random numbers" if any(drew) else "moves running statistics"
            raise ValueError(f"{self.name} {what} in evaluation, too: {self._advice()}.")
        if train and moved and not any(moved):
            raise ValueError(f"{self.name}: its running statistics never move: {self._advice()}.")
        if train and not any(drew) and self._has_dropout(module):
            raise ValueError(f"{self.name}: its Dropout never drops: {self._advice()}.")
        if not train:
            return logits, state
        return logits, _nest({path: after[path] for path, _ in _others(self.variables)})

    def draws(self) -> bool:
        """Whether the module keeps a stream of random numbers."""
        return bool(self._of(nnx.RngKey))

    def module(
        self, weights: chex.ArrayTree, state: chex.ArrayTree, key: jax.Array, train: bool
    ) -> Any:
        """The module with all its variables, in one of its modes."""
        values = {}
        for number, path in enumerate(self._of(nnx.RngKey)):
            own, shape = jax.random.fold_in(key, number), self.variables[path].shape
            values[path] = jax.random.split(own, shape) if shape else own
        for path in self._of(nnx.RngCount):
            values[path] = jnp.zeros(self.variables[path].shape, jnp.uint32)
        filled = {}
        for path, leaf in self.variables.items():
            if path in values:
                value = values[path]
            else:
                value = _at(weights if _is_weight(leaf) else state, path)
            filled[path] = leaf.replace(value) if isinstance(leaf, nnx.Variable) else value
        module: Any = nnx.merge(self.graph, nnx.from_flat_state(filled))
        module.set_attributes(
            deterministic=not train, use_running_average=not train, raise_if_not_found=False
        )
        for _, part in nnx.iter_modules(module):
            if isinstance(part, nnx.Conv) and part.conv_general_dilated is lax.conv_general_dilated:
                part.conv_general_dilated = _convolve
        return module

    @staticmethod
    def _has_dropout(module: nnx.Module) -> bool:
        parts = (part for _, part in nnx.iter_modules(module))
        return any(isinstance(part, nnx.Dropout) and part.rate > 0 for part in parts)

    def _of(self, kind: type[nnx.Variable[Any]] | tuple[type, ...]) -> list[_Path]:
        """The paths of the variables of a kind."""
        return [path for path, leaf in self.variables.items() if isinstance(leaf, kind)]

    def _flat(self, module: nnx.Module) -> _Values:
        flat = dict(nnx.to_flat_state(nnx.state(module)))
        return {path: _value(flat[path]) for path in self.variables}

    def _advice(self) -> str:
        return (
            "it needs attributes deterministic or use_running_average, as the layers of flax have, "
            f"one of the arguments {', '.join(linen.SWITCHES)}, or switch="
        )


def _convolve(*operands: Any, out_sharding: Any = None, **options: Any) -> jax.Array:
    """The convolution that trains fast in loops, as nnx.Conv calls it."""
    if out_sharding is not None:
        options["out_sharding"] = out_sharding
        return lax.conv_general_dilated(*operands, **options)
    return convolution.conv_general_dilated(*operands, **options)


def _is_weight(leaf: Any) -> bool:
    return isinstance(leaf, nnx.Param) and jnp.issubdtype(leaf.dtype, jnp.inexact)


def _others(flat: Mapping[_Path, Any]) -> Iterator[tuple[_Path, Any]]:
    """What is neither a weight nor a part of a stream of random numbers."""
    for path, leaf in flat.items():
        if not _is_weight(leaf) and not isinstance(leaf, nnx.RngState):
            yield path, leaf


def _value(leaf: Any) -> Any:
    return leaf.get_value() if isinstance(leaf, nnx.Variable) else leaf


def _strong(leaf: Any) -> jax.Array:
    """A value whose type is not weak: it would be another program than it is afterwards."""
    value = jnp.asarray(_value(leaf))
    return lax.convert_element_type(value, value.dtype)


def _nest(flat: Mapping[_Path, Any]) -> dict[str, Any]:
    """Nested dicts by names of text: places in lists become "0", "1", …"""
    named = {tuple(map(str, path)): leaf for path, leaf in flat.items()}
    tree: dict[str, Any] = traverse_util.unflatten_dict(named)  # type: ignore[no-untyped-call]
    return tree


def _at(tree: chex.ArrayTree, path: _Path) -> Any:
    for step in path:
        tree = tree[str(step)]
    return tree


def _check(abstract: nnx.Module) -> None:
    """Refuses what nnx would take for a part of the program.

    Raises:
        ValueError: If an array is an attribute without a kind of variable.
    """
    for path, part in nnx.iter_modules(abstract):
        for name, value in vars(part).items():
            if isinstance(value, jax.core.Tracer):
                where = ".".join(map(str, (type(abstract).__name__, *path, name)))
                raise ValueError(f"{where}: expected an nnx.Variable, got an array.")


def _axes_of(abstract: nnx.Module) -> kernels.KernelAxes:
    """Knows kernels by the modules that they belong to; all else by names."""
    modules: dict[_Path, Any]
    modules = {tuple(map(str, path)): part for path, part in nnx.iter_modules(abstract)}

    def axes(path: kernels.Path, leaf: Any) -> tuple[int, ...] | None:
        names = tuple(getattr(entry, "key", None) for entry in path)
        if names and names[-1] == "kernel":
            found = _kernel_axes(modules.get(names[:-1]), len(leaf.shape))
            if found is not None:
                return found
        return kernels.kernel_axes(path, leaf)

    return axes


def _count(sizes: Any) -> int:
    return len(sizes) if hasattr(sizes, "__len__") else 1


def _kernel_axes(module: Any, rank: int) -> tuple[int, ...] | None:
    """The axes that a module's kernel sums over; axes before are of a vmap over modules."""
    if isinstance(module, nnx.Linear):
        return (rank - 2,)
    if isinstance(module, nnx.LinearGeneral):
        inputs = len(module.axis)
        first = rank - inputs - len(module.out_features)
        return tuple(range(first, first + inputs))
    if isinstance(module, nnx.Conv):
        return tuple(range(rank - 2 - _count(module.kernel_size), rank - 1))
    if isinstance(module, nnx.ConvTranspose):
        window = range(rank - 2 - _count(module.kernel_size), rank - 2)
        return (*window, rank - 1 if module.transpose_kernel else rank - 2)
    return None
