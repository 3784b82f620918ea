"""The ball inside other transformations: every row of the table in keep_in_ball's docstring."""

import inspect
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lth_jax.perturb import ball, rounding

R, STEPS = 0.05, 13
SYNCED = optax.LookaheadParams.init_synced
ONLY_A = {"a": True, "b": False}


def sgd():
    return optax.sgd(0.3, 0.9)


def held(norm, *after, **where):
    """The inner optimizer, the ball behind it, and what comes after."""
    return optax.chain(sgd(), ball.keep_in_ball(R, norm, **where), *after)


def fenced(outer):
    """An optimizer whatever it is, with the ball as the last link."""
    return lambda norm: optax.chain(outer, ball.keep_in_ball(R, norm))


def free(**options):
    return optax.contrib.schedule_free(optax.sgd(0.3), 0.3, **options)


def sam(inner):
    sharp = optax.chain(optax.contrib.normalize(), optax.sgd(0.1))
    return optax.contrib.sam(inner, sharp, sync_period=3)


def two_groups(norm):
    return optax.partition({"x": held(norm), "y": held(norm)}, {"a": "x", "b": "y"})


# By the table's first column. Those that may be read elsewhere than at the params say where.
KEEPS = {
    "chain(tx, B)": held,
    "named_chain(.., ('ball', B))": lambda norm: optax.named_chain(
        ("tx", sgd()), ("ball", ball.keep_in_ball(R, norm))
    ),
    "partition({.. I}, labels)": two_groups,
    "inject_hyperparams(lr -> I)": lambda norm: optax.inject_hyperparams(
        lambda lr: optax.chain(optax.sgd(lr, 0.9), ball.keep_in_ball(R, norm))
    )(lr=optax.linear_schedule(0.3, 0.0, STEPS)),
    "MultiSteps(I, k)": lambda norm: optax.MultiSteps(held(norm), 3),
    "apply_if_finite(I, n)": lambda norm: optax.apply_if_finite(held(norm), 3),
    "conditionally_mask(I, f)": lambda norm: optax.conditionally_mask(
        held(norm), lambda step: step % 3 != 1
    ),
    "selective_transform(I, ..)": lambda norm: optax.selective_transform(
        held(norm), freeze_mask=ONLY_A
    ),
    "flatten(I)": lambda norm: optax.flatten(held(norm)),
    "chain(tx, B, B2)": lambda norm: held(
        norm, ball.keep_in_ball(*{"linf": (0.3, "l2")}.get(norm, (0.004, "linf")))
    ),
    "chain(tx, B, zero_nans())": lambda norm: held(norm, optax.zero_nans()),
    "chain(lookahead(tx), B)": fenced(optax.lookahead(sgd(), 3, 1.0)),
    "chain(schedule_free(tx), B)": fenced(free()),
    "chain(sam(tx), B)": fenced(sam(sgd())),
    "chain(mechanize(tx), B)": fenced(optax.contrib.mechanize(sgd())),
    "chain(tx, apply_every(k), B)": fenced(optax.chain(sgd(), optax.apply_every(3))),
}
FAST = ("chain(tx, B)", "MultiSteps(I, k)", "chain(schedule_free(tx), B)")


def weights_of(dtype=jnp.float32):
    draw = np.random.default_rng(0).normal
    sized = {"a": 0.3 * draw(size=(20, 30)), "b": draw(size=(50,))}
    return {name: jnp.asarray(w.astype(dtype)) for name, w in sized.items()}


def sizes(step):
    return (0.02, 5.0, 1e-4, 0.3)[step % 4]


def excess(center, weights, norm):
    """How far outside, in float64; at most 0 inside. The radius is that of the weights' dtype."""
    moves = {name: np.float64(w) - np.float64(center[name]) for name, w in weights.items()}
    dtype = jax.tree.leaves(center)[0].dtype
    if norm == "linf":
        lengths = [np.max(np.abs(m)) for m in moves.values()]
    else:
        lengths = [np.linalg.norm(m) for m in moves.values()]
    length = np.linalg.norm(lengths) if norm == "l2_global" else max(lengths)
    return length - float(rounding.round_toward_zero(R, dtype))


