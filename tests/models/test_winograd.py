"""Winograd's convolution is the convolution: exactly on whole numbers, closely on float32."""

import functools

import draws
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lth_jax.models import convolution, winograd

LAYOUT = ("NHWC", "HWIO", "NHWC")
CASES = [
    ((3, 8, 6), ((1, 1), (1, 1))),
    ((2, 7, 9), ((1, 1), (1, 1))),
    ((1, 5, 4), ((0, 0), (0, 0))),
    ((4, 6, 6), ((3, 0), (0, 4))),
    ((2, 9, 8), ((-1, 0), (1, -2))),
    ((2, 3, 3), ((0, 0), (0, 0))),
]


def reference(images, kernel, pads):
    return jax.lax.conv_general_dilated(images, kernel, (1, 1), pads, dimension_numbers=LAYOUT)


@functools.cache
def whole_numbers(sizes, pads):
    """Images, kernel and cotangent, and what lax makes of them: value and kernel's gradient."""
    random = np.random.default_rng(0)
    n, h, w = sizes
    convolve = functools.partial(reference, pads=pads)

    def draw(*shape):
        return jnp.asarray(random.integers(-8, 9, shape).astype(np.float32))

    images, kernel = draw(n, h, w, 5), draw(3, 3, 5, 6)
    cotangent = draw(*jax.eval_shape(convolve, images, kernel).shape)

    @jax.jit
    def by_lax(images, kernel, cotangent):
        value, pull_back = jax.vjp(lambda kernel: convolve(images, kernel), kernel)
        return value, *pull_back(cotangent)

    given = images, kernel, cotangent
    return given, by_lax(*given)


@pytest.fixture(params=[winograd._MOST, 1], ids=["at once", "image by image"])
def most(request, monkeypatch):
    monkeypatch.setattr(winograd, "_MOST", request.param)


@pytest.mark.slow
@pytest.mark.parametrize(("sizes", "pads"), CASES)
def test_whole_numbers_give_the_very_same_sums(sizes, pads, most):
    # Halves and quarters of small whole numbers and all their sums are float32: nothing rounds.
    given, expected = whole_numbers(sizes, pads)

    @jax.jit  # Of a new function: what was traced with another `most` would be taken again.
    def ours(images, kernel, cotangent):
        value = winograd.convolve(images, kernel, pads)
        return value, winograd.kernel_gradient(images, cotangent, pads)

    for found, theirs in zip(ours(*given), expected, strict=True):
        np.testing.assert_array_equal(found, theirs)


def test_float32_comes_as_near_the_exact_sums_as_lax():
    images, kernel = draws.normal(0, (4, 16, 16, 64), (3, 3, 64, 64))
    pads = ((1, 1), (1, 1))
    with jax.enable_x64(True):
        exact = np.asarray(reference(*(np.float64(a) for a in (images, kernel)), pads))

    def error(found):
        return np.max(np.abs(np.float64(found) - exact)) / np.max(np.abs(exact))

    # Measured 3e-7 against 1e-6 of the largest entry; the sum order of either may change.
    found = jax.jit(winograd.convolve, static_argnums=2)(images, kernel, pads)
    assert error(found) <= 2e-6
    assert error(reference(images, kernel, pads)) <= 2e-6


@pytest.mark.parametrize(
    ("shape", "strides", "dtype", "expected"),
    [
        ((3, 3, 16, 16), (1, 1), jnp.float32, True),
        ((3, 3, 64, 128), (1, 1), jnp.float64, True),
        ((3, 3, 3, 64), (1, 1), jnp.float32, False),
        ((3, 3, 64, 64), (2, 1), jnp.float32, False),
        ((5, 3, 64, 64), (1, 1), jnp.float32, False),
        ((3, 3, 64, 64), (1, 1), jnp.bfloat16, False),
    ],
)
def test_only_what_gains_without_losing_digits_goes_this_way(shape, strides, dtype, expected):
    images = jax.ShapeDtypeStruct((2, 8, 8, shape[2]), dtype)
    assert winograd.fits(images, shape, strides) == expected


@pytest.mark.slow
def test_the_convolution_for_loops_takes_this_way_and_equals_lax():
    images, kernel = draws.normal(0, (2, 7, 6, 16), (3, 3, 16, 16))

    def gradients(convolve, **backend):
        def loss(images, kernel):
            out = convolve(images, kernel, (1, 1), "SAME", dimension_numbers=LAYOUT, **backend)
            return jnp.sum(jnp.sin(out))

        return jax.grad(loss, (0, 1))

    ours = gradients(convolution.conv_general_dilated, backend="cpu")
    text = str(jax.make_jaxpr(ours)(images, kernel))
    assert text.count("dot_general") == 3 * 16 + 2 and "conv_general_dilated" not in text
    expected = jax.jit(gradients(jax.lax.conv_general_dilated))(images, kernel)
    both = jax.device_get((jax.jit(ours)(images, kernel), expected))
    for found, other in zip(*both, strict=True):
        # Sums of float32 in another order differ by that much.
        assert np.max(np.abs(found - other)) <= 1e-5 * np.max(np.abs(other))
