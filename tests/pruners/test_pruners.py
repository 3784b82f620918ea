"""The contract that every pruner of the registry keeps, and what edge-popup does beyond it."""

import typing

import draws
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lth_jax import pruners
from lth_jax.masks import selection
from lth_jax.pruners import base

CASES = [(name, scope) for name in pruners.PRUNERS for scope in ("tensor", "global")]


@pytest.fixture
def weights():
    conv, dense, norm = draws.normal(7, (3, 3, 2, 4), (12, 5), (5,))
    return {
        "conv": {"kernel": conv},
        "dense": {"kernel": dense, "bias": jnp.ones(5)},
        "norm": {"scale": norm},
    }


def test_the_literal_of_names_is_the_registry():
    assert typing.get_args(pruners.PrunerName) == tuple(pruners.PRUNERS)


@pytest.mark.parametrize(("name", "scope"), CASES)
def test_a_pruner_knows_its_name_and_scope(name, scope):
    assert pruners.PRUNERS[name](scope=scope)[:2] == (name, scope)


def prepare(name, scope, weights, sparsity=0.7):
    pruner = pruners.PRUNERS[name](scope=scope)
    scores = pruner.init(jax.random.key(1), weights)
    return pruner, scores, selection.tree_kept(scores, sparsity, scope)


@pytest.mark.parametrize(("name", "scope"), CASES)
def test_scores_are_where_weights_are_prunable(name, scope, weights):
    _, scores, _ = prepare(name, scope, weights)
    assert scores["dense"]["bias"] is None and scores["norm"]["scale"] is None
    shapes = jax.tree.map(jnp.shape, base.choose(weights, scores))
    assert shapes == jax.tree.map(jnp.shape, scores)
    again = pruners.PRUNERS[name](scope=scope).init(jax.random.key(1), weights)
    assert all(jax.tree.leaves(jax.tree.map(lambda a, b: bool((a == b).all()), scores, again)))


@pytest.mark.parametrize(("name", "scope"), CASES)
@pytest.mark.parametrize("sparsity", [0, 0.5, 0.999, 0.37])
def test_the_mask_keeps_exactly_what_was_asked_for(name, scope, sparsity, weights):
    pruner, scores, kept = prepare(name, scope, weights, sparsity)
    mask = jax.jit(lambda scores, kept: pruner.mask(scores, kept, None))(scores, kept)
    sums = jax.tree.map(lambda m: int(m.sum()), mask)
    assert (sums == kept) if scope == "tensor" else (sum(jax.tree.leaves(sums)) == kept)


@pytest.mark.parametrize(("name", "scope"), CASES)
def test_a_state_changes_nothing_but_the_work(name, scope, weights):
    pruner, scores, kept = prepare(name, scope, weights)

    @jax.jit
    def both(weights, scores):
        state = pruner.init_state(jax.random.key(2), weights, scores, kept)
        moved = jax.tree.map(jnp.flip, scores)  # So that another mask is right.
        _, moved, state = pruner.after_step(jax.random.key(3), 0, weights, moved, kept, state)
        return (
            (pruner.mask(moved, kept, state), pruner.mask(moved, kept, None)),
            (
                pruner.subnetwork(jax.random.key(4), weights, moved, kept, state),
                pruner.subnetwork(jax.random.key(4), weights, moved, kept),
            ),
        )

    for with_state, without in both(weights, scores):
        jax.tree.map(np.testing.assert_array_equal, with_state, without)


@pytest.mark.parametrize(("name", "scope"), CASES)
def test_what_is_not_pruned_passes_through(name, scope, weights):
    pruner, scores, kept = prepare(name, scope, weights)
    network = pruner.subnetwork(jax.random.key(5), weights, scores, kept)
    assert network["dense"]["bias"] is weights["dense"]["bias"]
    applied = pruner.apply(weights, scores, pruner.mask(scores, kept, None))
    assert jax.tree.structure(applied) == jax.tree.structure(weights)
    assert applied["norm"]["scale"] is weights["norm"]["scale"]


def one_of(*allowed):
    """Whether each entry is one of some, to rounding."""

    def holds(w, s, m, v):
        near = [np.abs(v - each) <= 1e-6 * np.abs(each) for each in (f(w, m) for f in allowed)]
        return np.any(near, axis=0)

    return holds


def between(w, s, m, v):
    """Whether each entry is of its weight's sign and no larger."""
    return (v * np.sign(w) >= 0) & (np.abs(v) <= np.abs(w))


MASKED = one_of(lambda w, m: 0 * w, lambda w, m: w)
# What entries a network may have, for weights and the final mask.
RANGES = dict.fromkeys(pruners.PRUNERS, MASKED) | {
    "biprop": one_of(lambda w, m: 0 * w, lambda w, m: np.sign(w) * np.abs(w[m]).mean()),
    "signed": one_of(lambda w, m: 0 * w, lambda w, m: w, lambda w, m: -w),
    "hard_concrete": between,
}
SAMPLED = {"bernoulli", "hard_concrete"}  # Their steps use the key.


