"""Random numbers of a model: the key that training gives to `apply`, and evaluation does not."""

import dataclasses
import functools

import alone
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

import lth_jax
from lth_jax import models, sweep, training
from lth_jax.models import base
from lth_jax.sweep import plan
from lth_jax.training import fingerprint, methods, scoring

EXAMPLE = jax.ShapeDtypeStruct((1, 8, 8, 1), jnp.float32)


class Drops(nn.Module):
    rate: float = 0.5

    @nn.compact
    def __call__(self, x, train=False):
        x = nn.Dense(12, use_bias=False)(x.reshape(len(x), -1))
        x = nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.9)(x))
        return nn.Dense(10)(nn.Dropout(self.rate, deterministic=not train)(x))


class Noisy(nn.Module):
    """Draws from a stream of its own name, besides Dropout's."""

    @nn.compact
    def __call__(self, x, train=False):
        x = nn.Dropout(0.5, deterministic=not train)(x.reshape(len(x), -1))
        if train:
            x = x + jax.random.normal(self.make_rng("noise"), x.shape)
        return nn.Dense(10)(x)


@functools.cache
def dropping(rate=0.5):
    return models.from_flax(Drops(rate), EXAMPLE)


def four(weights, state, x, train=False):
    return x, state


def five(weights, state, x, train=False, key=None):
    return x, state


def named(weights, state, x, train=False, *, key):
    return x, state


def any_names(weights, state, x, train=False, **rest):
    return x, state


@pytest.mark.parametrize(
    ("apply", "takes"),
    [(four, False), (five, True), (named, True), (any_names, False)],
)
def test_whether_a_model_takes_a_key_is_told_by_its_signature(apply, takes):
    for form in (apply, functools.partial(apply), jax.jit(apply, static_argnames="train")):
        assert models.takes_key(form) == takes
    key = jax.random.key(0) if takes else None
    model = lth_jax.Model(lambda key: ({}, {}), apply)
    assert base.in_training(model, {}, {}, 3, key) == (3, {})
    assert base.in_evaluation(model, {}, {}, 3) == 3


def test_a_wrapped_module_takes_one_if_it_draws():
    assert models.takes_key(dropping().apply) and not models.takes_key(dropping(0.0).apply)
    assert models.takes_key(models.from_flax(Noisy(), EXAMPLE).apply)
    assert not models.takes_key(tiny.own_model().apply)


@pytest.mark.slow
def test_dropout_is_active_in_training_differs_by_key_and_is_off_in_evaluation(key):
    @jax.jit
    def everything(key):
        weights, state = dropping().init(jax.random.fold_in(key, 0))
        x = jax.random.normal(jax.random.fold_in(key, 1), (32, 8, 8, 1))
        keys = [jax.random.key(seed) for seed in (1, 1, 2)]
        trained = [dropping().apply(weights, state, x, train=True, key=k) for k in keys]
        plain = dropping(0.0).apply(weights, state, x, train=True)
        models = dropping(), dropping(0.0)
        return state, trained, plain, [model.apply(weights, state, x) for model in models]

    state, ((first, after), (again, _), (other, _)), (plain, moved), scored = everything(key)
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.1 and np.abs(first - plain).max() > 0.1
    # What is dropped comes after the statistics: they move alike.
    tiny.assert_same_bits(after, moved)
    assert tiny.largest_difference(after, state) > 0
    tiny.assert_same_bits(scored[0], scored[1])
    tiny.assert_same_bits(scored[0][1], state)


def test_half_of_the_units_are_dropped(key):
    class Only(nn.Module):
        @nn.compact
        def __call__(self, x, train=False):
            self.param("unused", nn.initializers.ones, (2, 2))
            return nn.Dropout(0.5, deterministic=not train)(x)

    model = models.from_flax(Only(), jnp.zeros((1, 4)))
    weights, state = model.init(key)
    out, _ = model.apply(weights, state, jnp.ones((100, 100)), train=True, key=key)
    # 10,000 fair coins: five standard deviations are 0.025.
    assert set(np.unique(out)) == {0.0, 2.0} and np.mean(out) / 2 == pytest.approx(0.5, abs=0.025)


class NoSwitch(nn.Module):
    @nn.compact
    def __call__(self, x, learning=False):
        return nn.Dense(10)(nn.Dropout(0.5, deterministic=not learning)(x.reshape(len(x), -1)))


class AlwaysNoisy(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.Dense(10)(x.reshape(len(x), -1))
        return x + jax.random.normal(self.make_rng("noise"), x.shape)


def test_draws_that_cannot_be_switched_or_have_no_key_are_refused_in_a_line(key):
    with pytest.raises(ValueError, match=r"^NoSwitch: it has Dropout, but none of .*switch="):
        jax.eval_shape(models.from_flax(NoSwitch(), EXAMPLE).init, key)
    model = models.from_flax(NoSwitch(), EXAMPLE, switch="learning")
    assert models.takes_key(model.apply)
    weights, state = jax.eval_shape(model.init, key)
    with pytest.raises(ValueError, match=r"^NoSwitch draws .* in training: apply needs key="):
        jax.eval_shape(functools.partial(model.apply, train=True), weights, state, EXAMPLE)
    always = models.from_flax(AlwaysNoisy(), EXAMPLE)
    with pytest.raises(ValueError, match="^AlwaysNoisy draws random numbers in evaluation, too"):
        jax.eval_shape(always.apply, *jax.eval_shape(always.init, key), EXAMPLE)


def recording():
    """A model whose state holds the keys that it was given, one after the other."""

    def init(key):
        seen = {"keys": jnp.zeros((16, 2), jnp.uint32), "count": jnp.int32(0)}
        return {"kernel": jax.random.normal(key, (64, 10)) / 8}, seen

    def apply(weights, state, x, train=False, key=None):
        assert train == (key is not None)
        if train:
            data, count = jax.random.key_data(key), state["count"]
            state = {"keys": state["keys"].at[count].set(data), "count": count + 1}
        return x.reshape(len(x), -1) @ weights["kernel"], state

    return lth_jax.Model(init, apply)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [methods.JOINT, methods.PERTURB], ids=["joint", "perturb"])
