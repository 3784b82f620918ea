"""What is a kernel, and its fan-in: by name, and by the modules of flax.linen."""

import dataclasses
import functools
import math
import types

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from flax import nnx

import lth_jax
from lth_jax import models, pruners


class Attends(nn.Module):
    """A transformer's parts, some of them under names of the user's own."""

    @nn.compact
    def __call__(self, x):
        x = nn.Embed(7, 6)(x) + self.param("pos_embedding", nn.initializers.normal(), (1, 5, 6))
        x = nn.MultiHeadDotProductAttention(num_heads=2, qkv_features=8)(nn.LayerNorm()(x))
        x = nn.DenseGeneral((2, 4), name="q")(x)
        x = nn.DenseGeneral(6, axis=(-2, -1), name="o")(x)
        x = nn.ConvTranspose(3, (2,), transpose_kernel=True)(x)
        x = nn.Conv(4, (3,))(x)
        deep = nn.scan(Layer, variable_axes={"params": 0}, split_rngs={"params": True}, length=3)
        return nn.Dense(3)(deep(name="deep")(x, None)[0].mean(1))


class Layer(nn.Module):
    @nn.compact
    def __call__(self, x, _):
        return nn.DenseGeneral(4, name="inner")(x), None


# Path of a kernel -> its shape and fan-in, counted by hand; all else is not pruned.
ATTENDS = {
    "Conv_0/kernel": ((3, 3, 4), 9),
    "ConvTranspose_0/kernel": ((2, 3, 6), 12),
    "Dense_0/kernel": ((4, 3), 4),
    "MultiHeadDotProductAttention_0/key/kernel": ((6, 2, 4), 6),
    "MultiHeadDotProductAttention_0/out/kernel": ((2, 4, 6), 8),
    "MultiHeadDotProductAttention_0/query/kernel": ((6, 2, 4), 6),
    "MultiHeadDotProductAttention_0/value/kernel": ((6, 2, 4), 6),
    "deep/inner/kernel": ((3, 4, 4), 4),
    "o/kernel": ((2, 4, 6), 8),
    "q/kernel": ((6, 2, 4), 6),
}


@pytest.fixture(scope="module")
def attends():
    model = lth_jax.from_flax(Attends(), jnp.zeros((1, 5), jnp.int32))
    # As users do; what jax has traced once it does not call again.
    jax.eval_shape(model.init, jax.eval_shape(lambda: jax.random.key(0)))
    return model


def pruned(model, pruner):
    def both(key):
        weights, _ = model.init(key)
        return weights, pruner.init(key, weights)

    weights, scores = jax.eval_shape(both, jax.eval_shape(lambda: jax.random.key(0)))
    return pruners.leaves(weights, scores, pruner.kernel_axes)


def table(leaves):
    return {leaf.path: (leaf.shape, leaf.fan_in) for leaf in leaves if leaf.fan_in is not None}


def test_a_linen_model_knows_its_kernels_by_their_modules(attends):
    leaves = pruned(attends, pruners.edge_popup(kernel_axes=attends.kernel_axes))
    assert table(leaves) == ATTENDS
    left = {leaf.path: leaf.shape for leaf in leaves if leaf.fan_in is None}
    assert left["MultiHeadDotProductAttention_0/query/bias"] == (2, 4)  # Of two axes.
    assert left["pos_embedding"] == (1, 5, 6) and left["Embed_0/embedding"] == (7, 6)
    assert all(leaf.size == math.prod(leaf.shape) for leaf in leaves)


@pytest.mark.slow
def test_scores_are_drawn_by_the_fan_in_of_the_table(attends):
    pruner = pruners.edge_popup(kernel_axes=attends.kernel_axes)
    tree = {}
    chosen = ("o/kernel", "q/kernel", "deep/inner/kernel")
    for path in chosen:
        shape, _ = ATTENDS[path]
        *modules, leaf = path.split("/")
        place = functools.reduce(lambda inner, name: inner.setdefault(name, {}), modules, tree)
        place[leaf] = np.zeros([10 * n for n in shape], np.float32)
    scores = jax.jit(pruner.init)(jax.random.key(0), tree)
    found = jax.tree_util.tree_leaves_with_path(scores)
    assert len(found) == len(chosen)
    for path, score in found:
        shape, fan = ATTENDS[jax.tree_util.keystr(path, simple=True, separator="/")]
        summed = len(attends.kernel_axes(path, score))
        # Of 48,000 draws the largest is about 1/48,000 below the bound.
        assert np.abs(score).max() == pytest.approx((fan * 10**summed) ** -0.5, rel=1e-3)


def test_by_name_alone_attention_is_right_and_what_has_no_name_for_it_is_told(attends):
    found = table(pruned(attends, pruners.edge_popup()))
    wrong = {path: fan for path, (_, fan) in found.items() if fan != ATTENDS[path][1]}
    assert found.keys() == ATTENDS.keys()
    assert wrong.keys() == {"ConvTranspose_0/kernel", "deep/inner/kernel", "q/kernel"}


