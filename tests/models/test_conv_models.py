"""Conv-2 to Conv-8: hand counts, shapes, and a gradient step of each at reduced width."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lth_jax.models.networks import conv

COUNTS = {2: 4_300_992, 4: 2_425_024, 6: 2_261_184, 8: 5_275_840}


def shapes(module, size=32):
    variables = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, size, size, 3)))
    assert set(variables) == {"params"}
    return variables["params"]


@pytest.mark.parametrize("depth", conv.DEPTHS)
def test_parameters_are_those_of_a_hand_count(depth):
    params = shapes(conv.ConvNet(depth))
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == COUNTS[depth]
    kernels = [f"Conv_{i}" for i in range(depth)] + ["Dense_0", "Dense_1", "Dense_2"]
    assert list(params) == kernels
    assert all(list(layer) == ["kernel"] for layer in params.values())


def test_width_scales_every_layer_but_the_last():
    params = shapes(conv.ConvNet(4, width=0.25, classes=7))
    found = [layer["kernel"].shape for layer in params.values()]
    assert found == [
        (3, 3, 3, 16),
        (3, 3, 16, 16),
        (3, 3, 16, 32),
        (3, 3, 32, 32),
        (8 * 8 * 32, 64),
        (64, 64),
        (64, 7),
    ]


@pytest.mark.slow
# The deeper ones take 10 to 15 s to compile.
@pytest.mark.parametrize(
    "depth", [d if d < 4 else pytest.param(d, marks=pytest.mark.slow) for d in conv.DEPTHS]
)
def test_a_gradient_step_of_each_lowers_the_loss(depth, key):
    module = conv.ConvNet(depth, width=1 / 16)
    key_x, key_init = jax.random.split(key)
    x = jax.random.normal(key_x, (4, 16, 16, 3))

    @jax.jit
    @jax.value_and_grad
    def loss(weights):
        return -jax.nn.log_softmax(module.apply(weights, x))[:, 3].mean()

    weights = jax.jit(module.init)(key_init, x)
    before, gradient = loss(weights)
    after, _ = loss(jax.tree.map(lambda w, g: w - 1e-2 * g, weights, gradient))
    assert after < before
    chex.assert_tree_all_finite(gradient)
    assert all(np.any(leaf != 0) for leaf in jax.tree.leaves(gradient))


@pytest.mark.parametrize("arguments", [{"depth": 3}, {"depth": 2, "width": 0.0}])
def test_bad_arguments_are_value_errors(arguments):
    with pytest.raises(ValueError, match="must be"):
        shapes(conv.ConvNet(**arguments))


def test_images_too_small_for_the_poolings_are_a_value_error():
    with pytest.raises(ValueError, match="at least 16 pixels"):
        shapes(conv.ConvNet(8), size=8)