@pytest.mark.parametrize("microbatch", [0, 16])
def test_each_step_and_each_microbatch_has_a_key_of_its_own(kind, microbatch):
    config = dataclasses.replace(tiny.CONFIG, microbatch=microbatch)
    problem = training.Problem(recording(), lth_jax.edge_popup(), config)
    arrays, _ = training.lane_data(tiny.dataset())
    task = training.lane_task(problem, training.lane_shapes(problem), 3, 0.03, 0.5)
    task = task._replace(key=jax.random.key(task.key))
    origin = alone.jitted(training.initial, problem)(task.key)
    begin = (origin.weights, origin.scores)
    state = training.start(problem, kind, task, begin, origin)
    state = alone.jitted(training.advance, problem, kind)(state, task, arrays, 0, 8, 8)
    use = {"joint": 4, "perturb": 3}[kind.name]  # The run's key of the stage, as of yore.
    steps = [
        jax.random.fold_in(jax.random.fold_in(jax.random.fold_in(task.key, use), step), 3)
        for step in range(8)
    ]
    expected = steps
    if microbatch:
        expected = [jax.random.fold_in(step, part) for step in steps for part in range(2)]
    seen = np.asarray(state.model_state["keys"])[: len(expected)]
    assert state.model_state["count"] == len(expected) == len(np.unique(seen, axis=0))
    np.testing.assert_array_equal(seen, [jax.random.key_data(each) for each in expected])


def test_the_key_of_the_model_is_none_of_the_steps_other_keys():
    step_key = jax.random.key(7)
    others = np.asarray(jax.random.key_data(jax.random.split(step_key, 3)))
    own = np.asarray(jax.random.key_data(jax.random.fold_in(jax.random.key(7), 3)))
    assert not (others == own).all(axis=1).any()


def test_a_model_that_takes_no_key_is_the_program_that_it_was():
    wrapped = tiny.own_model()

    def apply(weights, state, x, train=False):
        return wrapped.apply(weights, state, x, train=train)

    def program(model):
        problem = training.Problem(model, lth_jax.edge_popup(), tiny.CONFIG)
        return fingerprint.program(problem, tiny.dataset())

    def keyed(weights, state, x, train=False, key=None):
        return wrapped.apply(weights, state, x, train=train)

    assert program(wrapped) == program(lth_jax.Model(wrapped.init, apply))
    assert program(wrapped) != program(lth_jax.Model(wrapped.init, keyed))


@functools.cache
def problem():
    return training.Problem(dropping(), tiny.noisy_edge_popup(), tiny.CONFIG)


WANTED = plan.lanes(["perturb_then_prune"], [0.03], [0.5], [0, 1])


def finished(runner, wanted=WANTED, saved=()):
    events = runner.run(wanted, set(), saved)
    return {e.lane: e for e in events if isinstance(e, sweep.Finished)}


def arrays_of(event):
    return event.center, event.weights, event.mask


@pytest.mark.slow
def test_with_dropout_lanes_agree_and_resume_is_exact():
    runner = sweep.Runner(problem(), tiny.dataset(), "map", 4, 1e-6)
    whole = finished(runner)
    for lane in WANTED:  # Alone = map.
        row, outcome = alone.run(problem(), tiny.dataset(), lane)
        assert row["train_loss_curve"] == whole[lane].row["train_loss_curve"]
        tiny.assert_same_bits((outcome.weights, outcome.mask), arrays_of(whole[lane])[1:])
    for cut in (3, 10):  # k + (N - k) = N, in either stage.
        run = runner.run(WANTED)
        for _ in range(cut):
            next(run)
        again = finished(runner, saved=[run.snapshot()])
        assert again.keys() == whole.keys()
        for lane, event in again.items():
            tiny.assert_same_bits(arrays_of(event), arrays_of(whole[lane]))
            assert event.row["val_curve"] == whole[lane].row["val_curve"]


def test_scoring_draws_nothing():
    x = np.zeros((4, 8, 8, 1), np.uint8)
    chunks = scoring.Chunks(x[None], np.zeros((1, 4), np.int32))
    weights, state = jax.eval_shape(dropping().init, jax.random.key(0))
    one = np.float32([1])
    # Under jit, where a random number would be a traced one: the programs are compared.
    count = lambda rate: jax.make_jaxpr(  # noqa: E731
        functools.partial(scoring.count_right, dropping(rate))
    )(weights, state, chunks, one, one)
    assert str(count(0.5)) == str(count(0.0)) and "random_bits" not in str(count(0.5))