def test_nnx_is_known_by_name():
    make = lambda: nnx.MultiHeadAttention(2, 6, 8, rngs=nnx.Rngs(0), decode=False)  # noqa: E731
    state = nnx.state(nnx.eval_shape(make), nnx.Param)
    for weights in (state, nnx.to_pure_dict(state)):
        scores = jax.eval_shape(pruners.edge_popup().init, jax.random.key(0), weights)
        found = table(pruners.leaves(weights, scores, pruners.kernel_axes))
        fans = {path.removesuffix("/value"): fan for path, (_, fan) in found.items()}
        assert fans == {"key/kernel": 6, "out/kernel": 8, "query/kernel": 6, "value/kernel": 6}


@functools.partial(jax.tree_util.register_dataclass, data_fields=["weight", "bias"], meta_fields=[])
@dataclasses.dataclass
class Linear:
    """As modules of equinox are: attributes, and (out, in, ...)."""

    weight: jax.Array
    bias: jax.Array


def test_attributes_called_weight_are_of_equinox():
    net = {
        "layers": [Linear(jnp.ones((5, 4)), jnp.ones(5)), Linear(jnp.ones((5, 3, 2, 2)), None)],
        "norm": Linear(jnp.ones((3, 4)), jnp.ones((3, 4))),
        "token_embedding": Linear(jnp.ones((50, 4)), None),
        "patch_embedding": Linear(jnp.ones((4, 3, 2, 2)), jnp.ones((4, 1, 1))),
    }
    scores = jax.eval_shape(pruners.edge_popup().init, jax.random.key(0), net)
    assert table(pruners.leaves(net, scores, pruners.kernel_axes)) == {
        "layers/0/weight": ((5, 4), 4),
        "layers/1/weight": ((5, 3, 2, 2), 12),
        "patch_embedding/weight": ((4, 3, 2, 2), 12),
    }


@pytest.mark.parametrize(
    ("path", "shape", "axes"),
    [
        ("layer.0.weight", (5, 4), (0,)),  # In a dict nothing says that it is torch's.
        ("layer.0.bias", (5, 4), None),
        ("embedding.weight", (5, 4), None),
        ("embed.proj.weight", (5, 4), (0,)),
        ("weight1", (5, 4), (0,)),
        ("relativePositionBias", (5, 4), None),
        ("rescaled", (5, 4), (0,)),
        ("key.kernel", (3, 2, 5, 4), (0, 1, 2)),
        ("w", (4,), None),
        ("w", (), None),
    ],
)
def test_names_in_plain_trees(path, shape, axes):
    leaf = jax.ShapeDtypeStruct(shape, jnp.float32)
    ((where, _),) = jax.tree_util.tree_leaves_with_path({path: leaf})
    assert pruners.kernel_axes(where, leaf) == axes
    if axes is not None:
        assert pruners.out_first(where, leaf) == tuple(range(1, len(shape)))
    assert pruners.kernel_axes((), types.SimpleNamespace(shape=(2, 3))) == (0,)  # No tree at all.
    assert pruners.kernel_axes((jax.tree_util.SequenceKey(0),), leaf) in (axes, (0,), (0, 1, 2))


@pytest.mark.parametrize("name", pruners.PRUNERS)
def test_every_pruner_takes_a_choice_and_axes(name, attends):
    def heads(path, leaf):
        return "Attention" in jax.tree_util.keystr(path) and leaf.ndim == 3

    make = functools.partial(pruners.PRUNERS[name], kernel_axes=attends.kernel_axes)
    assert table(pruned(attends, make())) == ATTENDS
    chosen = table(pruned(attends, make(prunable=heads)))
    assert chosen == {path: row for path, row in ATTENDS.items() if "Attention" in path}
    with_bias = table(pruned(attends, make(prunable=lambda path, leaf: leaf.ndim == 2)))
    assert with_bias["q/bias"] == ((2, 4), 2)  # Not a kernel: all axes but the last.


def test_zero_sized_leaves_have_scores_of_no_entries():
    scores = pruners.edge_popup().init(jax.random.key(0), {"w": jnp.ones((0, 3))})
    assert scores["w"].shape == (0, 3)


@pytest.mark.parametrize("name", models.MODELS)
def test_built_models_prune_all_their_leaves_as_ever(name):
    model = models.build_model(name, (32, 32, 3), 10, width=0.1)
    for leaf in pruned(model, pruners.edge_popup(kernel_axes=model.kernel_axes)):
        assert leaf.fan_in == math.prod(leaf.shape[:-1])


def test_a_model_with_other_axes_is_not_taken_for_the_built_one():
    model = models.build_model("lenet", (8, 8, 1), 10)
    assert models.built_as(model) == model.architecture
    assert models.built_as(model._replace(kernel_axes=pruners.out_first)) is None
    assert tiny.own_model().kernel_axes is not pruners.kernel_axes
