"""Models out of equinox modules."""

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any

import chex
import equinox as eqx
import jax
import jax.numpy as jnp

from lth_jax.models import base
from lth_jax.pruners import kernels

# Makes a module: called as make(key=...).
Make = Callable[..., Any]
_Names = tuple[str, ...]

_NO_KERNELS = (eqx.nn.Embedding, eqx.nn.LayerNorm, eqx.nn.RMSNorm, eqx.nn.GroupNorm)


def from_equinox(make: Make) -> base.Model:
    """See `models.from_equinox`."""
    module, running = eqx.filter_eval_shape(_made, make, jax.eval_shape(lambda: jax.random.key(0)))
    name = type(module).__name__
    arguments = inspect.signature(type(module).__call__).parameters
    apply = _Apply(name, module, running, "key" in arguments, _axis_name(name, module))
    apply.check(arguments)
    return base.Model(
        functools.partial(_init, make), apply, name=name, kernel_axes=_axes_of(module)
    )


def to_module(
    model: base.Model, weights: chex.ArrayTree, state: chex.ArrayTree
) -> tuple[Any, eqx.nn.State]:
    """The module of a model that `from_equinox` made, with weights and state put in.

    Args:
        model: From `from_equinox`.
        weights: As the model's `init` gives them, such as a ticket's.
        state: Likewise.

    Returns:
        The module, in inference mode, and its equinox.nn.State.

    Raises:
        ValueError: If the model is of another kind.
    """
    if not isinstance(model.apply, _Apply):
        raise ValueError(f"expected a model of from_equinox, got {model.name!r}.")
    module, running = model.apply.filled(weights, state)
    return eqx.nn.inference_mode(module), running


def _made(make: Make, key: jax.Array) -> tuple[Any, eqx.nn.State]:
    """A module and its state, which is empty without running statistics."""
    made = make(key=key)
    if isinstance(made, tuple):  # Of equinox.nn.make_with_state.
        return made
    found: tuple[Any, eqx.nn.State] = eqx.nn.make_with_state(lambda: made)()
    return found


def _init(make: Make, key: jax.Array) -> tuple[chex.ArrayTree, chex.ArrayTree]:
    """Weights and state of a module."""
    module, running = _made(make, key)
    weights: dict[str, Any] = {}
    state: dict[str, Any] = {}
    # Numbers of a weak type, as counts begin, would be another program than they are afterwards.
    module, running = jax.tree.map(_strong, (module, running))
    for path, leaf in jax.tree_util.tree_leaves_with_path(module):
        if eqx.is_array(leaf):
            _put(weights if eqx.is_inexact_array(leaf) else state, _names(path), leaf)
    for names, leaf in zip(_names_of(running), jax.tree.leaves(running), strict=True):
        _put(state, names, leaf)
    return weights, state


def _strong(leaf: Any) -> Any:
    return jax.lax.convert_element_type(leaf, leaf.dtype) if eqx.is_array(leaf) else leaf


@dataclasses.dataclass(frozen=True, eq=False)
class _Apply:
    """The `apply` of a module; it takes a key if the module's call does."""

    name: str
    abstract: Any  # the module, of shapes
    running: Any  # its equinox.nn.State, of shapes
    takes_key: bool
    axis_name: str | None

    def __call__(
        self,
        weights: chex.ArrayTree,
        state: chex.ArrayTree,
        x: jax.Array,
        train: bool = False,
        key: jax.Array | None = None,
    ) -> tuple[jax.Array, chex.ArrayTree]:
        if train and key is None and self.takes_key:
            raise ValueError(f"{self.name} draws random numbers in training: apply needs key=.")
        module, running = self.filled(weights, state)
        module = eqx.nn.inference_mode(module, value=not train)
        stateful = bool(jax.tree.leaves(running))

        def one(x: jax.Array, running: Any, key: jax.Array | None) -> tuple[jax.Array, Any]:
            named = {"key": key} if self.takes_key else {}
            return module(x, running, **named) if stateful else (module(x, **named), running)

        keys = None if key is None or not self.takes_key else jax.random.split(key, len(x))
        mapped = jax.vmap(one, in_axes=(0, None, 0), out_axes=(0, None), axis_name=self.axis_name)
        logits, after = mapped(x, running, keys)
        if not train:
            return logits, state
        moved: dict[str, Any] = jax.tree.map(lambda leaf: leaf, state)  # A copy of its dicts.
        for names, leaf in zip(_names_of(after), jax.tree.leaves(after), strict=True):
            _put(moved, names, leaf)
        return logits, moved

    def draws(self) -> bool:
        """Whether the module's call takes a key."""
        return self.takes_key

    def filled(self, weights: chex.ArrayTree, state: chex.ArrayTree) -> tuple[Any, Any]:
        """The module and its state with all their arrays."""

        def fill(path: kernels.Path, leaf: Any) -> Any:
            if not isinstance(leaf, jax.ShapeDtypeStruct):
                return leaf
            inexact = jnp.issubdtype(leaf.dtype, jnp.inexact)
            return _at(weights if inexact else state, _names(path))

        module = jax.tree_util.tree_map_with_path(fill, self.abstract)
        leaves = [_at(state, names) for names in _names_of(self.running)]
        return module, jax.tree.unflatten(jax.tree.structure(self.running), leaves)

    def check(self, arguments: Any) -> None:
        """Refuses what would go wrong without a word.

        Raises:
            ValueError: If there are running statistics that the module's call does not take or that
                have no inference mode, or Dropout without a key.
        """
        if jax.tree.leaves(self.running):
            if "state" not in arguments:
                raise ValueError(f"{self.name}: it has running statistics, but no argument state.")
            if not _parts(self.abstract, lambda part: hasattr(part, "inference")):
                raise ValueError(f"{self.name}: it has a state, but no attribute inference.")
        dropouts = _parts(self.abstract, lambda part: isinstance(part, eqx.nn.Dropout))
        if any(part.p > 0 for _, part in dropouts) and not self.takes_key:
            raise ValueError(f"{self.name}: it has Dropout, but no argument key.")


