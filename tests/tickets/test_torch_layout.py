"""Exports for PyTorch: a network of torch's layers, which loads the file, has the same logits."""

import json

import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors
import safetensors.numpy
import torch_in_numpy as F
from flax import nnx

from lth_jax import models, tickets


def drawn(model):
    """Weights and state of a model's shapes, quickly, none of them 0 or 1."""
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    return jax.tree.map(lambda leaf: rng.uniform(0.2, 1, leaf.shape).astype(np.float32), shapes)


def exported(path, model, shape, **more):
    """The model's logits of random images, these images as torch takes them, and its file."""
    weights, state = drawn(model)
    signs = jax.tree.map(lambda leaf: np.sign(np.sin(np.arange(leaf.size))), weights)
    weights = jax.tree.map(lambda w, s: w * s.reshape(w.shape).astype(np.float32), weights, signs)
    images = np.random.default_rng(1).normal(size=(3, *shape)).astype(np.float32)
    logits, _ = model.apply(weights, state, jnp.asarray(images), train=False)
    size = tickets.export(
        path, weights, layout="torch", model=model, shape=shape, state=state, **more
    )
    assert size == path.stat().st_size
    return logits, np.float64(np.moveaxis(images, -1, 1)), safetensors.numpy.load_file(path)


def agree(found, logits):
    np.testing.assert_allclose(found, logits, rtol=1e-4, atol=1e-5 * np.max(np.abs(logits)))


def conv2(x, read):
    for name in ("Conv_0", "Conv_1"):
        x = F.relu(F.conv2d(x, read[f"{name}.weight"], padding=1))
    x = F.flatten(F.max_pool2d(x))
    for name in ("Dense_0", "Dense_1"):
        x = F.relu(F.linear(x, read[f"{name}.weight"]))
    return F.linear(x, read["Dense_2.weight"])


# Wide enough for Winograd's convolutions, too, whose kernels would not be seen as such.
@pytest.mark.parametrize("width", [0.1, pytest.param(0.6, marks=pytest.mark.slow)])
def test_conv2_has_the_same_logits_in_torchs_layout(tmp_path, width):
    model = models.build_model("conv2", (6, 9, 3), 10, width=width)
    logits, images, read = exported(tmp_path / "a", model, (6, 9, 3))
    agree(conv2(images, read), logits)
    channels = read["Conv_1.weight"].shape[0]
    assert read["Conv_0.weight"].shape == (channels, 3, 3, 3)
    assert read["Dense_0.weight"].shape[1] == 3 * 4 * channels


def test_flattened_colour_images_are_reordered(tmp_path):
    model = models.build_model("lenet", (4, 5, 3), 10, width=0.05)
    logits, images, read = exported(tmp_path / "a", model, (4, 5, 3))
    x = F.flatten(images)
    for name in ("Dense_0", "Dense_1"):
        x = F.relu(F.linear(x, read[f"{name}.weight"]))
    agree(F.linear(x, read["Dense_2.weight"]), logits)


class Residual(nn.Module):
    """Strides, groups, biases, BatchNorm, Dropout, a sum, and a mean over places."""

    pooled: bool

    @nn.compact
    def __call__(self, x, train=False):
        x = nn.Conv(4, (3, 3), strides=2, padding=1, name="first")(x)
        x = nn.relu(nn.BatchNorm(use_running_average=not train, name="norm")(x))
        x = x + nn.Conv(4, (3, 3), padding=1, feature_group_count=2, name="second")(x)
        x = x.mean((1, 2)) if self.pooled else nn.max_pool(x, (2, 2), (2, 2)).reshape(len(x), -1)
        return nn.Dense(5, name="last")(nn.Dropout(0.5, deterministic=not train)(x))


@pytest.mark.parametrize("pooled", [True, False])
def test_a_network_of_ones_own_with_statistics(tmp_path, pooled):
    shape = (8, 12, 2)
    model = models.from_flax(Residual(pooled), jax.ShapeDtypeStruct((1, *shape), jnp.float32))
    logits, images, read = exported(tmp_path / "a", model, shape)
    x = F.conv2d(images, read["first.weight"], read["first.bias"], stride=2, padding=1)
    norm = {k.removeprefix("norm."): v for k, v in read.items() if k.startswith("norm.")}
    x = F.relu(F.batch_norm(x, **norm))
    x = x + F.conv2d(x, read["second.weight"], read["second.bias"], padding=1, groups=2)
    x = x.mean((2, 3)) if pooled else F.flatten(F.max_pool2d(x))
    agree(F.linear(x, read["last.weight"], read["last.bias"]), logits)


