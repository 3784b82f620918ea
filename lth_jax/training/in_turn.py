"""Networks with convolutions, for lanes that step together: one lane after the other.

A convolution of every lane with a kernel of its own becomes one in groups, which is slow, and keeps
the intermediate images of all lanes. One lane alone nearly fills a device (measured by XLA's counts
in BUILD_NOTES.md). Dense layers are products in either case, and those of a batch of lanes are
better than one after the other.
"""

from collections.abc import Callable
from typing import Any

import jax


def lane_by_lane(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that under vmap is a loop of known length where it has convolutions.

    It has no derivative: what is to be differentiated stays inside, as in jax.value_and_grad.

    Args:
        function: Of arrays, without other transformations around it than vmap.

    Returns:
        A function of the same arguments and results.
    """

    def chosen(*given: Any) -> Any:
        if not convolves(function, *given):
            return function(*given)
        return jax.custom_batching.sequential_vmap(function)(*given)

    return chosen


def convolves(function: Callable[..., Any], *given: Any) -> bool:
    """Whether a function has a convolution: it is traced for arrays or shapes of them."""
    return "conv_general_dilated" in str(jax.make_jaxpr(function)(*given))
