"""The convolution for loops equals lax's in value and gradients."""

import functools

import draws
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import quick

from lth_jax.models import convolution

LAYOUT = ("NHWC", "HWIO", "NHWC")


def probe(convolve, x, kernel, *args):
    """Value and both gradients of a nonlinear function of a convolution."""

    @jax.jit
    def run(x, kernel):
        def scalar(x, kernel):
            y = convolve(x, kernel, *args, dimension_numbers=LAYOUT)
            return jnp.sum(jnp.sin(y)), y

        return jax.value_and_grad(scalar, (0, 1), has_aux=True)(x, kernel)

    return run(x, kernel)


def assert_close(found, expected, tolerance=1e-5):
    """Relative to the largest entry: sums of float32 in another order differ by that much."""

    def check(a, b):
        a, b = np.asarray(a), np.asarray(b)
        assert a.shape == b.shape
        assert np.max(np.abs(a - b)) <= tolerance * np.max(np.abs(b))

    jax.tree.map(check, found, expected)


def is_ours(run, *args):
    return "custom_vjp" in str(jax.make_jaxpr(run)(*args))


@pytest.fixture
def operands():
    return draws.normal(0, (2, 9, 8, 3), (3, 3, 3, 4))


CASES = [
    ((1, 1), "SAME", (3, 3)),
    ((2, 3), "SAME", (3, 2)),
    ((2, 2), "VALID", (3, 3)),
    ((3, 2), "VALID", (3, 3)),
    ((1, 2), ((3, 0), (0, 4)), (5, 3)),
    ((2, 2), "SAME", (1, 1)),
    ((1, 1), ((5, 4), (3, 6)), (3, 3)),
    ((1, 1), ((-1, 0), (1, 1)), (3, 3)),
]


@pytest.mark.parametrize(("strides", "padding", "window"), quick.first(5, CASES))
def test_value_and_gradients_equal_lax(strides, padding, window):
    x, kernel = draws.normal(0, (2, 9, 8, 3), (*window, 3, 4))

    def ours(*args, **kwargs):
        return convolution.conv_general_dilated(*args, **kwargs, backend="cpu")

    found = probe(ours, x, kernel, strides, padding)
    expected = probe(jax.lax.conv_general_dilated, x, kernel, strides, padding)
    assert_close(found, expected)


def test_gradients_equal_a_sum_over_pixels_in_float64(operands):
    x, kernel = (np.float64(a) for a in operands)

    def loss(x, kernel):
        return jnp.sum(
            convolution.conv_general_dilated(
                x, kernel, (1, 1), "VALID", dimension_numbers=LAYOUT, backend="cpu"
            )
            ** 2
        )

    to_x, to_kernel = jax.jit(jax.grad(loss, (0, 1)))(*operands)
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), (1, 2))  # n h w i kh kw
    cotangent = 2 * np.einsum("nhwikl,klio->nhwo", windows, kernel)
    assert_close(to_kernel, np.einsum("nhwikl,nhwo->klio", windows, cotangent))
    expected = np.zeros_like(x)
    for i in range(3):
        for j in range(3):
            expected[:, i : i + 7, j : j + 6] += cotangent @ kernel[i, j].T
    assert_close(to_x, expected)


def test_only_cpu_takes_the_gradients_written_here(operands):
    def run(backend):
        def convolve(x, kernel):
            return convolution.conv_general_dilated(
                x, kernel, (1, 1), "SAME", dimension_numbers=LAYOUT, backend=backend
            )

        return convolve

    assert is_ours(run("cpu"), *operands)
    for backend in ("gpu", "tpu"):
        assert not is_ours(run(backend), *operands)
        assert_close(run(backend)(*operands), run("cpu")(*operands))


@jax.jit
@functools.partial(jax.grad, argnums=(0, 1))
def gradient_of_same(x, kernel):
    y = convolution.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=LAYOUT, backend="cpu"
    )
    return jnp.sum(jnp.sin(y))


@pytest.mark.parametrize("axes", [(0, 0), (0, None), (None, 0)])
def test_vmap_equals_one_at_a_time(axes):
    shapes = [(2, 6, 6, 3), (3, 3, 3, 4)]
    pairs = zip(shapes, axes, strict=True)
    drawn = draws.normal(0, *(shape if axis is None else (3, *shape) for shape, axis in pairs))
    x, kernel = map(np.asarray, drawn)
    found = jax.tree.map(np.asarray, jax.jit(jax.vmap(gradient_of_same, axes))(x, kernel))
    for lane in range(3):
        one = [a if axis is None else a[lane] for a, axis in zip((x, kernel), axes, strict=True)]
        assert_close(jax.tree.map(lambda a, lane=lane: a[lane], found), gradient_of_same(*one))


def test_dilation_groups_and_other_ranks_go_to_lax():
    x, kernel = jnp.ones((1, 6, 6, 4)), jnp.ones((3, 3, 2, 4))
    grouped = convolution.conv_general_dilated(
        x, kernel, (1, 1), "SAME", None, (2, 2), LAYOUT, feature_group_count=2
    )
    expected = jax.lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", None, (2, 2), LAYOUT, feature_group_count=2
    )
    np.testing.assert_array_equal(grouped, expected)


class Plain(nn.Module):
    """A user's own network that never heard of loops: strided, padded, with biases."""

    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Conv(4, (3, 3), strides=2)(x))
        x = nn.Conv(3, (3, 3), padding="CIRCULAR")(x)
        return nn.Conv(2, (2, 2), padding="VALID", feature_group_count=1)(x)