@pytest.mark.parametrize(("name", "scope"), CASES)
def test_a_network_stays_in_its_range_and_compiled_is_what_it_is_step_by_step(name, scope, weights):
    pruner, scores, kept = prepare(name, scope, weights)
    eager = pruner.subnetwork(jax.random.key(5), weights, scores, kept)
    compiled = jax.jit(pruner.subnetwork)
    jitted, other = (compiled(jax.random.key(k), weights, scores, kept) for k in (5, 6))
    mask = pruner.mask(scores, kept, None)
    final = pruner.apply(weights, scores, mask)
    for layer in ("conv", "dense"):
        w, m, v = (np.asarray(t[layer]["kernel"]) for t in (weights, mask, final))
        one, again, second = (np.asarray(t[layer]["kernel"]) for t in (eager, jitted, other))
        np.testing.assert_allclose(one, again, rtol=1e-5, atol=1e-6)
        assert np.any(again != second) == (name in SAMPLED)
        assert np.all(v[~m] == 0)
        assert RANGES[name](w, scores, m, v).all() and RANGES[name](w, scores, m, one).all()


@pytest.mark.parametrize(("name", "scope"), CASES)
def test_lanes_may_differ_in_kept_under_vmap(name, scope, weights):
    pruner, scores, _ = prepare(name, scope, weights)
    kept = [selection.tree_kept(scores, s, scope) for s in (0.2, 0.9)]
    batched = jax.vmap(lambda k: pruner.mask(scores, k, None))(
        jax.tree.map(lambda *x: jnp.stack(x), *(jax.tree.map(jnp.int32, k) for k in kept))
    )
    for lane, one in enumerate(kept):
        alone = pruner.mask(scores, one, None)
        same = jax.tree.map(lambda a, b, i=lane: bool((a == b[i]).all()), alone, batched)
        assert all(jax.tree.leaves(same))


def test_edge_popup_starts_from_the_uniform_scores_of_its_paper():
    weights = {"w": jnp.zeros((50, 40, 30))}
    scores = pruners.edge_popup().init(jax.random.key(0), weights)["w"]
    bound = 1 / np.sqrt(50 * 40)
    assert np.abs(scores).max() <= bound
    # The variance of U(-b, b) is b²/3; 60,000 draws give it to under 1 %.
    assert np.var(scores) == pytest.approx(bound**2 / 3, rel=0.02)


def test_edge_popup_gradients_are_the_straight_through_ones(weights):
    pruner, scores, kept = prepare("edge_popup", "tensor", weights)
    target = jax.tree.map(
        lambda w: np.cos(np.arange(w.size, dtype=w.dtype)).reshape(w.shape), weights
    )

    def loss(weights, scores):
        network = pruner.subnetwork(jax.random.key(0), weights, scores, kept)
        return sum(jax.tree.leaves(jax.tree.map(lambda n, t: jnp.vdot(n, t), network, target)))

    by_weights, by_scores = jax.device_get(jax.jit(jax.grad(loss, (0, 1)))(weights, scores))
    weights, scores = jax.device_get((weights, scores))
    mask = pruner.mask(scores, kept, None)
    for layer, leaf in (("conv", "kernel"), ("dense", "kernel")):
        g, w, s, m = (t[layer][leaf] for t in (target, weights, scores, mask))
        np.testing.assert_allclose(by_scores[layer][leaf], g * w * np.sign(s), rtol=1e-6)
        np.testing.assert_array_equal(by_weights[layer][leaf], g * m)
    np.testing.assert_array_equal(by_weights["dense"]["bias"], target["dense"]["bias"])


def test_an_unknown_scope_is_refused():
    with pytest.raises(ValueError, match="scope"):
        pruners.edge_popup(scope="layer")


@pytest.mark.parametrize("scope", ["tensor", "global"])
def test_counts_of_the_other_scope_are_refused(scope, weights):
    other = {"tensor": "global", "global": "tensor"}[scope]
    pruner = pruners.edge_popup(scope)
    scores = pruner.init(jax.random.key(0), weights)
    with pytest.raises(ValueError, match="for kept with scope"):
        pruner.mask(scores, selection.tree_kept(scores, 0.5, other))


@pytest.mark.parametrize(("name", "scope"), CASES)
def test_trees_that_differ_are_refused_while_tracing(name, scope, weights):
    pruner, scores, kept = prepare(name, scope, weights)
    key = jax.random.key(0)
    wrong = scores | {"conv": {"kernel": jnp.ones((3, 3, 2, 5))}}
    with pytest.raises(ValueError, match="expected .* of .*, got "):
        jax.eval_shape(pruner.subnetwork, key, weights, wrong, kept)
    with pytest.raises(ValueError, match="expected .* of .*, got "):
        jax.eval_shape(pruner.apply, weights, scores, pruner.mask(wrong, kept))
    if scope == "tensor":
        with pytest.raises(ValueError, match="expected kept of .*, got "):
            pruner.mask(scores, kept | {"norm": {"scale": 1}})
