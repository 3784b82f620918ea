"""The least work of a step: three times a forward pass, once for it and twice for its gradient."""

from typing import Any

import jax
import numpy as np

from lth_jax import training
from lth_jax.models import convolution


def step_flops(problem: training.Problem, shape: tuple[int, ...]) -> int:
    """Floating-point operations of a lane's step, a product and a sum counted as two.

    Args:
        problem: Model, pruner and config.
        shape: [h, w, c] of an image.

    Returns:
        Three times those of the forward pass of a batch, as XLA counts them.
    """
    sizes = training.lane_shapes(problem)
    images = jax.ShapeDtypeStruct((problem.config.batch_size, *shape), np.float32)

    def forward(weights: Any, state: Any, images: Any) -> Any:
        return problem.model.apply(weights, state, images, train=False)[0]

    # On a CPU, as others may not count; its convolutions not Winograd's, which need fewer.
    host = jax.local_devices(backend="cpu")[0]
    with jax.default_device(host), convolution.plain_convolutions():
        lowered = jax.jit(forward).lower(sizes.weights, sizes.model_state, images)
    return 3 * int(lowered.cost_analysis()["flops"])
