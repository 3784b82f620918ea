"""A module of equinox, with BatchNorm and Dropout."""

import equinox as eqx
import jax

import lth_jax


def make(key):
    keys = jax.random.split(key)
    layers = [
        eqx.nn.Lambda(jax.numpy.ravel),
        eqx.nn.Linear(64, 32, key=keys[0]),
        eqx.nn.BatchNorm(32, "batch", mode="batch"),
        eqx.nn.Lambda(jax.nn.relu),
        eqx.nn.Dropout(0.2),
        eqx.nn.Linear(32, 10, key=keys[1]),
    ]
    return eqx.nn.Sequential(layers)


study = lth_jax.Study(lth_jax.from_equinox(make), "digits", out="runs/equinox")
print(study.run(["prune", "joint"], seeds=range(2), eps=[0.02], sparsity=[0.5]).table())
