"""The same net in three libraries: equal logits, masks and steps; Dropout, lanes and resume."""

import functools

import alone
import jax
import numpy as np
import pytest
import safetensors.numpy
import same_cnn
import tiny

import lth_jax
from lth_jax import models, sweep, training
from lth_jax.models import base
from lth_jax.sweep import plan
from lth_jax.training import methods

# equinox takes the variance in two passes, where flax has E x² - (E x)², and its means in another
# order. Float32 rounds at 6e-8: a few hundred terms of size 1 leave less than this.
TOLERANCE = {"nnx": 0.0, "equinox": 2e-5}
OTHERS = tuple(TOLERANCE)


@functools.cache
def begin():
    """Weights, scores and state of the linen net."""
    model = same_cnn.model("linen")

    @jax.jit
    def draw(key):
        weights, state = model.init(key)
        pruner = lth_jax.edge_popup(kernel_axes=model.kernel_axes)
        return weights, pruner.init(jax.random.fold_in(key, 1), weights), state

    return jax.device_get(draw(jax.random.key(0)))


def state_of(library):
    return jax.jit(same_cnn.model(library).init)(jax.random.key(0))[1]


def close(ours, theirs, library):
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=TOLERANCE[library])


@pytest.mark.slow
@pytest.mark.parametrize("library", OTHERS)
def test_logits_are_equal_in_training_and_before_it(library):
    x = np.random.default_rng(0).normal(size=(16, 8, 8, 1)).astype(np.float32)

    def both(library):
        model = same_cnn.model(library)
        weights = same_cnn.weights_of(library, begin()[0])
        key = jax.random.key(0) if models.takes_key(model.apply) else None
        trained = jax.jit(functools.partial(base.in_training, model))
        scored = jax.jit(functools.partial(base.in_evaluation, model))
        logits, state = trained(weights, state_of(library), x, key)
        return logits, scored(weights, state_of(library), x), state

    for ours, theirs in zip(both(library)[:2], both("linen")[:2], strict=True):
        close(ours, theirs, library)
    ours, theirs = (same_cnn.statistics_of(name, both(name)[2]) for name in (library, "linen"))
    for our, their in zip(ours, theirs, strict=True):
        close(our, their, library)


@pytest.mark.parametrize("library", same_cnn.LIBRARIES)
def test_kernels_are_known_and_nothing_else_is_pruned(library):
    model = same_cnn.model(library)
    weights = same_cnn.weights_of(library, begin()[0])
    pruner = lth_jax.edge_popup(kernel_axes=model.kernel_axes)
    scores = jax.eval_shape(pruner.init, jax.random.key(0), weights)
    found = lth_jax.pruners.leaves(weights, scores, model.kernel_axes)
    pruned = {leaf.path.split("/")[0]: leaf.fan_in for leaf in found if leaf.fan_in is not None}
    conv, _, dense = same_cnn.NAMES[library]
    assert pruned == {conv: 9, dense: 6}
    # The tree that init gives is this one.
    assert jax.tree.map(np.shape, weights) == jax.tree.map(
        np.shape, jax.eval_shape(model.init, jax.random.key(0))[0]
    )


def step_of(library):
    """One step of `joint`: the state afterwards and its mask."""
    model = same_cnn.model(library)
    pruner = lth_jax.edge_popup(kernel_axes=model.kernel_axes)
    problem = training.Problem(model, pruner, tiny.CONFIG)
    weights, scores, _ = begin()
    weights, scores = (same_cnn.weights_of(library, tree) for tree in (weights, scores))
    origin = training.Initial(weights, scores, state_of(library))
    task = training.lane_task(problem, origin, 3, 0.05, 0.5)
    task = task._replace(key=jax.random.key(task.key))
    arrays, _ = training.lane_data(tiny.dataset())

    @jax.jit
    def run(task, arrays, origin):
        state = training.start(problem, methods.JOINT, task, (weights, scores), origin)
        state = training.advance(problem, methods.JOINT, state, task, arrays, 0, 1, 8)
        return state, pruner.mask(state.scores, task.kept)

    return run(task, arrays, origin)


@functools.cache
def linen_step():
    return jax.device_get(step_of("linen"))


@pytest.mark.slow
@pytest.mark.parametrize("library", OTHERS)
def test_a_training_step_and_its_mask_are_equal(library):
    theirs, their_mask = linen_step()
    ours, our_mask = step_of(library)
    tiny.assert_same_bits(same_cnn.weights_of(library, their_mask), our_mask)
    for name in ("weights", "scores"):
        expected = same_cnn.weights_of(library, getattr(theirs, name))
        jax.tree.map(lambda a, b: close(a, b, library), getattr(ours, name), expected)
    assert tiny.largest_difference(theirs.weights, begin()[0]) > 1e-3  # It was a step.
    assert ours.losses[0] == pytest.approx(theirs.losses[0], abs=TOLERANCE[library])
    statistics = [
        same_cnn.statistics_of(name, state.model_state)
        for name, state in ((library, ours), ("linen", theirs))
    ]
    for our, their in zip(*statistics, strict=True):
        close(our, their, library)


