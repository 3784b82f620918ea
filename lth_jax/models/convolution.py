"""Convolution and pooling whose gradients stay fast inside scan, fori_loop and map on a CPU.

Inside a loop body XLA's CPU backend has a fast path only for channels-last convolutions in
canonical layout (NHWC images, HWIO kernels); the two backward convolutions that autodiff writes
are not, and run some 60 times slower (jax-ml/jax issue 12868). Here that of the images is a
canonical convolution with the flipped kernel, that of the kernel a matrix product, and 3×3 windows
of stride 1 go by winograd.py in all three. Accelerators keep `lax.conv_general_dilated`, which
compiles well there and batches under vmap. Which one it is, is settled when a program is lowered,
by the platform that it is lowered for, not by the machine that traces it.
"""

import contextlib
import contextvars
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from lth_jax.models import winograd

_LAYOUT = ("NHWC", "HWIO", "NHWC")
# Entries that are shifted at once: 2 images of 32×32 pixels and 64 channels.
_MOST = 2**17

_plain = contextvars.ContextVar("_plain", default=False)

Pads = tuple[tuple[int, int], tuple[int, int]]
Strides = tuple[int, int]
Pair = tuple[jax.Array, jax.Array]


def conv_general_dilated(
    lhs: jax.Array,
    rhs: jax.Array,
    window_strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
    feature_group_count: int = 1,
    batch_group_count: int = 1,
    precision: Any = None,
    preferred_element_type: Any = None,
    *,
    backend: str | None = None,
) -> jax.Array:
    """`lax.conv_general_dilated`, with gradients that are fast in loops on a CPU.

    Value and both gradients equal lax's up to the order of summation: float32 within 1e-5 of the
    largest entry. It has reverse-mode derivatives only (jax.grad, not jax.jvp). On a CPU entries
    beyond 1e37 may overflow, and an infinity may come out as NaN (see winograd.py). Inside a
    jax.shard_map that checks its varying axes it is lax's, slow gradients included: pass
    check_vma=False.
    Fits `flax.linen.Conv(..., conv_general_dilated=convolution.conv_general_dilated)`.

    Args:
        lhs: [n, h, w, i] images.
        rhs: [kh, kw, i, o] kernel.
        window_strides: (along h, along w).
        padding: "SAME", "VALID", or ((top, bottom), (left, right)).
        lhs_dilation, rhs_dilation, dimension_numbers, feature_group_count, batch_group_count,
            precision, preferred_element_type: As in lax. Anything but a plain two-dimensional
            channels-last convolution (dilation, groups, other layouts, nothing to convolve) is
            handed to lax unchanged.
        backend: "cpu" for the gradients written here, any other name for lax's; None takes those
            written here where the program is lowered for a CPU, and lax's elsewhere.

    Returns:
        [n, h', w', o].
    """
    plain = (
        lhs.ndim == 4
        and all(d == 1 for d in (*(lhs_dilation or ()), *(rhs_dilation or ())))
        and feature_group_count == batch_group_count == 1
        and preferred_element_type is None
        and lhs.dtype == rhs.dtype
        and 0 not in lhs.shape + rhs.shape
        and lhs.shape[3] == rhs.shape[2]
        and not any(getattr(jax.typeof(operand), "vma", None) for operand in (lhs, rhs))
        and dimension_numbers is not None
        and lax.conv_dimension_numbers(lhs.shape, rhs.shape, dimension_numbers)
        == lax.conv_dimension_numbers(lhs.shape, rhs.shape, _LAYOUT)
    )

    def to_lax() -> jax.Array:
        return lax.conv_general_dilated(
            lhs,
            rhs,
            window_strides,
            padding,
            lhs_dilation,
            rhs_dilation,
            dimension_numbers,
            feature_group_count,
            batch_group_count,
            precision,
            preferred_element_type,
        )

    if not plain or _plain.get() or backend not in (None, "cpu"):
        return to_lax()
    along_h, along_w = window_strides
    strides = int(along_h), int(along_w)
    if isinstance(padding, str):
        padding = lax.padtype_to_pads(lhs.shape[1:3], rhs.shape[:2], strides, padding)
    if len(padding) != 2 or 0 in _output(lhs.shape, rhs.shape, strides, padding):
        return to_lax()
    rows, columns = ((int(low), int(high)) for low, high in padding)
    return _conv(lhs, rhs, _Static(strides, (rows, columns), precision, always=backend == "cpu"))


