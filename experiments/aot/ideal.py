"""The least work of a step: the matrix products and convolutions of a forward pass, three times."""

import math
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from lth_jax import training


def step_flops(problem: training.Problem, shape: tuple[int, ...]) -> int:
    """Floating-point operations of a lane's step, a product and a sum counted as two.

    Args:
        problem: Model, pruner and config.
        shape: [h, w, c] of an image.

    Returns:
        Three times those of the forward pass of a batch, as an accelerator computes it.
    """
    sizes = training.lane_shapes(problem)
    images = jax.ShapeDtypeStruct((problem.config.batch_size, *shape), np.float32)

    def forward(weights: Any, state: Any, images: Any) -> Any:
        return problem.model.apply(weights, state, images, train=False)[0]

    traced = jax.make_jaxpr(forward)(sizes.weights, sizes.model_state, images)
    return 3 * sum(_flops(traced.jaxpr))


def _flops(jaxpr: Any) -> Iterator[int]:
    for equation in jaxpr.eqns:
        name, given = equation.primitive.name, equation.params
        out = math.prod(equation.outvars[0].aval.shape) if equation.outvars else 0
        if name == "dot_general":
            (contracted, _), _ = given["dimension_numbers"]
            left = equation.invars[0].aval.shape
            yield 2 * out * math.prod(left[axis] for axis in contracted)
        elif name == "conv_general_dilated":
            kernel = equation.invars[1].aval.shape
            outputs = kernel[given["dimension_numbers"].rhs_spec[0]]
            yield 2 * out * math.prod(kernel) // outputs
        elif name == "cond":  # Of lax.platform_dependent: the last one is not the CPU's.
            yield from _flops(given["branches"][-1].jaxpr)
        else:
            inner = (given.get(part) for part in ("jaxpr", "call_jaxpr", "fun_jaxpr"))
            for found in inner:
                if found is not None:
                    yield from _flops(getattr(found, "jaxpr", found))
