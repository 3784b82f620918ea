"""Networks by name and of one's own: sizes, weights at init, state, and what is refused."""

import typing

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lth_jax import models, pruners, training
from lth_jax.models import initializers
from lth_jax.models.networks import mlp

EXAMPLE = jax.ShapeDtypeStruct((1, 28, 28, 1), jnp.float32)


def count(model):
    weights, _ = jax.eval_shape(model.init, jax.random.key(0))
    return sum(leaf.size for leaf in jax.tree.leaves(weights))


@pytest.mark.parametrize(
    ("name", "shape", "expected"),
    [
        ("lenet", (28, 28, 1), 784 * 300 + 300 * 100 + 100 * 10),
        ("lenet", (28, 28, 1), 266_200),
        ("redundant", (28, 28, 1), 4_496_420),
        ("conv2", (32, 32, 3), 4_300_992),
        ("conv4", (32, 32, 3), 2_425_024),
        ("conv6", (32, 32, 3), 2_261_184),
        ("conv8", (32, 32, 3), 5_275_840),
    ],
)
def test_parameter_counts(name, shape, expected):
    assert count(models.build_model(name, shape, 10)) == expected


def test_the_mlp_is_its_matrices():
    model = models.build_model("lenet", (28, 28, 1), 10)
    weights, state = model.init(jax.random.key(0))
    x = np.random.default_rng(0).normal(size=(3, 28, 28, 1)).astype(np.float32)
    logits, after = model.apply(weights, state, x, train=True)
    hidden = x.reshape(3, -1).astype(np.float64)
    for layer in range(2):
        hidden = np.maximum(hidden @ np.float64(weights[f"Dense_{layer}"]["kernel"]), 0)
    expected = hidden @ np.float64(weights["Dense_2"]["kernel"])
    np.testing.assert_allclose(logits, expected, atol=1e-4)  # float32 sums of 784 terms
    assert state == after == {}


def test_a_redundant_block_can_be_an_identity_of_either_sign():
    # With weight1 = +1 and -1 rows, relu(x) - relu(-x) = x: what the construction rests on.
    block = mlp.RedundantBlock(width=3, copies=2, kernel_init=initializers.uniform)
    weight1 = np.stack([np.ones(3), -np.ones(3)])
    weight2 = np.concatenate([np.eye(3), -np.eye(3)])
    x = np.array([[1.0, -2.0, 3.0], [-0.5, 0.0, 4.0]])
    out = block.apply({"params": {"weight1": weight1, "weight2": weight2}}, x)
    np.testing.assert_array_equal(out, x)


@pytest.mark.parametrize("name", list(models.INITIALIZERS))
def test_initializers_have_their_moments(name):
    draw = np.asarray(models.INITIALIZERS[name](jax.random.key(0), (400, 300)))
    variance = 1 / 12 if name == "uniform" else 2 / 400
    assert draw.mean() == pytest.approx(0, abs=5 * np.sqrt(variance / draw.size))
    assert draw.var() == pytest.approx(variance, rel=0.02)
    if name == "signed_constant":
        assert len(np.unique(np.abs(draw))) == 1
    if name == "uniform":
        assert np.abs(draw).max() <= 0.5
    if name == "kaiming_normal":  # torch's is not truncated: flax's he_normal ends at 2.3 sigma
        assert np.abs(draw).max() > 4 * np.sqrt(variance)


def test_running_statistics_are_state_and_only_training_changes_them():
    class Normed(nn.Module):
        @nn.compact
        def __call__(self, x, train):
            x = nn.Dense(4)(x.reshape(len(x), -1))
            return nn.BatchNorm(use_running_average=not train)(x)

    model = models.from_flax(Normed(), EXAMPLE)
    weights, state = model.init(jax.random.key(0))
    assert set(weights) == {"Dense_0", "BatchNorm_0"} and set(state) == {"batch_stats"}
    x = jnp.ones((2, 28, 28, 1))
    _, same = model.apply(weights, state, x, train=False)
    _, other = model.apply(weights, state, x, train=True)
    mean = lambda s: s["batch_stats"]["BatchNorm_0"]["mean"]  # noqa: E731
    np.testing.assert_array_equal(mean(same), mean(state))
    assert np.abs(mean(other) - mean(state)).max() > 0


def test_the_literals_of_names_are_the_registries():
    assert typing.get_args(models.ModelName) == tuple(models.MODELS)
    assert typing.get_args(models.InitializerName) == tuple(models.INITIALIZERS)


def test_a_built_model_knows_its_architecture():
    model = models.build_model("conv2", [8, 8, 3], 10, "uniform", 0.5)
    assert model.architecture == ("conv2", (8, 8, 3), 10, "uniform", 0.5)
    assert hash(model.architecture) and models.from_flax(mlp.MLP((3,)), EXAMPLE)[2] is None
    again = models.build_model(**model.architecture._asdict())
    assert again.architecture == model.architecture


def test_bad_names_are_refused():
    with pytest.raises(ValueError, match="model"):
        models.build_model("lenet5", (28, 28, 1), 10)
    with pytest.raises(ValueError, match="init"):
        models.build_model("lenet", (28, 28, 1), 10, "he")
    with pytest.raises(ValueError, match="width"):
        models.build_model("lenet", (28, 28, 1), 10, width=0)


