"""ResNet-20 and ResNet-18 for small images (He et al. 2016, 1512.03385), as edge-popup has them."""

import functools
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from lth_jax.models import initializers


class ResNet(nn.Module):
    """A 3×3 convolution, stages of residual blocks, the mean over all places, a dense layer.

    No biases; behind every convolution a BatchNorm without scale and bias, as a random network has
    nothing to train in them (Ramanujan et al. 2020). Each stage but the first halves the images in
    its first block. As in torch, statistics have a momentum of .9 and 1e-5 is added to variances;
    unlike there, running variances are of n, not of n - 1. Parameters at 32×32×3, width 1, 10
    classes: ResNet-20 268,336, ResNet-18 11,164,352.

    Attributes:
        channels: Of each stage.
        blocks: In each stage.
        projects: Whether a shortcut that changes shape is a 1×1 convolution with a norm; if not, it
            takes every other place and adds channels of zeros.
        width: Factor of all channels, rounded to the nearest whole number >= 1.
        classes: Number of logits.
        kernel_init: Initializer of every kernel.
    """

    channels: Sequence[int]
    blocks: int
    projects: bool
    width: float = 1.0
    classes: int = 10
    kernel_init: jax.nn.initializers.Initializer = initializers.kaiming_normal

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Maps [b, h, w, c] images to [b, classes] logits.

        Raises:
            ValueError: If width is not positive, or x are no images.
        """
        if not self.width > 0:
            raise ValueError(f"width must be positive, got {self.width}.")
        if x.ndim != 4:
            raise ValueError(f"a ResNet needs images [h, w, c], got {x.shape[1:]}.")
        widths = [max(1, round(channels * self.width)) for channels in self.channels]
        layers = _Layers(self.kernel_init, train)
        x = nn.relu(layers.norm()(layers.convolution(widths[0], 3, 1)(x)))
        for stage, channels in enumerate(widths):
            for block in range(self.blocks):
                stride = 2 if stage > 0 and block == 0 else 1
                x = Block(channels, stride, self.projects, self.kernel_init)(x, train)
        x = x.mean((1, 2))
        return nn.Dense(self.classes, use_bias=False, kernel_init=self.kernel_init)(x)


class Block(nn.Module):
    """Two 3×3 convolutions beside a shortcut; see ResNet for the attributes."""

    channels: int
    stride: int
    projects: bool
    kernel_init: jax.nn.initializers.Initializer

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Maps [b, h, w, c] to [b, h / stride, w / stride, channels], odd sides rounded up."""
        layers = _Layers(self.kernel_init, train)
        y = nn.relu(layers.norm()(layers.convolution(self.channels, 3, self.stride)(x)))
        y = layers.norm()(layers.convolution(self.channels, 3, 1)(y))
        if x.shape != y.shape and self.projects:
            x = layers.norm()(layers.convolution(self.channels, 1, self.stride)(x))
        elif x.shape != y.shape:
            x = x[:, :: self.stride, :: self.stride]
            more = self.channels - x.shape[-1]
            x = jnp.pad(x, ((0, 0), (0, 0), (0, 0), (more // 2, more - more // 2)))
        return nn.relu(x + y)


class _Layers:
    """What both modules are made of."""

    def __init__(self, kernel_init: jax.nn.initializers.Initializer, train: bool):
        self._kernel_init = kernel_init
        self.norm: Any = functools.partial(
            nn.BatchNorm,
            use_running_average=not train,
            momentum=0.9,
            epsilon=1e-5,
            use_bias=False,
            use_scale=False,
        )

    def convolution(self, channels: int, window: int, stride: int) -> nn.Conv:
        """Padded by half its window on every side, as torch does; flax's "SAME" would not."""
        return nn.Conv(
            channels,
            (window, window),
            strides=stride,
            padding=window // 2,
            use_bias=False,
            kernel_init=self._kernel_init,
        )


resnet20 = functools.partial(ResNet, (16, 32, 64), 3, False)
resnet18 = functools.partial(ResNet, (64, 128, 256, 512), 2, True)
