"""Statistics of the final network: its own, by NumPy; methods that end alike are scored alike."""

import functools

import alone
import compiled
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import quick
import tiny

import lth_jax
from lth_jax import models, pruners, sweep, training
from lth_jax.sweep import pace, plan
from lth_jax.training import statistics

IMAGE = jax.ShapeDtypeStruct((1, 8, 8, 1), jnp.float32)


class Normed(nn.Module):
    """BatchNorm without parameters behind a dense layer, remembered for long."""

    rate: float = 0.0

    @nn.compact
    def __call__(self, x, train=False):
        x = nn.Dense(16, use_bias=False)(x.reshape(len(x), -1))
        norm = nn.BatchNorm(not train, momentum=0.99, use_bias=False, use_scale=False)
        x = nn.Dropout(self.rate, deterministic=not train)(nn.relu(norm(x)))
        return nn.Dense(10, use_bias=False)(x)


@functools.cache
def problem(final_statistics=True):
    model = models.from_flax(Normed(), IMAGE, final_statistics=final_statistics)
    return training.Problem(model, pruners.edge_popup(), tiny.CONFIG)


@functools.cache
def task():
    found = training.lane_task(problem(), training.lane_shapes(problem()), 3, 0.0, 0.5)
    return found._replace(key=jax.random.key(found.key))


@functools.cache
def arrays():
    """What a lane reads, on the device."""
    return jax.device_put(training.lane_data(tiny.dataset()))


@functools.cache
def drawn():
    return alone.jitted(training.initial, problem())(task().key)


def by_numpy(kernel, size, images=128):
    """Mean and variance of the first layer over batches of the first epoch's order, averaged."""
    dataset = tiny.dataset()
    order = np.asarray(training.stage._order(problem(), task(), arrays()[0], 0))
    x = (dataset.train.images.astype(np.float64) - dataset.mean) / dataset.std
    hidden = x.reshape(len(x), -1)[order] @ np.float64(kernel)
    batches = hidden[: images // size * size].reshape(-1, size, 16)
    return {"mean": batches.mean(1).mean(0), "var": batches.var(1).mean(0)}


def close(found, expected):
    found = found["batch_stats"]["BatchNorm_0"]
    for name in ("mean", "var"):
        # Float32 sums of 64 terms of size 1, and variances as a difference of squares.
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("size", "most"), quick.first(1, [(16, 70), (100, 10_000), (32, 10_000)]))
def test_they_are_the_mean_over_batches_whatever_the_state_was(size, most, monkeypatch):
    monkeypatch.setattr(statistics, "_MOST", most)  # Of the 128 images.
    data, origin = arrays()[0], drawn()
    order = training.stage._order(problem(), task(), data, 0)
    given = (data.images, data.mean, data.std, order)

    @jax.jit
    def found(network, state):
        batch_state = problem().model.batch_state
        return statistics.of_network(batch_state, network, state, *given, size)

    own = found(origin.weights, origin.model_state)
    close(own, by_numpy(origin.weights["Dense_0"]["kernel"], size, min(most, 128)))
    other = jax.tree.map(lambda leaf: leaf + 7, origin.model_state)
    tiny.assert_same_bits(found(origin.weights, other), own)


@functools.cache
def finished():
    """Events by method and ε."""
    with compiled.shared():
        runner = sweep.Runner(problem(), tiny.dataset(), "map", 4)
    wanted = plan.lanes(["prune", "prune_then_perturb"], (0.0, 0.05), [0.5], [3])
    found = [e for e in runner.run(wanted) if isinstance(e, sweep.Finished)]
    return {(event.lane.method, event.lane.eps): event for event in found}


@pytest.mark.slow
def test_at_eps_0_perturbing_after_pruning_changes_nothing():
    plain, same = finished()["prune", None], finished()["prune_then_perturb", 0.0]
    tiny.assert_same_bits((same.weights, same.mask), (plain.weights, plain.mask))
    tiny.assert_same_bits(same.state, plain.state)
    for name in ("val_accuracy", "test_accuracy"):
        assert same.row[name] == plain.row[name]
    # Where weights have moved it is another network, with statistics of its own.
    moved = finished()["prune_then_perturb", 0.05]
    assert tiny.largest_difference(moved.state, plain.state) > 1e-3


@pytest.mark.slow
def test_they_are_the_pruned_networks_alone_or_mapped():
    event = finished()["prune", None]
    row, outcome = alone.run(problem(), tiny.dataset(), event.lane)
    tiny.assert_same_bits(outcome.model_state, event.state)
    for name in ("val_accuracy", "test_accuracy", "val_curve", "kept"):
        assert event.row[name] == row[name]
    network = lth_jax.apply_mask(event.weights, event.mask)
    close(event.state, by_numpy(network["Dense_0"]["kernel"], 32))
    # So are those of a network with which no step was taken.
    origin, given = drawn(), arrays()
    finish = alone.jitted(training.finish, problem())
    outcome = finish(origin.weights, origin.scores, origin.model_state, task(), *given)
    network = lth_jax.apply_mask(outcome.weights, outcome.mask)
    close(outcome.model_state, by_numpy(network["Dense_0"]["kernel"], 32))


def test_their_time_is_in_the_estimate():
    with_own, without = (pace.scoring_steps(problem(own), tiny.dataset()) for own in (True, False))
    counts = [len(split.labels) for split in (tiny.dataset().watched, tiny.dataset().test)]
    assert with_own / without == pytest.approx(1 + 128 / sum(counts))


class Counting(nn.Module):
    """A state of another kind."""

    @nn.compact
    def __call__(self, x, train=False):
        self.variable("counts", "steps", lambda: jnp.zeros((), jnp.int32))
        return nn.Dense(10)(x.reshape(len(x), -1))


@pytest.mark.parametrize(
    ("module", "said"),
    [
        (Normed(0.5), "Normed draws random numbers in training"),
        (Counting(), "Counting must have state in 'batch_stats' alone, got 'counts'"),
        (tiny.Net(), "Net must have state in 'batch_stats' alone, got none"),
    ],
)
def test_networks_without_such_statistics_are_refused(module, said):
    with pytest.raises(ValueError, match=f"^final_statistics: {said}"):
        models.from_flax(module, IMAGE, final_statistics=True)


def test_training_keeps_the_momentum():
    model, origin = problem().model, drawn()

    @jax.jit
    def both(weights, state, x):
        of_one = model.batch_state(weights, state, x)
        return of_one, model.apply(weights, state, x, train=True)[1]

    found = both(origin.weights, origin.model_state, jnp.ones((2, 8, 8, 1)))
    # Two equal inputs have a variance of 0, a hundredth of the way from 1.
    of_one, after = (state["batch_stats"]["BatchNorm_0"]["var"] for state in found)
    np.testing.assert_allclose(after, 0.99 + 0.01 * of_one, rtol=1e-6)
    np.testing.assert_allclose(of_one, 0, atol=1e-6)
