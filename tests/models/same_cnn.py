"""One small convolutional net with BatchNorm and Dropout, in flax.linen, flax.nnx and equinox."""

import functools

import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import nnx

from lth_jax import models

LIBRARIES = ("linen", "nnx", "equinox")
# The names of the same leaves; equinox has them by attributes, and otherwise laid out.
NAMES = {
    "linen": ("Conv_0", "BatchNorm_0", "Dense_0"),
    "nnx": ("conv", "norm", "dense"),
    "equinox": ("conv", "norm", "dense"),
}


class Linen(nn.Module):
    rate: float

    @nn.compact
    def __call__(self, x, train=False):
        x = nn.Conv(6, (3, 3))(x)
        x = nn.relu(nn.BatchNorm(use_running_average=not train)(x))
        x = nn.Dropout(self.rate, deterministic=not train)(x.mean((1, 2)))
        return nn.Dense(10)(x)


class Nnx(nnx.Module):
    def __init__(self, rate, rngs):
        self.conv = nnx.Conv(1, 6, (3, 3), rngs=rngs)
        self.norm = nnx.BatchNorm(6, rngs=rngs)
        self.dropout = nnx.Dropout(rate, rngs=rngs)
        self.dense = nnx.Linear(6, 10, rngs=rngs)

    def __call__(self, x):
        x = nnx.relu(self.norm(self.conv(x))).mean((1, 2))
        return self.dense(self.dropout(x))


class Equinox(eqx.Module):
    conv: eqx.nn.Conv2d
    norm: eqx.nn.BatchNorm
    dropout: eqx.nn.Dropout
    dense: eqx.nn.Linear

    def __init__(self, rate, key, mode="batch"):
        key_conv, key_dense = jax.random.split(key)
        self.conv = eqx.nn.Conv2d(1, 6, 3, padding=1, key=key_conv)
        self.norm = eqx.nn.BatchNorm(6, "batch", mode=mode)
        self.dropout = eqx.nn.Dropout(rate)
        self.dense = eqx.nn.Linear(6, 10, key=key_dense)

    def __call__(self, x, state, key=None):
        x, state = self.norm(self.conv(x.transpose(2, 0, 1)), state)
        x = self.dropout(jax.nn.relu(x).mean((1, 2)), key=key)
        return self.dense(x), state


@functools.cache  # The very same functions each time, so that what is jitted is jitted once.
def model(library, rate=0.0):
    if library == "linen":
        return models.from_flax(Linen(rate), jax.ShapeDtypeStruct((1, 8, 8, 1), jnp.float32))
    if library == "nnx":
        return models.from_nnx(functools.partial(Nnx, rate))
    return models.from_equinox(functools.partial(Equinox, rate))


def weights_of(library, linen):
    """The weights of the linen net, or a tree like them with None, as another library has them."""
    conv, norm, dense = (linen[name] for name in NAMES["linen"])
    if library == "equinox":
        conv = {"weight": _move(conv["kernel"], (3, 2, 0, 1)), "bias": conv["bias"]}
        if conv["bias"] is not None:
            conv["bias"] = conv["bias"].reshape(-1, 1, 1)
        norm = {"weight": norm["scale"], "bias": norm["bias"]}
        dense = {"weight": _move(dense["kernel"], (1, 0)), "bias": dense["bias"]}
    return dict(zip(NAMES[library], (conv, norm, dense), strict=True))


def _move(leaf, axes):
    return None if leaf is None else leaf.transpose(axes)


def statistics_of(library, state):
    """Running mean and variance."""
    if library == "equinox":
        (name,) = (name for name in state if "batch_state" in name)
        return state[name]["0"], state[name]["1"]
    where = state["batch_stats"]["BatchNorm_0"] if library == "linen" else state["norm"]
    return where["mean"], where["var"]
