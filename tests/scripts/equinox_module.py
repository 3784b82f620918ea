"""A module of equinox, with BatchNorm and Dropout."""

import equinox as eqx
import jax

import lth_jax


class Net(eqx.Module):
    layers: tuple

    def __init__(self, key):
        keys = jax.random.split(key)
        norm = eqx.nn.BatchNorm(32, "batch", mode="batch")
        self.layers = eqx.nn.Linear(64, 32, key=keys[0]), norm, eqx.nn.Linear(32, 10, key=keys[1])

    def __call__(self, x, state, key):
        x, state = self.layers[1](self.layers[0](x.reshape(-1)), state)
        return self.layers[2](eqx.nn.Dropout(0.2)(jax.nn.relu(x), key=key)), state


train = lth_jax.TrainConfig(perturb_epochs=1, prune_epochs=2, batch_size=128)
study = lth_jax.Study(lth_jax.from_equinox(Net), "digits", train=train, out="runs/equinox")
print(study.run(["prune", "joint"], seeds=range(2), eps=[0.02], sparsity=[0.5]).table())
