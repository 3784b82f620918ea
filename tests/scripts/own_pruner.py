"""A pruner of one's own: scores begin at |w| and learn, and per tensor the largest ones stay."""

import jax
import jax.numpy as jnp

import lth_jax


def init(key, weights):
    chosen = lth_jax.edge_popup().init(key, weights)  # None where nothing is pruned
    return jax.tree.map(lambda w, s: None if s is None else jnp.abs(w), weights, chosen)


def subnetwork(key, weights, scores, kept, state=None):
    return lth_jax.straight_through(weights, scores, lth_jax.tree_topk_mask(scores, kept))


if __name__ == "__main__":
    mask = lambda scores, kept, state=None: lth_jax.tree_topk_mask(scores, kept)  # noqa: E731
    pruner = lth_jax.Pruner("magnitude", "tensor", init, subnetwork, mask)
    train = lth_jax.TrainConfig(perturb_epochs=1, prune_epochs=1, prune_lr=0.01)
    study = lth_jax.Study("lenet", "digits", pruner, train, out="runs/own_pruner")
    print(study.run(["prune", "joint"], seeds=[0, 1], eps=[0.02], sparsity=[0.5]).table())