def test_a_channels_first_model_of_two_functions_keeps_its_order(tmp_path):
    """As equinox has it: images are turned first, kernels are (out, in, …)."""

    def init(key):
        shapes = {"conv": {"weight": (4, 3, 3, 3)}, "dense": {"weight": (5, 4 * 4 * 6)}}
        return jax.tree.map(jnp.zeros, shapes, is_leaf=lambda x: isinstance(x, tuple)), {}

    def one(weights, image):
        numbers = ("NCHW", "OIHW", "NCHW")
        x = jax.lax.conv_general_dilated(
            image.transpose(2, 0, 1)[None], weights["conv"]["weight"], (1, 1), "SAME",
            dimension_numbers=numbers,
        )  # fmt: skip
        return weights["dense"]["weight"] @ jnp.ravel(jax.nn.relu(x))

    def apply(weights, state, x, train=False):
        return jax.vmap(one, (None, 0))(weights, x), state

    logits, images, read = exported(tmp_path / "a", models.Model(init, apply), (4, 6, 3))
    x = F.relu(F.conv2d(images, read["conv.weight"], padding=1))
    agree(F.linear(F.flatten(x), read["dense.weight"]), logits)


class SmallNnx(nnx.Module):
    def __init__(self, rngs):
        self.conv = nnx.Conv(2, 3, (3, 3), padding="SAME", rngs=rngs)
        self.norm = nnx.BatchNorm(3, rngs=rngs)
        self.dense = nnx.Linear(3 * 4 * 5, 4, rngs=rngs)

    def __call__(self, x):
        x = nnx.relu(self.norm(self.conv(x)))
        return self.dense(x.reshape(len(x), -1))


class SmallEquinox(eqx.Module):
    conv: eqx.nn.Conv2d
    dense: eqx.nn.Linear

    def __init__(self, key):
        key_conv, key_dense = jax.random.split(key)
        self.conv = eqx.nn.Conv2d(2, 3, 3, padding=1, key=key_conv)
        self.dense = eqx.nn.Linear(3 * 4 * 5, 4, key=key_dense)

    def __call__(self, x):
        return self.dense(jax.nn.relu(self.conv(x.transpose(2, 0, 1))).reshape(-1))


@pytest.mark.parametrize("wrap", [(models.from_nnx, SmallNnx), (models.from_equinox, SmallEquinox)])
def test_modules_of_other_libraries_go_by_the_same_rule(tmp_path, wrap):
    wrapper, module = wrap
    model = wrapper(module)
    logits, images, read = exported(tmp_path / "a", model, (4, 5, 2))
    x = F.conv2d(images, read["conv.weight"], read["conv.bias"], padding=1)
    if "norm.weight" in read:
        norm = {k.removeprefix("norm."): v for k, v in read.items() if k.startswith("norm.")}
        x = F.batch_norm(x, **norm)
    agree(F.linear(F.flatten(F.relu(x)), read["dense.weight"], read["dense.bias"]), logits)


