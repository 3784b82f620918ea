"""Labels that are numbers: their loss, what counts as right, and that padding never does."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lth_jax
from lth_jax import datasets, training
from lth_jax.datasets import toys
from lth_jax.training import criteria, scoring


def test_losses_are_cross_entropy_or_mean_squares():
    rng = np.random.default_rng(0)
    outputs = rng.normal(0, 2, (7, 3)).astype(np.float32)
    classes = rng.integers(0, 3, 7).astype(np.int32)
    numbers = rng.normal(0, 1, (7, 3)).astype(np.float32)
    entropy = np.log(np.exp(np.float64(outputs)).sum(1)) - outputs[np.arange(7), classes]
    np.testing.assert_allclose(criteria.losses(outputs, classes), entropy, rtol=1e-5, atol=1e-6)
    squares = ((np.float64(outputs) - numbers) ** 2).sum(1) / 3
    np.testing.assert_allclose(criteria.losses(outputs, numbers), squares, rtol=1e-5)


def test_right_is_the_largest_logit_or_every_number_within_a_tenth():
    outputs = jnp.asarray([[0.0, 1.0], [1.0, 0.0]])
    assert list(criteria.right(outputs, jnp.asarray([1, -1]))) == [True, False]
    near = outputs + jnp.asarray([[0.09, -0.09], [0.09, 0.11]])
    assert list(criteria.right(outputs, near)) == [True, False]
    assert not criteria.right(outputs, jnp.full((2, 2), jnp.nan)).any()


def test_padding_of_numbers_is_never_right():
    # 501 points are two chunks of 251, so that one place is padding.
    labels = np.zeros((501, 2), np.float32)
    split = datasets.Split(np.zeros((501, 3), np.float32), labels)
    chunks = scoring.chunks(split)
    assert chunks.labels.shape == (2, 251, 2)
    model = lth_jax.Model(lambda key: ({}, {}), lambda w, s, x, train=False: (x[:, :2], s))
    one = np.ones(1, np.float32)
    assert int(scoring.count_right(model, {}, {}, chunks, 0 * one, one)) == 501


def test_a_data_set_of_numbers_is_checked():
    relu = toys.make("relu", 8, 4, 4)
    relu.check()
    assert (relu.classes, relu.outputs, toys.make("helix", 8, 4, 4).outputs) == (0, 1, 3)
    bad = relu.train.labels.copy()
    bad[3] = np.nan
    for labels, message in (
        (bad, "finite, got .* at place 3"),
        (relu.train.labels[:, 0], "must be .n, k. float32"),
        (relu.train.labels.astype(np.float64), "must be .n, k. float32"),
        (np.zeros((8, 1), np.int32), "must be .n, k. float32"),
    ):
        split = datasets.Split(relu.train.images, labels)
        with pytest.raises(lth_jax.InputError, match=message):
            relu._replace(train=split).check()


class Net(nn.Module):
    """A network for the toy tasks."""

    outputs: int

    @nn.compact
    def __call__(self, x):
        """Maps [b, d] to [b, outputs]."""
        return nn.Dense(self.outputs)(nn.relu(nn.Dense(32)(x)))


def test_a_model_with_another_number_of_outputs_is_refused():
    helix = toys.make("helix", 128, 4, 4)
    with pytest.raises(lth_jax.InputError, match="gives 2 outputs for 3 numbers"):
        lth_jax.Study(lth_jax.from_flax(Net(2), helix.train.images[:1]), helix)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["map", "vmap"])
def test_numbers_are_learned_in_a_study(strategy, tmp_path):
    relu = toys.make("relu", 256, 64, 64)
    model = lth_jax.from_flax(Net(1), relu.train.images[:1])
    train = training.TrainConfig(perturb_epochs=10, prune_epochs=10, batch_size=16, perturb_lr=0.1)
    study = lth_jax.Study(model, relu, train=train, out=tmp_path, strategy=strategy)
    (row,) = study.run(["dense"], seeds=[0]).rows
    losses = row["train_loss_curve"]
    assert losses[-1] < losses[0] / 10 and losses[-1] < 0.01
    assert row["test_accuracy"] > 0.8


def test_a_pruner_may_count_otherwise():
    def all_of_the_first(scores, sparsity, scope):
        kept = lth_jax.tree_kept(scores, sparsity, scope)
        return kept | {"first": scores["first"].size}

    model = lth_jax.Model(
        lambda key: ({"first": jnp.ones((4, 5)), "second": jnp.ones((5, 2))}, {}),
        lambda w, s, x, train=False: (x @ w["first"] @ w["second"], s),
    )
    pruner = lth_jax.edge_popup()._replace(counts=all_of_the_first)
    problem = training.Problem(model, pruner, training.TrainConfig())
    task = training.lane_task(problem, training.lane_shapes(problem), 0, 0.0, 0.5)
    assert jax.tree.map(int, task.kept) == {"first": 20, "second": 5}
