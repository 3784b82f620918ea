"""Pooling equals flax's, and is fair at ties."""

import draws
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lth_jax.models import convolution


@pytest.mark.parametrize("size", [(8, 6), (7, 5)])
def test_max_pool_equals_flax_in_value_and_in_gradient_without_ties(size):
    (x,) = draws.normal(0, (2, *size, 3))

    def both(pool):
        return jax.device_get(jax.jit(jax.value_and_grad(lambda x: jnp.sum(jnp.sin(pool(x)))))(x))

    found = both(convolution.max_pool)
    expected = both(lambda x: nn.max_pool(x, (2, 2), (2, 2)))
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6 * np.max(np.abs(theirs)))


def test_max_pool_shares_the_gradient_of_ties_and_loses_none():
    # Windows: all tie (a ReLU's zeros); one alone; the left column ties; one of each column ties.
    windows = np.float32([[[0, 0], [0, 0]], [[1, 0], [0, 0]], [[2, 1], [2, 0]], [[3, 3], [0, 1]]])
    x = jnp.asarray(np.concatenate(windows, axis=1))[None, :, :, None]
    gradient = jax.jit(jax.grad(lambda x: jnp.sum(convolution.max_pool(x))))(x)
    expected = [
        [[0.25, 0.25], [0.25, 0.25]],
        [[1, 0], [0, 0]],
        [[0.5, 0], [0.5, 0]],
        [[0.5, 0.5], [0, 0]],
    ]
    np.testing.assert_array_equal(
        np.asarray(gradient)[0, :, :, 0], np.concatenate(expected, axis=1)
    )
