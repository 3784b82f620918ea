"""The law of the ball for every optimizer, by name or of one's own; and what each computes."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny

from lth_jax import perturb, training
from lth_jax.training import config as train_config
from lth_jax.training import methods, optimizers

STEPS, STEPS_PER_EPOCH = 25, 5
RATE = 0.3  # Adam and lion move by about the rate: out of the smaller balls in one step.


def schedule_free(rate):
    return optax.contrib.schedule_free(optax.adamw(rate, b1=0.0), rate, b1=0.9)


def clipped(rate):
    return optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(rate, 0.9, nesterov=True))


OWN = {"noisy": optax.noisy_sgd, "schedule_free": schedule_free, "clipped": clipped}
ALL = {name: name for name in train_config.OPTIMIZERS} | OWN
# Each costs a compile; the others are one for every sort of state.
SLOW = ("noisy", "clipped", "lion", "adamw")
every_optimizer = pytest.mark.parametrize(
    "optimizer",
    [
        pytest.param(one, id=name, marks=[pytest.mark.slow] if name in SLOW else [])
        for name, one in ALL.items()
    ],
)


def made(config, eps, key=None, kind=methods.JOINT):
    of = (config, kind, eps, lambda: key if key is not None else jax.random.key(3))
    return optimizers.optimizers(*of, STEPS, STEPS_PER_EPOCH)


def config_of(optimizer, **changed):
    decay = {} if callable(optimizer) else {"perturb_decay": 0.3}
    given = {"perturb_optimizer": optimizer, "perturb_lr": RATE, **decay, **changed}
    return training.TrainConfig(**given)


def gradients_of(step, weights):
    """Gaussian, but for one step that is huge."""
    noise = jax.random.normal(jax.random.fold_in(jax.random.key(1), step), (12, 5))
    size = jnp.where(step == 7, 1e30, 1.0)
    return jax.tree.map(lambda w: jnp.resize(size * noise, w.shape).astype(w.dtype), weights)


@functools.cache
def walk(optimizer):
    """A compiled function: eps -> weights before and after all steps."""

    def one_step(eps, step, carry):
        weights, state = carry
        tx = made(config_of(optimizer), eps)["weights"]
        updates, state = tx.update(gradients_of(step, weights), state, weights)
        return optax.apply_updates(weights, updates), state

    @jax.jit
    def walk(eps):
        kernel = jax.random.normal(jax.random.key(0), (12, 5))
        weights = {"kernel": kernel, "none": None, "half": jnp.ones((3, 2), jnp.bfloat16)}
        begin = weights, made(config_of(optimizer), eps)["weights"].init(weights, weights)
        step = functools.partial(one_step, eps)
        return weights, jax.lax.fori_loop(0, STEPS, step, begin)[0]

    return walk


@pytest.mark.parametrize("eps", [0.0, 0.01, 0.4])
@every_optimizer
def test_weights_never_leave_the_ball(optimizer, eps):
    radius = perturb.round_toward_zero(eps, np.float32)
    before, after = walk(optimizer)(radius)
    farthest = perturb.displacement(before, after)
    assert farthest <= radius
    assert farthest >= 0.9 * radius  # They do push against its end.
    if eps == 0:
        tiny.assert_same_bits(before, after)


@every_optimizer
def test_without_a_bound_weights_go_as_the_optimizer_says(optimizer):
    # Without jit bit for bit; with it XLA joins products and sums over the links of a chain.
    weights = [jnp.linspace(-1, 1, 8, dtype=jnp.float32)]

    def three_steps(tx):
        moved, state = weights, tx.init(weights, weights)
        for step in range(3):
            updates, state = tx.update([jnp.sin(5.0 * moved[0] + step)], state, moved)
            moved = optax.apply_updates(moved, updates)
        return moved

    free = made(config_of(optimizer, project_per="epoch"), np.float32(np.inf))["weights"]
    held = made(config_of(optimizer), np.float32(np.inf))["weights"]
    assert free.ball is None and held.ball is not None
    went = three_steps(free)
    tiny.assert_same_bits(three_steps(held), went)
    assert tiny.largest_difference(went, weights) > 0.1


W, G, DECAY = np.float64([0.5, -2.0, 3.0]), np.float64([1.0, 0.25, -4.0]), 0.3


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sgd", G + DECAY * W),
        ("adam", np.sign(G + DECAY * W)),  # Its first step: m/√v is a sign.
        ("adamw", np.sign(G) + DECAY * W),
        ("lion", np.sign(G) + DECAY * W),
    ],
)
def test_what_a_first_step_is_with_decay(name, expected):
    config = training.TrainConfig(prune_optimizer=name, prune_lr=0.5, prune_decay=DECAY)
    tx, scores = made(config, np.float32(0))["scores"], jnp.float32(W)
    update, _ = tx.update(jnp.float32(G), tx.init(scores, scores), scores)
    # Adam's 1 - 0.999 of float32 is out by 1e-5 of it.
    np.testing.assert_allclose(update, -0.5 * expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("schedule", "factor"),
    [
        ("constant", lambda t: 1.0),
        ("linear", lambda t: 1 - t),
        ("cosine", lambda t: (1 + np.cos(np.pi * t)) / 2),
        ("step", lambda t: 1.0 if t < 0.5 else 0.1),
        (lambda done: done**2, lambda t: t**2),
    ],
    ids=["constant", "linear", "cosine", "step", "own"],
)
def test_the_rate_follows_its_schedule(schedule, factor):
    plain = {"prune_decay": 0.0, "momentum": 0.0, "prune_lr": 2.0}
    config = training.TrainConfig(prune_schedule=schedule, **plain)
    tx, scores = made(config, np.float32(0))["scores"], jnp.float32(1)
    state = tx.init(scores, scores)
    for step in range(STEPS):
        update, state = tx.update(jnp.float32(1), state, scores)
        # float32 near the end of the cosine: of the order of its rounding.
        np.testing.assert_allclose(update, -2 * factor(step / STEPS), rtol=1e-5, atol=1e-6)


def test_a_stage_that_begins_elsewhere_has_its_ball_around_w_0():
    # schedule_free remembers where weights were: that must be where they are.
    here, center = jnp.float32([1.0, 2.0]), jnp.float32([1.5, 1.5])
    tx = made(config_of(schedule_free), np.float32(1))["weights"]
    inner, held = tx.init(here, center)
    tiny.assert_same_bits((inner.z, held.center), (here, center))


def test_noise_is_of_the_seed_and_differs_between_weights_and_scores():
    config = config_of(optax.noisy_sgd, prune_optimizer=optax.noisy_sgd)

    def key_of(seed, part):
        state = made(config, np.float32(1), jax.random.key(seed))[part].init(W, W)
        (found,) = [
            x for x in jax.tree.leaves(state) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
        ]
        return tuple(jax.random.key_data(found).tolist())

    pairs = [(seed, part) for seed in (0, 1) for part in ("weights", "scores")]
    assert len({key_of(*pair) for pair in pairs}) == 4
    assert key_of(1, "weights") == key_of(1, "weights")


def test_a_config_names_its_functions_and_says_which_decay_is_not_used():
    own = training.TrainConfig(
        prune_optimizer=functools.partial(optax.adam, b2=0.9), perturb_schedule=lambda done: done
    )
    settings = own.settings()
    assert json.loads(json.dumps(settings)) == settings
    named = {"prune_optimizer": "own: adam", "perturb_schedule": "own: <lambda>"}
    differ = named | {"prune_decay": None}
    assert settings == training.TrainConfig().settings() | differ
    assert own.has_functions and not training.TrainConfig(prune_optimizer="adam").has_functions


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"perturb_optimizer": "adagrad"}, "perturb_optimizer must be one of sgd, adam"),
        (
            {"prune_optimizer": 3},
            "prune_optimizer must be one of .* or a function of the rate, .*got 3",
        ),
        ({"prune_schedule": 3}, "prune_schedule must be one of .* or a function, got 3"),
        (
            {"prune_optimizer": optax.adam, "prune_decay": 0.1},
            "prune_decay must be left alone: prune_optimizer is a function .* got 0.1",
        ),
    ],
)
def test_what_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        training.TrainConfig(**change)


def test_functions_that_give_something_else_are_refused():
    own = config_of(lambda rate: optax.adam)
    with pytest.raises(
        ValueError, match="perturb_optimizer must give an optax.Gradient.* function"
    ):
        made(own, np.float32(1))
    config = training.TrainConfig(prune_schedule=lambda done: jnp.ones(2))
    tx = made(config, np.float32(1))["scores"]
    with pytest.raises(ValueError, match=r"prune_schedule must give a number, got shape \(2,\)"):
        tx.update(jnp.ones(3), tx.init(jnp.ones(3), jnp.ones(3)), jnp.ones(3))