class _Static(NamedTuple):
    """What is known of a convolution while it is traced."""

    strides: Strides
    pads: Pads
    precision: Any
    always: bool  # whether this module's are taken on every platform


def _output(
    images: Sequence[int], kernel: Sequence[int], strides: Strides, pads: Sequence[tuple[int, int]]
) -> list[int]:
    """Height and width of the result."""
    return [
        max(0, (size + low + high - window) // stride + 1)
        for size, window, stride, (low, high) in zip(
            images[1:3], kernel[:2], strides, pads, strict=True
        )
    ]


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _conv(images: jax.Array, kernel: jax.Array, static: _Static) -> jax.Array:
    found: jax.Array = _by_platform(static, _value, _lax_value, images, kernel)
    return found


def _forward(images: jax.Array, kernel: jax.Array, static: _Static) -> tuple[jax.Array, Pair]:
    return _conv(images, kernel, static), (images, kernel)


def _backward(static: _Static, residuals: Pair, cotangent: jax.Array) -> Pair:
    found: Pair = _by_platform(static, _gradients, _lax_gradients, *residuals, cotangent)
    return found


_conv.defvjp(_forward, _backward)


def _by_platform(
    static: _Static,
    ours: Callable[..., Any],
    theirs: Callable[..., Any],
    *operands: jax.Array,
) -> Any:
    """`ours` in a program for a CPU, `theirs` in one for anything else."""
    if static.always:
        return ours(*operands, static)
    return lax.platform_dependent(
        *operands,
        cpu=lambda *operands: ours(*operands, static),
        default=lambda *operands: theirs(*operands, static),
    )


def _lax_value(images: jax.Array, kernel: jax.Array, static: _Static) -> jax.Array:
    return lax.conv_general_dilated(
        images,
        kernel,
        static.strides,
        static.pads,
        dimension_numbers=_LAYOUT,
        precision=static.precision,
    )


def _lax_gradients(
    images: jax.Array, kernel: jax.Array, cotangent: jax.Array, static: _Static
) -> Pair:
    _, pull_back = jax.vjp(functools.partial(_lax_value, static=static), images, kernel)
    found: Pair = pull_back(cotangent)
    return found


def _value(images: jax.Array, kernel: jax.Array, static: _Static) -> jax.Array:
    strides, pads, precision, _ = static
    if winograd.fits(images, kernel.shape, strides):
        return winograd.convolve(images, kernel, pads, precision)
    return _canonical(images, kernel, pads, precision, strides=strides)


def _gradients(images: jax.Array, kernel: jax.Array, cotangent: jax.Array, static: _Static) -> Pair:
    strides, pads, precision, _ = static
    lengths = list(
        zip(images.shape[1:3], kernel.shape[:2], cotangent.shape[1:3], strides, pads, strict=True)
    )
    # The cotangent with stride - 1 zeros between its entries covers (c - 1) * stride + 1 pixels.
    rows, columns = (
        (k - 1 - low, h + low - ((c - 1) * stride + 1)) for h, k, c, stride, (low, _) in lengths
    )
    image_pads = rows, columns
    flipped = jnp.flip(kernel, (0, 1)).swapaxes(2, 3)
    if winograd.fits(images, kernel.shape, strides):
        to_images = winograd.convolve(cotangent, flipped, image_pads, precision)
        return to_images, winograd.kernel_gradient(images, cotangent, pads, precision)
    to_images = _canonical(cotangent, flipped, image_pads, precision, lhs_dilation=strides)
    return to_images, _to_kernel(images, cotangent, kernel.shape, strides, pads, precision)


def _to_kernel(
    images: jax.Array,
    cotangent: jax.Array,
    shape: tuple[int, ...],
    strides: Strides,
    pads: Pads,
    precision: Any,
) -> jax.Array:
    """The kernel's gradient as matrix products: the pixels around each output times its cotangent.

    A few images at a time, so that the pixels around stay in a core's cache, and written one shift
    after the other into one buffer: a concatenation copies each of them twice. A convolution with
    a kernel as large as the image takes two to four times as long.
    """
    height, width, i, o = shape
    n, h, w, _ = cotangent.shape
    taps = height * width
    part = max(d for d in range(1, n + 1) if n % d == 0 and (d == 1 or d * h * w * i <= _MOST))

    def add(carry: Pair, pair: Pair) -> tuple[Pair, None]:
        total, around = carry
        images, cotangent = pair
        zero = jnp.zeros((), images.dtype)
        padded = lax.pad(images, zero, ((0, 0, 0), (*pads[0], 0), (*pads[1], 0), (0, 0, 0)))
        for tap in range(taps):
            y, x = divmod(tap, width)
            rows = slice(y, y + (h - 1) * strides[0] + 1, strides[0])
            columns = slice(x, x + (w - 1) * strides[1] + 1, strides[1])
            around = lax.dynamic_update_slice_in_dim(around, padded[:, rows, columns], tap * i, 3)
        # XLA's transposed products are fastest with the smaller side on the left.
        sides = around.reshape(-1, taps * i), cotangent.reshape(-1, o)
        left, right = sides if taps * i < o else sides[::-1]
        product = lax.dot_general(
            left, right, (((0,), (0,)), ((), ())), precision, preferred_element_type=wide
        )
        return (total + product, around), None

    parts = jax.tree.map(lambda a: a.reshape(-1, part, *a.shape[1:]), (images, cotangent))
    # 16 bits are too few for a sum over many images.
    wide = jnp.promote_types(images.dtype, jnp.float32)
    total = jnp.zeros((taps * i, o) if taps * i < o else (o, taps * i), wide)
    around = jnp.zeros((part, h, w, taps * i), images.dtype)
    (total, _), _ = lax.scan(add, (total, around), parts)
    return (total if taps * i < o else total.T).reshape(shape).astype(images.dtype)


def _canonical(
    images: jax.Array,
    kernel: jax.Array,
    pads: Sequence[tuple[int, int]],
    precision: Any,
    strides: Strides = (1, 1),
    lhs_dilation: Strides = (1, 1),
) -> jax.Array:
    if lhs_dilation == (1, 1):
        # Cropped beforehand: XLA's CPU convolution reads beyond the image for some negative pads.
        crops = [(min(low, 0), min(high, 0), 0) for low, high in pads]
        images = lax.pad(images, jnp.zeros((), images.dtype), ((0, 0, 0), *crops, (0, 0, 0)))
        pads = [(max(low, 0), max(high, 0)) for low, high in pads]
    return lax.conv_general_dilated(
        images,
        kernel,
        strides,
        pads,
        lhs_dilation=lhs_dilation,
        dimension_numbers=_LAYOUT,
        precision=precision,
    )


@contextlib.contextmanager
def fast_convolutions(backend: str | None = None) -> Iterator[None]:
    """Within it every plain `flax.linen.Conv` uses `conv_general_dilated` of this module.

    For models written without a thought of loops; a Conv that names a convolution of its own keeps
    it. `models.from_flax` applies modules within it.

    Args:
        backend: As in `conv_general_dilated`.
    """
    convolve = functools.partial(conv_general_dilated, backend=backend)

    def intercept(
        call: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        context: nn.module.InterceptorContext,
    ) -> Any:
        module = context.module
        ours = (
            isinstance(module, nn.Conv)
            and context.method_name == "__call__"
            and module.conv_general_dilated is None
            and module.conv_general_dilated_cls is None
        )
        if not ours:
            return call(*args, **kwargs)
        # Bound modules are frozen; the field is put back, so the user's module is left as it was.
        object.__setattr__(module, "conv_general_dilated", convolve)
        try:
            return call(*args, **kwargs)
        finally:
            object.__setattr__(module, "conv_general_dilated", None)

    with nn.intercept_methods(intercept):
        yield


@contextlib.contextmanager
def plain_convolutions() -> Iterator[None]:
    """Within it `conv_general_dilated` is lax's: for who reads a program and does not run it."""
    token = _plain.set(True)
    try:
        yield
    finally:
        _plain.reset(token)


def max_pool(images: jax.Array) -> jax.Array:
    """2×2 max-pooling with stride 2, the maximum of four slices; an odd last row or column drops.

    Its gradient is selects and adds, not XLA's slow select-and-scatter of reduce_window. Where
    entries of a window tie, each comparison (the two left, the two right, then left against
    right) shares the gradient in halves, so it always sums to the cotangent; XLA's reduce_window
    gives all of it to the first.

    Args:
        images: [n, h, w, c].

    Returns:
        [n, h // 2, w // 2, c].
    """
    h, w = (size // 2 * 2 for size in images.shape[1:3])
    corners = [images[:, i:h:2, j:w:2, :] for j in (0, 1) for i in (0, 1)]
    return jnp.maximum(jnp.maximum(corners[0], corners[1]), jnp.maximum(corners[2], corners[3]))
