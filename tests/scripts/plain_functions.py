"""A model of two plain functions, with weights in a dictionary and no framework."""

import jax
import jax.numpy as jnp

import lth_jax


def init(key):
    key_hidden, key_last = jax.random.split(key)
    hidden, last = jax.random.normal(key_hidden, (64, 48)), jax.random.normal(key_last, (48, 10))
    return {"hidden": hidden / 64**0.5, "last": last / 48**0.5}, {}  # weights, no other state


def apply(weights, state, x, train=False):
    hidden = jnp.maximum(x.reshape(len(x), -1) @ weights["hidden"], 0)
    return hidden @ weights["last"], state


if __name__ == "__main__":
    train = lth_jax.TrainConfig(perturb_epochs=2, prune_epochs=2, perturb_lr=0.05)
    model = lth_jax.Model(init, apply, name="two_layers")
    study = lth_jax.Study(model, "digits", train=train, out="runs/plain_functions")
    print(study.run(["prune", "joint"], seeds=[0, 1], eps=[0.05], sparsity=[0.5]).table())