def farthest(tx, norm, read=lambda params, state: params, center=None, steps=STEPS, push=None):
    """The largest excess after any of some generated steps; `read` picks what is looked at."""
    center = weights_of() if center is None else center
    wrapped = isinstance(tx, optax.GradientTransformation) and looks_ahead(tx, center)
    params = SYNCED(center) if wrapped else center
    state, worst = tx.init(params), -np.inf

    @jax.jit
    def step(params, state, grads):
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    for i in range(steps):
        draw = np.random.default_rng(1 + i).normal
        drawn = {
            name: jnp.asarray(
                sizes(i) * draw(size=w.shape) if push is None else np.full(w.shape, push)
            ).astype(w.dtype)
            for name, w in center.items()
        }
        params, state = step(params, state, drawn)
        for seen in params if wrapped else [read(params, state)]:
            worst = max(worst, excess(center, seen, norm))
    return worst


def looks_ahead(tx, center):
    """Whether it needs the pair of params that optax.lookahead works on."""
    state = jax.eval_shape(tx.init, center)
    kinds = jax.tree.leaves(state, is_leaf=lambda s: isinstance(s, optax.LookaheadState))
    return any(isinstance(kind, optax.LookaheadState) for kind in kinds)


def slow_unless(fast, *given):
    return pytest.param(*given, marks=() if fast else pytest.mark.slow)


@pytest.mark.parametrize(
    ("name", "norm", "dtype"),
    [
        slow_unless((name in FAST and norm == "linf" and dtype == jnp.float32), name, norm, dtype)
        for name in KEEPS
        for norm in ball.NORMS
        for dtype in (jnp.float32, jnp.bfloat16)
    ],
)
def test_what_the_table_says_to_keep_the_promise_keeps_it(name, norm, dtype):
    # Every group of a partition, which here is a tensor, has a ball of its own.
    seen = "l2" if norm != "linf" and name.startswith("partition") else norm
    assert farthest(KEEPS[name](norm), seen, center=weights_of(dtype)) <= 0


def of_a(params, state):
    del state
    return {"a": params["a"]}


def evaluated(params, state):
    return optax.contrib.schedule_free_eval_params(state[0], params)


def averaged(norm):
    """The largest excess of a running mean of weights that stay inside."""
    center, tx = weights_of(), held(norm)
    params, state, mean, worst = center, tx.init(center), center, -np.inf
    for i in range(STEPS):
        step = jax.tree.map(lambda w, i=i: jnp.full(w.shape, (-1.0) ** (i > 9)), center)
        updates, state = tx.update(step, state, params)
        params = optax.apply_updates(params, updates)
        mean = optax.incremental_update(params, mean, 0.9)
        worst = max(worst, excess(center, mean, norm))
    return worst


def of_complex_weights():
    """The largest excess of |w - w_0|, and of its real and imaginary part."""
    center = {"a": jnp.asarray([1 + 1j, 2 - 3j], jnp.complex64)}
    tx = optax.contrib.split_real_and_imaginary(held("linf"))
    updates, _ = tx.update({"a": jnp.asarray([5 + 5j, -5 + 9j])}, tx.init(center), center)
    move = np.asarray(optax.apply_updates(center, updates)["a"], np.complex128) - center["a"]
    return np.max(np.abs(move)) - R, max(np.max(np.abs(move.real)), np.max(np.abs(move.imag))) - R


def deviations(tx):
    """The largest excess over each tensor's own 0.05 standard deviations."""
    center = weights_of()
    updates, _ = tx.update(jax.tree.map(lambda w: 9 + w, center), tx.init(center), center)
    moved = optax.apply_updates(center, updates)
    own = ball.radii(center, R, "std")
    return max(ball.displacement(center[n], moved[n]) - float(own[n]) for n in center)


def two_dtypes():
    center = weights_of() | {"b": weights_of(jnp.bfloat16)["b"]}
    tx = optax.flatten(held("linf"))
    updates, _ = tx.update(jax.tree.map(jnp.sign, center), tx.init(center), center)
    moved = optax.apply_updates(center, updates)
    return ball.displacement(center, moved) - R


def behind(link, norm="linf", **how):
    return lambda: farthest(held(norm, link), norm, **how)


def lookahead(norm, reset=False, rate=1.0):
    return farthest(optax.lookahead(held(norm), 3, rate, reset), norm)


