"""Conv-2 to Conv-8: small bias-free VGGs (Frankle & Carbin 2019), as edge-popup trains them."""

from collections.abc import Callable

import flax.linen as nn
import jax

from lth_jax.models import convolution, initializers

DEPTHS = (2, 4, 6, 8)
_FIRST_CHANNELS = 64
_DENSE = 256


class ConvNet(nn.Module):
    """Pairs of 3×3 convolutions, each pair followed by a pooling; then dense 256-256-classes.

    The pairs have 64, 128, 256 and 512 channels, of which Conv-k has the first k/2; ReLU everywhere
    but after the last layer. Parameters at 32×32×3, width 1: Conv-2 4,300,992, Conv-4 2,425,024,
    Conv-6 2,261,184, Conv-8 5,275,840. Kernels: Conv_0, Conv_1, …, Dense_0, Dense_1, Dense_2.

    Attributes:
        depth: 2, 4, 6 or 8, the number of convolutions.
        width: Factor of all channels and hidden units, rounded to the nearest whole number ≥ 1.
        classes: Number of logits.
        kernel_init: Initializer of every kernel.
        convolve: The convolution, as flax.linen.Conv takes it.
    """

    depth: int
    width: float = 1.0
    classes: int = 10
    kernel_init: jax.nn.initializers.Initializer = initializers.kaiming_normal
    convolve: Callable[..., jax.Array] = convolution.conv_general_dilated

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [b, h, w, c] images to [b, classes] logits.

        Raises:
            ValueError: If depth is not one of DEPTHS, width is not positive, or the images are too
                small for the poolings.
        """
        pairs = self.depth // 2
        if self.depth not in DEPTHS:
            raise ValueError(f"depth must be one of {DEPTHS}, got {self.depth}.")
        if not self.width > 0:
            raise ValueError(f"width must be positive, got {self.width}.")
        if x.ndim != 4:
            raise ValueError(f"Conv-{self.depth} needs images [h, w, c], got {x.shape[1:]}.")
        if min(x.shape[1:3]) < 2**pairs:
            raise ValueError(
                f"Conv-{self.depth} needs images of at least {2**pairs} pixels a side, "
                f"got {x.shape[1]}×{x.shape[2]}."
            )
        for pair in range(pairs):
            for _ in range(2):
                x = nn.relu(
                    nn.Conv(
                        self._scaled(_FIRST_CHANNELS * 2**pair),
                        (3, 3),
                        use_bias=False,
                        kernel_init=self.kernel_init,
                        conv_general_dilated=self.convolve,
                    )(x)
                )
            x = convolution.max_pool(x)
        x = x.reshape(len(x), -1)
        for _ in range(2):
            x = nn.relu(self._dense(self._scaled(_DENSE))(x))
        return self._dense(self.classes)(x)

    def _scaled(self, units: int) -> int:
        return max(1, round(units * self.width))

    @nn.nowrap
    def _dense(self, units: int) -> nn.Dense:
        return nn.Dense(units, use_bias=False, kernel_init=self.kernel_init)