def _parts(module: Any, of_kind: Callable[[Any], bool]) -> list[tuple[kernels.Path, Any]]:
    """The parts of a module that are of a kind, with their paths."""
    found = jax.tree_util.tree_leaves_with_path(module, is_leaf=of_kind)
    return [(path, part) for path, part in found if of_kind(part)]


def _axis_name(name: str, module: Any) -> str | None:
    """Over which axis of a vmap statistics are taken.

    Raises:
        ValueError: If a BatchNorm is of another mode than "batch", or there are several names.
    """
    found = set()
    for _, part in _parts(module, lambda part: isinstance(part, eqx.nn.BatchNorm)):
        if part.mode != "batch":
            raise ValueError(f"{name}: expected BatchNorm(mode='batch'), got mode={part.mode!r}.")
        names = part.axis_name
        found |= {names} if isinstance(names, str) else set(names)
    if len(found) > 1:
        raise ValueError(f"{name}: expected one axis_name of BatchNorm, got {sorted(found)}.")
    return found.pop() if found else None


def _names(path: kernels.Path) -> _Names:
    """A path as names of text: places in lists become "0", "1", …"""
    return tuple(jax.tree_util.keystr((entry,), simple=True) for entry in path)


def _names_of(running: Any) -> list[_Names]:
    """Where the leaves of an equinox.nn.State stand in the model's state."""
    values, markers = running.tree_flatten()
    found = []
    for marker, value in zip(markers, values, strict=True):
        for path, _ in jax.tree_util.tree_leaves_with_path(value):
            found.append((str(marker), *(_names(path) or ("value",))))
    return found


def _put(tree: dict[str, Any], names: _Names, leaf: Any) -> None:
    for step in names[:-1]:
        tree = tree.setdefault(step, {})
    tree[names[-1]] = leaf


def _at(tree: Any, names: _Names) -> Any:
    for step in names:
        tree = tree[step]
    return tree


def _axes_of(module: Any) -> kernels.KernelAxes:
    """Knows kernels by the modules that they belong to; all else by names."""
    paths = {_names(path): path for path, _ in jax.tree_util.tree_leaves_with_path(module)}
    kinds = (eqx.nn.Linear, eqx.nn.Conv, eqx.nn.ConvTranspose, *_NO_KERNELS)
    known = {_names(path): part for path, part in _parts(module, lambda p: isinstance(p, kinds))}

    def axes(path: kernels.Path, leaf: Any) -> tuple[int, ...] | None:
        names, rank = _names(path), len(leaf.shape)
        part = known.get(names[:-1])
        if isinstance(part, _NO_KERNELS):
            return None
        if part is not None and names[-1] == "weight":
            # (out, in, window...), after the axes of a vmap over modules.
            spatial = 0 if isinstance(part, eqx.nn.Linear) else part.num_spatial_dims
            return tuple(range(rank - 1 - spatial, rank))
        return kernels.kernel_axes(paths.get(names, path), leaf)

    return axes
