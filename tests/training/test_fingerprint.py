"""Programs are known by what they compute, whatever jax has cached."""

import jax
import jax.numpy as jnp
import pytest
import tiny

import lth_jax
from lth_jax import training
from lth_jax.training import fingerprint


def plain_model(constant=(1.0, 2.0), seed=1, inner=2.0, scored=0.0):
    """One whose constants are of every sort: an array, a typed key, one in a nested jit."""
    shift, key = jnp.asarray(constant), jax.random.key(seed)

    @jax.jit
    def twice(x):
        return inner * x

    def init(run_key):
        del run_key
        return {"kernel": jax.random.normal(jax.random.fold_in(key, 1), (64, 10)) / 8}, {}

    def apply(weights, state, x, train=False):
        logits = twice(x.reshape(len(x), -1) @ weights["kernel"]) + shift.sum()
        return logits if train else logits + scored, state

    return lth_jax.Model(init, apply)


@pytest.mark.slow
def test_a_program_is_known_by_what_it_computes():
    def name(model, bound=1.0):
        pruner = lth_jax.edge_popup(score_bound=lambda path, leaf: bound)
        problem = training.Problem(model, pruner, tiny.CONFIG)
        return fingerprint.program(problem, tiny.dataset())

    first = name(plain_model())
    jax.clear_caches()  # In the file's last test: what was compiled so far is lost.
    assert name(plain_model()) == first
    others = [
        {"constant": (1.0, 2.5)},
        {"seed": 2},
        {"inner": 2.5},
        {"scored": 1.0},  # Only the final network shows it.
    ]
    names = [name(plain_model(**other)) for other in others]
    names += [name(plain_model(), bound=0.5), name(tiny.own_model())]
    assert len({first, *names}) == 1 + len(names)
