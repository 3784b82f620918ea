"""Modules of flax.nnx and equinox as models: their kernels, the way back, and what is refused."""

import functools
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import same_cnn
from flax import nnx

import lth_jax
from lth_jax import models
from lth_jax.models import equinox as of_equinox
from lth_jax.models import nnx as of_nnx

IMAGE = jax.ShapeDtypeStruct((2, 8, 8, 1), jnp.float32)


def fans(model):
    """Path and fan-in of all that is pruned."""
    pruner = lth_jax.edge_popup(kernel_axes=model.kernel_axes)

    def both(key):
        weights, _ = model.init(key)
        return weights, pruner.init(key, weights)

    weights, scores = jax.eval_shape(both, jax.random.key(0))
    found = lth_jax.pruners.leaves(weights, scores, model.kernel_axes)
    return {leaf.path: leaf.fan_in for leaf in found if leaf.fan_in is not None}


class NnxParts(nnx.Module):
    def __init__(self, rngs):
        self.embed = nnx.Embed(7, 6, rngs=rngs)
        self.norm = nnx.LayerNorm(6, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(2, 6, 8, rngs=rngs, decode=False)
        self.q = nnx.LinearGeneral(6, (2, 4), rngs=rngs)
        self.o = nnx.LinearGeneral((2, 4), 6, axis=(-2, -1), rngs=rngs)
        self.conv = nnx.Conv(6, 4, (3,), rngs=rngs)
        self.up = nnx.ConvTranspose(4, 3, (2,), transpose_kernel=True, rngs=rngs)
        self.layers = nnx.List([nnx.Linear(3, 3, rngs=rngs)])
        self.own = nnx.Param(jnp.zeros((5, 4)))
        self.steps = nnx.Variable(jnp.arange(3))

        @nnx.split_rngs(splits=3)
        @nnx.vmap(in_axes=0, out_axes=0)
        def many(rngs):
            return nnx.LinearGeneral(4, 4, rngs=rngs)

        self.deep = many(rngs)


def test_kernels_of_nnx_are_known_by_their_modules():
    assert fans(models.from_nnx(NnxParts)) == {
        "attention/key/kernel": 6,
        "attention/out/kernel": 8,
        "attention/query/kernel": 6,
        "attention/value/kernel": 6,
        "conv/kernel": 18,
        "deep/kernel": 4,
        "layers/0/kernel": 3,
        "o/kernel": 8,
        "own": 5,
        "q/kernel": 6,
        "up/kernel": 8,
    }
    _, state = jax.eval_shape(models.from_nnx(NnxParts).init, jax.random.key(0))
    assert jax.tree.map(np.shape, state) == {"steps": (3,)}


class EquinoxParts(eqx.Module):
    embed: eqx.nn.Embedding
    norm: eqx.nn.LayerNorm
    attention: eqx.nn.MultiheadAttention
    cell: eqx.nn.GRUCell
    conv: eqx.nn.Conv2d
    up: eqx.nn.ConvTranspose1d
    deep: eqx.nn.Linear
    layers: list
    own: jax.Array
    steps: jax.Array
    slope: float = 0.1

    def __init__(self, key):
        keys = jax.random.split(key, 9)
        self.embed = eqx.nn.Embedding(7, 6, key=keys[0])
        self.norm = eqx.nn.LayerNorm((5, 6))
        self.attention = eqx.nn.MultiheadAttention(2, 6, key=keys[1])
        self.cell = eqx.nn.GRUCell(3, 4, key=keys[2])
        self.conv = eqx.nn.Conv2d(5, 4, 3, key=keys[3])
        self.up = eqx.nn.ConvTranspose1d(4, 3, 2, key=keys[4])
        self.deep = eqx.filter_vmap(lambda key: eqx.nn.Linear(5, 4, key=key))(
            jax.random.split(keys[5], 3)
        )
        self.layers = [eqx.nn.Linear(6, 2, key=keys[6]), jax.nn.relu]
        self.own = jnp.zeros((5, 4))
        self.steps = jnp.arange(3)

    def __call__(self, x):
        return x


def test_kernels_of_equinox_are_known_by_their_modules():
    attention = {f"attention/{name}_proj/weight": 6 for name in ("query", "key", "value", "output")}
    assert fans(models.from_equinox(EquinoxParts)) == attention | {
        "cell/weight_hh": 4,
        "cell/weight_ih": 3,
        "conv/weight": 45,
        "deep/weight": 5,
        "layers/0/weight": 6,
        "own": 5,
        "up/weight": 8,
    }
    _, state = jax.eval_shape(models.from_equinox(EquinoxParts).init, jax.random.key(0))
    assert jax.tree.map(np.shape, state) == {"steps": (3,)}


@pytest.mark.slow
def test_a_ticket_becomes_a_module_again():
    x = np.random.default_rng(0).normal(size=(4, 8, 8, 1)).astype(np.float32)
    for library in ("nnx", "equinox"):
        model = same_cnn.model(library, 0.5)
        weights, state = jax.jit(model.init)(jax.random.key(1))
        expected = jax.jit(model.apply)(weights, state, x)[0]
        if library == "nnx":
            module = of_nnx.to_module(model, weights, state)
            assert isinstance(module, same_cnn.Nnx)
            logits = nnx.jit(lambda module, x: module(x))(module, x)
        else:
            module, running = of_equinox.to_module(model, weights, state)
            assert isinstance(module, same_cnn.Equinox)
            run = jax.vmap(module, in_axes=(0, None), out_axes=(0, None), axis_name="batch")
            logits = jax.jit(run)(x, running)[0]
        np.testing.assert_allclose(logits, expected, atol=1e-6)  # Another order of summing.
    for to_module in (of_nnx.to_module, of_equinox.to_module):
        with pytest.raises(ValueError, match="^expected a model of from_"):
            to_module(same_cnn.model("linen"), {}, {})


class WithArray(same_cnn.Nnx):
    def __init__(self, rngs):
        super().__init__(0.0, rngs)
        self.table = jnp.arange(4)


class MovesAlways(same_cnn.Nnx):
    def __call__(self, x):
        return self.norm(self.conv(x), use_running_average=False).mean((1, 2))


class MovesNever(same_cnn.Nnx):
    def __call__(self, x):
        return self.norm(self.conv(x), use_running_average=True).mean((1, 2))


class DrawsAlways(same_cnn.Nnx):
    def __call__(self, x):
        return self.dropout(self.norm(self.conv(x)).mean((1, 2)), deterministic=False)


class DrawsNever(same_cnn.Nnx):
    def __call__(self, x):
        return self.dropout(self.norm(self.conv(x)).mean((1, 2)), deterministic=True)


class Switched(same_cnn.Nnx):
    def __call__(self, x, learning=False):
        x = self.norm(self.conv(x), use_running_average=not learning).mean((1, 2))
        return self.dropout(x, deterministic=not learning)


class TwoDropouts(nnx.Module):
    def __init__(self, rngs):
        self.one, self.two = (nnx.Dropout(0.5, rngs=rngs) for _ in range(2))

    def __call__(self, x):
        return jnp.concatenate([self.one(x), self.two(x), self.two(x)], axis=1)


def test_every_stream_and_every_draw_of_nnx_is_another(key):
    model = models.from_nnx(TwoDropouts)
    out, _ = model.apply({}, {}, jnp.ones((1, 100)), train=True, key=key)
    one, two, again = np.split(np.asarray(out)[0], 3)
    # Of 100 fair coins fewer than 20 differ with a probability below 1e-9.
    assert min(np.sum(one != two), np.sum(two != again), np.sum(one != again)) >= 20


def trace(model, train):
    def call(key, x):
        key = key if train else None
        return model.apply(*model.init(jax.random.key(0)), x, train=train, key=key)

    return jax.eval_shape(call, jax.random.key(1), IMAGE)


@pytest.mark.parametrize(
    ("kind", "train", "said"),
    [
        (MovesAlways, False, "moves running statistics in evaluation, too"),
        (MovesNever, True, "its running statistics never move"),
        (DrawsAlways, False, "draws random numbers in evaluation, too"),
        (DrawsNever, True, "its Dropout never drops"),
        (Switched, True, "its running statistics never move"),
    ],
)
def test_a_module_of_nnx_that_cannot_be_switched_is_refused(kind, train, said):
    model = models.from_nnx(functools.partial(kind, 0.5))
    with pytest.raises(ValueError, match=f"^{kind.__name__}.*{said}.*switch="):
        trace(model, train)


def test_other_mistakes_with_nnx_are_refused():
    for train in (True, False):
        trace(models.from_nnx(functools.partial(Switched, 0.5), switch="learning"), train)
    with pytest.raises(ValueError, match="^WithArray.table: expected an nnx.Variable, got an arr"):
        models.from_nnx(WithArray)
    with pytest.raises(ValueError, match="^switch: Nnx has no argument 'learning'"):
        models.from_nnx(functools.partial(same_cnn.Nnx, 0.5), switch="learning")


class NoState(same_cnn.Equinox):
    def __call__(self, x):
        return x


class NoKey(same_cnn.Equinox):
    def __call__(self, x, state):
        return x, state


class TwoAxes(same_cnn.Equinox):
    other: eqx.nn.BatchNorm

    def __init__(self, key):
        super().__init__(0.0, key)
        self.other = eqx.nn.BatchNorm(3, "others", mode="batch")


class OwnState(eqx.Module):
    index: eqx.nn.StateIndex

    def __init__(self, key):
        self.index = eqx.nn.StateIndex(jnp.zeros(3))

    def __call__(self, x, state):
        return x, state


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (functools.partial(same_cnn.Equinox, 0.0, mode="ema"), "Equinox: expected BatchNorm.mode="),
        (functools.partial(NoState, 0.0), "NoState: it has running statistics, but no argument st"),
        (functools.partial(NoKey, 0.5), "NoKey: it has Dropout, but no argument key"),
        (TwoAxes, "TwoAxes: expected one axis_name of BatchNorm, got .'batch', 'others'."),
        (OwnState, "OwnState: it has a state, but no attribute inference"),
    ],
)
def test_a_module_of_equinox_that_would_go_wrong_is_refused(make, said):
    with pytest.raises(ValueError, match=f"^{said}"):
        models.from_equinox(make)


def test_a_module_made_with_its_state_is_the_same_model():
    make = functools.partial(same_cnn.Equinox, 0.0)
    both = models.from_equinox(make), models.from_equinox(eqx.nn.make_with_state(make))
    ours, theirs = (jax.eval_shape(model.init, jax.random.key(0)) for model in both)
    assert jax.tree.structure(ours) == jax.tree.structure(theirs) and "norm" in ours[0]
    plain = models.from_equinox(lambda key: eqx.nn.MLP(4, 2, 3, 1, key=key))
    assert plain.name == "MLP" and models.takes_key(plain.apply)
    assert jax.eval_shape(plain.init, jax.random.key(0))[1] == {}


def test_without_equinox_there_is_one_clear_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "lth_jax.models.equinox", None)
    monkeypatch.delattr(models, "equinox")
    with pytest.raises(ImportError, match="^equinox is not installed, .*: pip install equinox"):
        models.from_equinox(EquinoxParts)