def test_the_papers_scores_start_where_the_paper_says():
    model = models.build_model("redundant", (28, 28, 1), 10)
    weights, _ = jax.eval_shape(model.init, jax.random.key(0))
    bound = models.SCORE_BOUNDS["redundant"]
    found = [bound(path, leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(weights)]
    expected = [np.sqrt(2), np.sqrt(2 / 784)] + 3 * [np.sqrt(2), np.sqrt(2 / 500)]
    np.testing.assert_allclose(found, expected)


class Switched(nn.Module):
    """BatchNorm behind a switch that each class below names in its own way."""

    def normed(self, x, averaged):
        return nn.BatchNorm(use_running_average=averaged, momentum=0.5)(nn.Dense(3)(x))


class Deterministic(Switched):
    @nn.compact
    def __call__(self, x, deterministic=True):
        return self.normed(x, deterministic)


class Training(Switched):
    @nn.compact
    def __call__(self, x, training=False):
        return self.normed(x, not training)


class IsTraining(Switched):
    @nn.compact
    def __call__(self, x, *, is_training):
        return self.normed(x, not is_training)


class Averaging(Switched):
    @nn.compact
    def __call__(self, x, use_running_average=True):
        return self.normed(x, use_running_average)


class Both(Switched):
    @nn.compact
    def __call__(self, x, train=False, deterministic=True):
        return self.normed(x, deterministic or not train)


class Learning(Switched):
    @nn.compact
    def __call__(self, x, learning=False):
        return self.normed(x, not learning)


class Frozen(Switched):
    @nn.compact
    def __call__(self, x, frozen=True):
        return self.normed(x, frozen)


@pytest.mark.parametrize(
    ("module", "switch"),
    [
        *((kind, None) for kind in (Deterministic, Training, IsTraining, Averaging, Both)),
        (Learning, "learning"),
        (Frozen, "not frozen"),
    ],
)
def test_a_switch_between_training_and_evaluation_is_found_or_named(module, switch, key):
    x = jax.random.normal(key, (8, 5))
    model = models.from_flax(module(), x, switch=switch)
    weights, state = model.init(key)
    logits, moved = model.apply(weights, state, x, train=True)
    # Normalized by the batch itself: mean 0 and, but for the epsilon, variance 1.
    assert np.allclose(np.mean(logits, axis=0), 0, atol=1e-5)
    assert np.allclose(np.var(logits, axis=0), 1, atol=1e-2)
    assert not is_equal(moved, state)
    logits, same = model.apply(weights, state, x)
    assert is_equal(same, state) and np.abs(np.mean(logits, axis=0)).max() > 1e-2


def is_equal(a, b):
    return all(jax.tree.leaves(jax.tree.map(lambda u, v: bool(np.array_equal(u, v)), a, b)))


@pytest.mark.parametrize("module", [Learning, Frozen])
def test_running_statistics_without_a_switch_are_refused(module, key):
    model = models.from_flax(module(), jnp.zeros((8, 5)))
    with pytest.raises(ValueError, match=f"{module.__name__}: .*running statistics.*switch="):
        jax.eval_shape(model.init, key)


@pytest.mark.parametrize("switch", ["train", "not there", "", "learning "])
def test_a_switch_that_is_no_argument_is_refused(switch):
    with pytest.raises(ValueError, match="^switch: Learning has no argument"):
        models.from_flax(Learning(), jnp.zeros((8, 5)), switch=switch)


def test_a_class_in_place_of_a_module_and_a_shape_in_place_of_an_array_are_refused():
    with pytest.raises(ValueError, match=r"^module must be .* as Net\(\) is, got the class Frozen"):
        models.from_flax(Frozen, jnp.zeros((8, 5)))
    with pytest.raises(ValueError, match=r"^example must be an array .*, got \(8, 5\)"):
        models.from_flax(Frozen(), (8, 5))


@pytest.mark.parametrize("classes", [0, -1, 1.5, True, "ten"])
def test_a_number_of_classes_is_an_integer_above_0(classes):
    with pytest.raises(ValueError, match="^classes must be an integer >= 1, got"):
        models.build_model("lenet", (8, 8, 1), classes)


@pytest.mark.parametrize("shape", [(8, 0, 1), (8, -8, 1), (8, 8, 1.5), "881", None, (True, 8, 1)])
def test_a_shape_is_integers_above_0(shape):
    with pytest.raises(ValueError, match="^shape must be integers >= 1, got"):
        models.build_model("lenet", shape, 10)


class Sum(nn.Module):
    """A module without parameters."""

    def __call__(self, x):
        return x.sum(-1)


def test_a_module_without_parameters_is_a_model_without_weights():
    model = models.from_flax(Sum(), jnp.zeros((1, 8)))
    weights, state = model.init(jax.random.key(0))
    logits, state = model.apply(weights, state, jnp.ones((2, 8)), train=True)
    assert weights == {} == state and logits.tolist() == [8, 8]


def test_a_leaf_without_entries_is_refused():
    model = models.Model(lambda key: ({"kernel": jnp.zeros((0, 5))}, {}), None, name="none")
    problem = training.Problem(model, pruners.edge_popup(), training.TrainConfig())
    with pytest.raises(ValueError, match=r"expected weights, got none in \['kernel'\] of shape"):
        training.lane_shapes(problem)