class HasSetup(nn.Module):
    """The other style of flax.linen, with a convolution handed in from outside."""

    conv: nn.Module

    def __call__(self, x):
        return self.conv(self.conv(x))


@pytest.mark.parametrize(
    "module", [Plain(), HasSetup(nn.Conv(3, (3, 3)))], ids=["compact", "field"]
)
def test_a_plain_flax_model_gets_the_convolution_and_keeps_its_numbers(module, key):
    (x,) = draws.normal(0, (2, 8, 8, 3))
    leaves, treedef = jax.tree.flatten(jax.eval_shape(module.init, key, x))
    variables = treedef.unflatten(draws.normal(1, *(leaf.shape for leaf in leaves)))

    def plain(variables, x):
        return module.apply(variables, x)

    def fast(variables, x):
        with convolution.fast_convolutions("cpu"):
            return module.apply(variables, x)

    assert is_ours(fast, variables, x) and not is_ours(plain, variables, x)

    def gradient(f):
        return jax.jit(jax.grad(lambda *args: jnp.sum(jnp.sin(f(*args))), (0, 1)))(variables, x)

    assert_close(gradient(fast), gradient(plain))
    assert not is_ours(plain, variables, x)  # Nothing is left behind in the module.


def test_a_bound_module_is_left_as_it_was():
    x = jnp.ones((1, 4, 4, 3))
    params = {"kernel": jnp.ones((3, 3, 3, 2)), "bias": jnp.ones(2)}
    bound = nn.Conv(2, (3, 3)).bind({"params": params})
    with convolution.fast_convolutions("cpu"):
        assert is_ours(bound, x)
    assert not is_ours(bound, x)


def test_a_convolution_that_the_user_chose_is_kept(key):
    calls = []

    def chosen(*args, **kwargs):
        calls.append(args)
        return jax.lax.conv_general_dilated(*args, **kwargs)

    module = nn.Conv(2, (3, 3), conv_general_dilated=chosen)
    with convolution.fast_convolutions("cpu"):
        jax.eval_shape(module.init, key, jnp.ones((1, 4, 4, 3)))
    assert calls


@pytest.mark.slow
@pytest.mark.parametrize("padding", ["SAME", "VALID", ((2, 0), (1, 3))])
@pytest.mark.parametrize(("channels", "kernel"), [((16, 24), (3, 3)), ((17, 8), (2, 3))])
def test_gradients_with_many_channels_equal_those_of_lax(padding, channels, kernel):
    # From 16 input channels on the kernel's gradient is a product of matrices.
    inward, outward = channels
    sizes = (3, 9, 7, inward), (*kernel, inward, outward), (3, 12, 12, outward)
    x, w, g = draws.normal(5, *sizes)
    layout = ("NHWC", "HWIO", "NHWC")

    def value(function, **options):
        def scalar(x, w, g):
            out = function(x, w, (1, 1), padding, dimension_numbers=layout, **options)
            return jnp.vdot(out, g[:, : out.shape[1], : out.shape[2]])

        return jax.jit(jax.grad(scalar, (0, 1)))

    ours = value(convolution.conv_general_dilated, backend="cpu")(x, w, g)
    theirs = value(jax.lax.conv_general_dilated)(x, w, g)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5 * np.max(np.abs(b)))


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_a_kernel_gradient_in_16_bits_is_summed_in_32(dtype):
    # 64 parts of 16,384 terms of about 1/16,384 each: sums in 16 bits would stop growing.
    images, kernel = jnp.ones((512, 16, 16, 64), dtype), jnp.ones((1, 1, 64, 4), dtype)

    @jax.jit
    def gradient(kernel):
        def loss(kernel):
            out = convolution.conv_general_dilated(
                images, kernel, (1, 1), "VALID", dimension_numbers=LAYOUT, backend="cpu"
            )
            return jnp.sum(out.astype(jnp.float32)) / images[..., 0].size

        return jax.grad(loss)(kernel)

    np.testing.assert_allclose(np.float32(gradient(kernel)), 1, rtol=0.01)


@pytest.mark.parametrize(
    ("shape", "pads"),
    [((0, 8, 8, 16), "SAME"), ((2, 2, 2, 16), "VALID"), ((2, 2, 2, 3), "VALID")],
)
def test_where_nothing_is_to_convolve_it_is_lax(shape, pads):
    images, kernel = jnp.ones(shape), jnp.ones((3, 3, shape[3], 16))

    def both(convolve, **backend):
        def loss(images, kernel):
            out = convolve(images, kernel, (1, 1), pads, dimension_numbers=LAYOUT, **backend)
            return jnp.sum(out), out

        return jax.jit(jax.grad(loss, (0, 1), has_aux=True))(images, kernel)

    found = both(convolution.conv_general_dilated, backend="cpu")
    jax.tree.map(np.testing.assert_array_equal, found, both(jax.lax.conv_general_dilated))


def test_cropping_reads_nothing_beyond_the_image():
    (images,), pads = draws.normal(0, (1, 5, 5, 3)), ((-2, 1), (0, -2))
    kernel = jnp.ones((3, 3, 3, 2))
    found = convolution.conv_general_dilated(
        images, kernel, (1, 1), pads, dimension_numbers=LAYOUT, backend="cpu"
    )
    cropped = np.pad(np.asarray(images)[:, 2:, :-2], ((0, 0), (0, 1), (0, 0), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(cropped, (3, 3), (1, 2))
    expected = windows.sum(axis=(3, 4, 5))[..., None].repeat(2, -1)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