@pytest.mark.slow
@pytest.mark.parametrize("library", OTHERS)
def test_dropout_is_active_in_training_differs_by_key_and_is_off_in_evaluation(library):
    # Each library draws other units to drop, so that they are not compared with each other.
    model, plain = same_cnn.model(library, 0.5), same_cnn.model(library)
    weights = same_cnn.weights_of(library, begin()[0])
    x = np.random.default_rng(0).normal(size=(16, 8, 8, 1)).astype(np.float32)

    @jax.jit
    def everything(weights, state, x):
        keys = [jax.random.key(seed) for seed in (1, 1, 2)]
        trained = [model.apply(weights, state, x, train=True, key=key)[0] for key in keys]
        off = plain.apply(weights, state, x, train=True, key=jax.random.key(3))[0]
        return trained, off, [base.in_evaluation(m, weights, state, x) for m in (model, plain)]

    (one, again, other), off, scored = everything(weights, state_of(library), x)
    np.testing.assert_array_equal(one, again)
    assert np.abs(one - other).max() > 0.01 and np.abs(one - off).max() > 0.01
    np.testing.assert_array_equal(*scored)
    with pytest.raises(ValueError, match="draws random numbers in training: apply needs key="):
        jax.eval_shape(functools.partial(model.apply, train=True), weights, state_of(library), x)


@pytest.mark.parametrize("library", OTHERS)
def test_random_streams_are_no_state(library):
    (names,) = [set(state_of(library))]
    assert not any("dropout" in name or "rng" in name for name in names)
    leaves = jax.tree.leaves(state_of(library))
    assert not any(leaf.weak_type for leaf in leaves)
    assert len(leaves) == {"nnx": 2, "equinox": 3}[library]  # With a count of its batches.


def final_state(problem, seed):
    """What `joint` leaves of a model's state, in one program of its own."""
    task = training.lane_task(problem, training.lane_shapes(problem), seed, 0.03, 0.5)
    task = task._replace(key=jax.random.key(task.key))
    arrays, _ = training.lane_data(tiny.dataset())
    origin = alone.jitted(training.initial, problem)(task.key, task.scale)
    begin = (origin.weights, origin.scores)
    state = alone.jitted(training.start, problem, methods.JOINT)(task, begin, origin)
    advance = alone.jitted(training.advance, problem, methods.JOINT)
    return advance(state, task, arrays, 0, 12, 12).model_state


@pytest.mark.slow
@pytest.mark.parametrize("library", same_cnn.LIBRARIES)
def test_a_ticket_holds_the_running_statistics_of_its_network(library, tmp_path):
    model, dataset = same_cnn.model(library, 0.5), tiny.dataset()
    study = lth_jax.Study(model, dataset, train=tiny.CONFIG, out=tmp_path, keep_tickets=True)
    result = study.run(["joint"], seeds=[0], eps=[0.03], sparsity=[0.5])
    (path,), (row,) = result.tickets(), result.rows
    kept = lth_jax.tickets.load(path)
    x = (dataset.test.images - dataset.mean) / dataset.std

    def right(state):
        logits = jax.jit(functools.partial(base.in_evaluation, model))(kept.weights, state, x)
        return float((logits.argmax(-1) == dataset.test.labels).mean())

    begun = state_of(library)
    assert jax.tree.structure(kept.state) == jax.tree.structure(begun)
    assert right(kept.state) == pytest.approx(row["test_accuracy"], abs=1e-6)
    by_itself = final_state(study.problem, 0)
    if library == "equinox":  # Alone and mapped differ in a last place there.
        assert tiny.largest_difference(kept.state, by_itself) < 1e-6
    else:
        tiny.assert_same_bits(kept.state, by_itself)
    assert tiny.largest_difference(kept.state, begun) > 0.01
    lth_jax.tickets.export_ticket(tmp_path / "all.safetensors", kept)
    names = set(safetensors.numpy.load_file(tmp_path / "all.safetensors"))
    assert sum(name.startswith("state/") for name in names) == len(jax.tree.leaves(begun))


WANTED = plan.lanes(["joint"], [0.03], [0.5], [0, 1])


def finished(runner, saved=()):
    events = runner.run(WANTED, set(), saved)
    return {e.lane: e for e in events if isinstance(e, sweep.Finished)}


@pytest.mark.slow
@pytest.mark.parametrize("library", OTHERS)
def test_with_dropout_and_batch_norm_lanes_agree_and_resume_is_exact(library, compiles):
    model = same_cnn.model(library, 0.5)
    pruner = lth_jax.edge_popup(kernel_axes=model.kernel_axes)
    problem = training.Problem(model, pruner, tiny.CONFIG)
    runner = sweep.Runner(problem, tiny.dataset(), "map", 4, 1e-6)
    whole = finished(runner)
    assert compiles()["advance_joint"] == 1
    row, outcome = alone.run(problem, tiny.dataset(), WANTED[0])
    event = whole[WANTED[0]]
    if library == "nnx":
        assert row["train_loss_curve"] == event.row["train_loss_curve"]
        tiny.assert_same_bits((outcome.weights, outcome.mask), (event.weights, event.mask))
    else:  # XLA sums equinox's net in another order in a program of one lane: a last place.
        assert row["train_loss_curve"] == pytest.approx(event.row["train_loss_curve"], rel=1e-6)
        assert tiny.largest_difference(outcome.weights, event.weights) < 1e-5
    run = runner.run(WANTED)
    for _ in range(5):
        next(run)
    for lane, event in finished(runner, saved=[run.snapshot()]).items():
        tiny.assert_same_bits(event[2:], whole[lane][2:])
        assert event.row["val_curve"] == whole[lane].row["val_curve"]
