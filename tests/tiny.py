"""A problem small enough for tests: 128 digits, 16 hidden units, 1 + 2 epochs of 4 steps."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from lth_jax import datasets, pruners, training
from lth_jax.models import linen
from lth_jax.models.networks import mlp
from lth_jax.sweep import plan
from lth_jax.training import methods

CONFIG = training.TrainConfig(
    perturb_epochs=1, prune_epochs=2, batch_size=32, perturb_lr=0.05, prune_lr=0.5
)
EPS, SPARSITY = (0.0, 0.01, 0.03), (0.5, 0.75)


@functools.cache
def dataset(train_size=128):
    return datasets.load("digits", train_size=train_size)


@functools.cache
def noisy_edge_popup(scope="tensor"):
    """Edge-popup whose scores take a random step of their own: resuming it needs the right keys."""
    base = pruners.edge_popup(scope)

    def after_step(key, step, weights, scores, kept, state):
        leaves, treedef = jax.tree.flatten(scores)
        keys = jax.random.split(key, len(leaves) + 1)
        pairs = zip(leaves, keys[1:], strict=True)
        shaken = [s + 0.01 * jax.random.normal(k, s.shape) for s, k in pairs]
        scores = treedef.unflatten(shaken)
        return base.after_step(keys[0], step, weights, scores, kept, state)

    return base._replace(after_step=after_step)


SIZES = (64 * 16, 16 * 10)


@functools.cache  # The very same functions each time, so that what is jitted is jitted once.
def problem(config=CONFIG, pruner=None):
    image = jax.ShapeDtypeStruct((1, 8, 8, 1), jnp.float32)
    model = linen.from_flax(mlp.MLP((16, 10)), image)
    return training.Problem(model, pruner or pruners.edge_popup(), config)


class Net(nn.Module):
    """A model of the user's own, with biases, which are not pruned."""

    slope: float = 0.0

    @nn.compact
    def __call__(self, x):
        x = nn.leaky_relu(nn.Dense(16)(x.reshape(len(x), -1)), self.slope)
        return nn.Dense(10)(x)


@functools.cache
def own_model(slope=0.0):
    return linen.from_flax(Net(slope), jnp.zeros((1, 8, 8, 1)))


def all_lanes(seeds=(0, 1, 2)):
    return plan.lanes(list(methods.METHODS), EPS, SPARSITY, seeds)


def assert_same_bits(ours, theirs):
    """Trees of equal structure, shapes and bits."""
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


def largest_difference(ours, theirs):
    ours, theirs = jax.device_get((ours, theirs))
    differences = jax.tree.map(lambda a, b: np.max(np.abs(a - b)), ours, theirs)
    return max(float(d) for d in jax.tree.leaves(differences))
