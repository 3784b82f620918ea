"""What tests of the construction compare with: networks run in plain NumPy."""

import numpy as np


def output(layers, x):
    """The network of `random_network.effective`: inputs [b, d] float64 -> [b, out]."""
    for index, layer in enumerate(layers):
        below = 0
        if index == 0 and layer.minus is not None:
            below = np.maximum(-x, 0) @ layer.minus.T
        x = np.maximum(x, 0) @ layer.plus.T + below
    return x