# By the table's first column: each way in which weights were found outside.
LEAVES = {
    "chain(B, tx)": [lambda: farthest(optax.chain(ball.keep_in_ball(R), sgd()), "linf")],
    "chain(tx, B, link)": [
        behind(optax.scale(2.0)),
        behind(optax.scale(-0.4)),
        behind(optax.add_decayed_weights(-0.01)),
        behind(optax.trace(0.9)),
        behind(optax.ema(0.9)),
        behind(optax.apply_every(3)),
        behind(optax.keep_params_nonnegative()),
        behind(optax.add_noise(0.01, 0.5, 0)),
        lambda: farthest(held("l2", optax.clip(0.013)), "l2", center=few(), steps=60),
    ],
    "lookahead(I, k, a)": [lambda: lookahead("linf"), lambda: lookahead("l2", True, 0.5)],
    "schedule_free(I, ..)": [
        lambda: farthest(optax.contrib.schedule_free(held("linf"), 0.3), "linf")
    ],
    "schedule_free_eval_params": [
        lambda: farthest(KEEPS["chain(schedule_free(tx), B)"]("linf"), "linf", evaluated)
    ],
    "sam(I, ..)": [lambda: farthest(sam(held("linf")), "linf")],
    "mechanize(I)": [
        lambda: farthest(optax.contrib.mechanize(held("linf")), "linf", steps=60, push=0.1)
    ],
    "partition of l2_global balls": [lambda: farthest(two_groups("l2_global"), "l2_global")],
    "masked(I, mask)": [lambda: farthest(optax.masked(held("linf"), ONLY_A), "linf")],
    "chain(tx, masked(B, mask))": [
        lambda: farthest(optax.chain(sgd(), optax.masked(ball.keep_in_ball(R), ONLY_A)), "linf")
    ],
    "conditionally_transform(B, f)": [
        lambda: farthest(
            optax.chain(
                sgd(), optax.conditionally_transform(ball.keep_in_ball(R), lambda i: i % 3 != 1)
            ),
            "linf",
        )
    ],
    "inject_hyperparams(B)(eps)": [
        lambda: farthest(
            optax.chain(sgd(), optax.inject_hyperparams(ball.keep_in_ball)(eps=R)), "linf"
        )
    ],
    "flatten(I), unit='std'": [lambda: deviations(optax.flatten(held("linf", unit="std")))],
    "flatten(I), two dtypes": [two_dtypes],
    "split_real_and_imaginary(I)": [lambda: of_complex_weights()[0]],
    "incremental_update": [lambda: averaged("linf")],
}


def few():
    return {"a": weights_of()["b"][:3]}


@pytest.mark.slow
@pytest.mark.parametrize("name", LEAVES)
def test_what_the_table_says_to_leave_the_ball_leaves_it(name):
    for outside in LEAVES[name]:
        assert outside() > 0


@pytest.mark.slow
@pytest.mark.parametrize("link", [optax.scale(0.37), optax.scale(0.999), optax.clip(0.013)])
def test_a_link_behind_that_shortens_each_entry_keeps_an_linf_ball(link):
    assert behind(link)() <= 0


@pytest.mark.slow
def test_what_is_left_of_the_promise_is_as_the_table_says():
    for part in ("masked(I, mask)", "chain(tx, masked(B, mask))"):
        inner = held("linf") if part.startswith("masked") else ball.keep_in_ball(R)
        masked = optax.masked(inner, ONLY_A)
        tx = masked if part.startswith("masked") else optax.chain(sgd(), masked)
        assert farthest(tx, "linf", of_a) <= 0
    assert of_complex_weights()[1] <= 0
    rounded = float(rounding.round_toward_zero(R, np.float32))
    exact = optax.inject_hyperparams(ball.keep_in_ball)(eps=rounded)
    assert farthest(optax.chain(sgd(), exact), "linf") <= 0
    # An eps that changes is without effect: the radii are those of init.
    shrinking = optax.inject_hyperparams(ball.keep_in_ball)(eps=lambda step: R / (1 + step))
    assert farthest(optax.chain(sgd(), shrinking), "linf") > -1e-6


def test_the_table_in_the_docstring_has_the_rows_that_are_tested():
    # Dedented: the compiler of Python 3.13 does it, those before do not.
    text = inspect.getdoc(ball.keep_in_ball)
    rows = re.findall(r"^ {4}(yes|no) +(\S.*?)(?:  |$)", text, re.MULTILINE)
    found = {answer: [name for said, name in rows if said == answer] for answer in ("yes", "no")}
    assert found == {"yes": list(KEEPS), "no": list(LEAVES)}
