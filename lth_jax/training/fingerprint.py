"""Names a program by what it computes, so that a folder of results can tell two of them apart.

A model or pruner of the user's own has no settings that could be compared. What is compared is the
program that jax traces of it: its operations, shapes and constants, in order.
"""

import hashlib
import re
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import dtypes
from jax.extend import core

from lth_jax import datasets, numerics
from lth_jax.training import lane, methods, stage


def program(
    problem: stage.Problem,
    dataset: datasets.Dataset,
    kinds: Sequence[methods.StageKind] = (methods.JOINT,),
) -> str:
    """Names what a problem computes: its draws, a step of each kind of stage, and its scoring.

    What a callback to the host does is not seen. Another version of this library may name the
    same model differently.

    Args:
        problem: Model, pruner and config.
        dataset: For the shapes of its arrays.
        kinds: Of stages, one after the other.

    Returns:
        16 hexadecimal digits; equal for equal programs under one version of jax.

    Raises:
        ValueError: If the model or the pruner refuses its arguments.
    """
    sizes = lane.shapes(problem)
    host = lane.task(problem, sizes, seed=0, eps=0.0, sparsity=0.5)
    data = lane.data(dataset)

    def everything(key: jax.Array, data: Any) -> Any:
        task = host._replace(key=key)
        origin = stage.initial(problem, key)
        begin = (origin.weights, origin.scores)
        for kind in kinds:
            state = stage.start(problem, kind, task, begin, origin)
            if kind.moves:
                state = stage.advance(problem, kind, state, task, data[0], 0, 1, 1)
            begin = (state.weights, state.scores)
        final = (*begin, state.model_state)
        return stage.finish(problem, *final, task, *data)

    traced = jax.make_jaxpr(everything)(numerics.key(0), data)
    digest = hashlib.sha256()
    for line in _lines(traced):
        digest.update(line.encode() + b"\n")
    return digest.hexdigest()[:16]


def _lines(closed: core.ClosedJaxpr) -> Iterator[str]:
    """A program as text that names no address and does not depend on what jax has cached."""
    numbers: dict[Any, int] = {}

    def number(variable: Any) -> str:
        if isinstance(variable, core.Literal):
            return f"{variable.val!r}:{variable.aval}"
        return f"{numbers.setdefault(variable, len(numbers))}:{variable.aval}"

    for constant in closed.consts:
        if jnp.issubdtype(constant.dtype, dtypes.prng_key):
            yield str(constant.dtype)
            constant = jax.random.key_data(constant)
        array = np.asarray(constant)
        yield f"{array.dtype} {array.shape} {hashlib.sha256(array.tobytes()).hexdigest()}"
    yield " ".join(map(number, closed.jaxpr.invars))
    for equation in closed.jaxpr.eqns:
        yield equation.primitive.name
        yield " ".join(map(number, [*equation.invars, *equation.outvars]))
        for name in sorted(equation.params.keys() - {"name"}):  # A function's name does nothing.
            yield from _parameter(name, equation.params[name])
    yield " ".join(map(number, closed.jaxpr.outvars))


def _parameter(name: str, value: Any) -> Iterator[str]:
    if isinstance(value, core.Jaxpr):
        yield from _lines(core.ClosedJaxpr(value, ()))
    elif isinstance(value, core.ClosedJaxpr):
        yield from _lines(value)
    elif isinstance(value, tuple | list):
        for entry in value:
            yield from _parameter(name, entry)
    elif not callable(value):
        yield re.sub(r"0x[0-9a-f]+", "", f"{name}={value!r}")
