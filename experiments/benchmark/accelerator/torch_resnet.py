"""ResNet-18 for small images as in PyTorch: batch norm without scale and bias."""

from collections.abc import Sequence
from typing import Any

_CHANNELS, _BLOCKS = (64, 128, 256, 512), 2


def shapes(width: float = 1) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
    """Kernels of convolutions, in the order in which they are used, and of the dense layer."""
    before = max(1, round(_CHANNELS[0] * width))
    convs: list[tuple[int, ...]] = [(before, 3, 3, 3)]
    for stage, wide in enumerate(_CHANNELS):
        channels = max(1, round(wide * width))
        for block in range(_BLOCKS):
            convs += [(channels, before, 3, 3), (channels, channels, 3, 3)]
            if _halves(stage, block):
                convs.append((channels, before, 1, 1))
            before = channels
    return convs, [(10, before)]


def _halves(stage: int, block: int) -> bool:
    return stage > 0 and block == 0


def features(nn: Any, kernels: Sequence[Any], x: Any) -> Any:
    """What the dense layer sees, [batch, channels]; running statistics are not kept.

    Args:
        nn: torch.nn.functional.
        kernels: As `shapes` has them.
        x: [batch, 3, h, w] images.
    """
    left = iter(kernels)

    def normed(x: Any, stride: int = 1) -> Any:
        kernel = next(left)
        x = nn.conv2d(x, kernel, stride=stride, padding=kernel.shape[-1] // 2)
        return nn.batch_norm(x, None, None, training=True)

    x = nn.relu(normed(x))
    for stage in range(len(_CHANNELS)):
        for block in range(_BLOCKS):
            stride = 2 if _halves(stage, block) else 1
            y = normed(nn.relu(normed(x, stride)))
            x = nn.relu((normed(x, stride) if stride > 1 else x) + y)
    return x.mean((2, 3))