class Attentive(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.Conv(6, (2, 2), strides=2, padding="VALID", name="patches")(x)
        x = x.reshape(len(x), -1, 6)
        return nn.Dense(3)(nn.MultiHeadDotProductAttention(2, name="mix")(x).mean(1))


@pytest.mark.slow
def test_attention_kernels_become_matrices(tmp_path):
    shape = (4, 6, 3)
    model = models.from_flax(Attentive(), jax.ShapeDtypeStruct((1, *shape), jnp.float32))
    logits, images, read = exported(tmp_path / "a", model, shape)
    x = F.conv2d(images, read["patches.weight"], read["patches.bias"], stride=2)
    x = x.reshape(3, 6, -1).swapaxes(1, 2)  # As x.flatten(2).transpose(1, 2) in torch.
    query, key, value = (
        F.linear(x, read[f"mix.{n}.weight"], read[f"mix.{n}.bias"]).reshape(3, -1, 2, 3)
        for n in ("query", "key", "value")
    )
    scores = np.einsum("bqhd,bkhd->bhqk", query, key) / np.sqrt(3)
    share = np.exp(scores - scores.max(-1, keepdims=True))
    share /= share.sum(-1, keepdims=True)
    mixed = np.einsum("bhqk,bkhd->bqhd", share, value).reshape(3, -1, 6)
    x = F.linear(mixed, read["mix.out.weight"], read["mix.out.bias"]).mean(1)
    agree(F.linear(x, read["Dense_0.weight"], read["Dense_0.bias"]), logits)


class Tokens(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.Embed(5, 6)(x.astype(jnp.int32).reshape(len(x), -1))
        x = nn.Dense(4)(x + nn.Embed(6, 6)(jnp.arange(6)[None]))
        return nn.Dense(3)(x.reshape(len(x), -1))


def test_embeddings_are_read_by_number(tmp_path):
    model = models.from_flax(Tokens(), jax.ShapeDtypeStruct((1, 2, 3, 1), jnp.float32))
    logits, images, read = exported(tmp_path / "a", model, (2, 3, 1))
    x = read["Embed_0.weight"][images.astype(int).reshape(len(images), -1)]
    x = F.linear(x + read["Embed_1.weight"], read["Dense_0.weight"], read["Dense_0.bias"])
    agree(F.linear(F.flatten(x), read["Dense_1.weight"], read["Dense_1.bias"]), logits)


class Upward(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.ConvTranspose(4, (2, 2), strides=(2, 2))(x).mean((1, 2))


class Shuffled(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(4)(x.reshape(len(x), -1)[:, ::-1])


class Scaled(nn.Module):
    """A vector along flattened images would have to be reordered with them."""

    @nn.compact
    def __call__(self, x):
        x = x.reshape(len(x), -1)
        return nn.Dense(4)(x + self.param("shift", nn.initializers.zeros, (1, x.shape[1])))


class Twice(nn.Module):
    @nn.compact
    def __call__(self, x):
        kernel = self.param("kernel", nn.initializers.zeros, (9, 9))
        return nn.relu(x.reshape(len(x), -1) @ kernel) @ kernel.T


@pytest.mark.parametrize(
    ("module", "shape", "match"),
    [
        (Upward(), (3, 3, 2), "ConvTranspose_0/kernel: a transposed"),
        (Shuffled(), (3, 3, 2), "order the inputs of Dense_0/kernel"),
        (Scaled(), (3, 3, 2), "order the inputs of Dense_0/kernel"),
        (Twice(), (3, 3, 1), "kernel is used in two ways"),
    ],
)
def test_what_torch_would_compute_otherwise_is_refused(tmp_path, module, shape, match):
    model = models.from_flax(module, jax.ShapeDtypeStruct((1, *shape), jnp.float32))
    weights, state = drawn(model)
    with pytest.raises(ValueError, match=match):
        tickets.export(tmp_path / "a", weights, layout="torch", model=model, shape=shape)
    assert not (tmp_path / "a").exists()


def test_what_is_missing_is_named(tmp_path):
    redundant = models.build_model("redundant", (4, 4, 1), 10, width=0.01)
    weights, _ = drawn(redundant)
    for change, match in (
        ({"model": redundant}, "weight1 is a kernel of no dense layer"),
        ({}, "needs the model"),
        ({"model": redundant._replace(architecture=None)}, "needs the shape"),
        (
            {"model": redundant, "state": {"cache": {"a": np.zeros(2)}}},
            "running means and variances",
        ),
        ({"layout": "keras"}, "layout must be one of flax, torch, got 'keras'"),
    ):
        with pytest.raises(ValueError, match=match):
            tickets.export(tmp_path / "a", weights, **({"layout": "torch"} | change))
    pooled = models.from_flax(Residual(True), jax.ShapeDtypeStruct((1, 4, 4, 2), jnp.float32))
    with pytest.raises(ValueError, match="needs the state"):
        tickets.export(
            tmp_path / "a", drawn(pooled)[0], layout="torch", model=pooled, shape=(4, 4, 2)
        )
    assert not (tmp_path / "a").exists()


def test_torch_itself_has_the_same_logits(tmp_path):
    torch = pytest.importorskip("torch", reason="torch is not installed: NumPy alone was asked")
    model = models.build_model("conv2", (6, 9, 3), 10, width=0.1)
    logits, images, read = exported(tmp_path / "a", model, (6, 9, 3))
    net = torch.nn.Sequential()
    for i in (0, 1):
        channels = read[f"Conv_{i}.weight"].shape[1::-1]
        net.add_module(f"Conv_{i}", torch.nn.Conv2d(*channels, 3, padding=1, bias=False))
        net.add_module(f"relu_{i}", torch.nn.ReLU())
    net.add_module("pool", torch.nn.MaxPool2d(2))
    net.add_module("flat", torch.nn.Flatten())
    for i in (0, 1, 2):
        units = read[f"Dense_{i}.weight"].shape[::-1]
        net.add_module(f"Dense_{i}", torch.nn.Linear(*units, bias=False))
        net.add_module(f"act_{i}", torch.nn.ReLU() if i < 2 else torch.nn.Identity())
    net.load_state_dict({name: torch.tensor(leaf) for name, leaf in read.items()})
    agree(net(torch.tensor(images, dtype=torch.float32)).detach().numpy(), logits)


def test_the_metadata_are_what_was_told(tmp_path):
    model = models.build_model("lenet", (2, 2, 1), 3, width=0.01)
    about = {"mean": [33.25], "std": [0.1], "classes": 3, "model": "lenet"}
    exported(tmp_path / "a", model, (2, 2, 1), about=about)
    with safetensors.safe_open(tmp_path / "a", "np") as file:
        said = file.metadata()
    assert said["format"] == "pt" and said["layout"] == "torch"
    assert {name: json.loads(said[name]) for name in about} == about
