"""One lane: its steps against the same steps written out by hand, and slices: exact resume."""

import dataclasses
import functools
import itertools
import operator
import typing

import alone
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny

from lth_jax import training
from lth_jax.masks import selection
from lth_jax.training import curves, methods, scoring

STEPS_PER_EPOCH, TOTAL = 4, 8
NAMES = operator.attrgetter("name")


@functools.cache
def setup(kind, noisy=False, eps=0.03, config=tiny.CONFIG):
    problem = tiny.problem(config, tiny.noisy_edge_popup() if noisy else None)
    arrays, _ = training.lane_data(tiny.dataset())
    task = training.lane_task(problem, training.lane_shapes(problem), 3, eps, 0.5)
    task = task._replace(key=jax.random.key(task.key))
    origin = alone.jitted(training.initial, problem)(task.key)
    begin = (origin.weights, origin.scores)
    state = alone.jitted(training.start, problem, kind)(task, begin, origin)
    advance = alone.jitted(training.advance, problem, kind)
    return (
        lambda state, step, until: advance(state, task, arrays, step, until, TOTAL),
        state,
        (task, arrays, problem),
    )


@pytest.mark.parametrize("cuts", [[3], [1, 4, 5], [2, 2, 7]])
@pytest.mark.parametrize(
    "kind", [methods.JOINT, pytest.param(methods.PRUNE, marks=pytest.mark.slow)], ids=NAMES
)
def test_slices_do_not_change_a_bit(kind, cuts):
    advance, state, _ = setup(kind, noisy=True)
    whole = advance(state, 0, TOTAL)
    step = 0
    for until in [*cuts, TOTAL]:
        state = advance(state, step, until)
        step = until
    tiny.assert_same_bits(state, whole)


@pytest.mark.slow
@pytest.mark.parametrize("eps", [0.0, 1e-4, 0.03])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_projected_once_per_epoch_weights_end_it_in_the_ball(norm, eps):
    # The rate carries weights thousands of radii away: no single addition leads back exactly.
    wild = {"project_per": "epoch", "perturb_lr": 3.0, "perturb_schedule": "constant"}
    config = dataclasses.replace(tiny.CONFIG, norm=norm, **wild)
    advance, state, (task, _, _) = setup(methods.PERTURB, eps=eps, config=config)

    def farthest(state):
        pairs = zip(jax.tree.leaves(state.center), jax.tree.leaves(state.weights), strict=True)
        moves = [np.float64(np.asarray(w)) - np.asarray(c) for c, w in pairs]
        size = {"linf": lambda m: np.max(np.abs(m)), "l2": np.linalg.norm}[norm]
        return max(size(move) for move in moves)

    assert farthest(advance(state, 0, STEPS_PER_EPOCH - 1)) > 1
    for epochs in (1, 2):
        state = advance(state, (epochs - 1) * STEPS_PER_EPOCH, epochs * STEPS_PER_EPOCH)
        assert np.all(state.diverged == -1)
        assert farthest(state) <= task.eps
        assert farthest(state) >= 0.99 * task.eps


@pytest.mark.slow
def test_the_noise_of_a_step_depends_on_the_step():
    # Without this, the test above would pass on a loop that restarts its keys. Without a rate the
    # scores move by the noise alone.
    still = dataclasses.replace(tiny.CONFIG, prune_lr=0.0)
    advance, state, _ = setup(methods.PRUNE, noisy=True, config=still)
    one = advance(state, 0, 1).scores
    again = advance(advance(state, 0, 1), 0, 1).scores
    onward = advance(advance(state, 0, 1), 1, 2).scores
    assert tiny.largest_difference(again, onward) > 1e-3
    assert tiny.largest_difference(one, again) > 0


def by_hand(kind, eps):
    """The stage in NumPy's order of thought: gradients to the masked weights, then the formulas."""
    _, state, (task, arrays, problem) = setup(kind, eps=eps)
    config, center = problem.config, np.float64(0)
    weights = [np.asarray(w) for w in jax.tree.leaves(state.weights)]
    scores = [np.asarray(s) for s in jax.tree.leaves(state.scores)]
    center = [w.copy() for w in weights]
    momenta = [[np.zeros_like(w) for w in weights] for _ in range(2)]
    treedef = jax.tree.structure(state.weights)

    def masks():
        found = []
        for s, n in zip(scores, tiny.SIZES, strict=True):
            order = np.argsort(-np.abs(s).ravel(), kind="stable")
            mask = np.zeros(n, bool)
            mask[order[: n // 2]] = True
            found.append(mask.reshape(s.shape))
        return found

    def loss(leaves, images, labels):
        network = jax.tree.unflatten(treedef, leaves)
        x = (images.astype(np.float32) - arrays.mean.reshape(1, 1, 1, 1)) / arrays.std.item()
        logits, _ = problem.model.apply(network, {}, x, train=True)
        return jnp.mean(optax.losses.softmax_cross_entropy_with_integer_labels(logits, labels))

    value_and_gradient = jax.jit(jax.value_and_grad(loss))
    losses = []
    key_data = jax.random.fold_in(task.key, 2)
    for step in range(TOTAL):
        epoch, place = divmod(step, STEPS_PER_EPOCH)
        order = np.asarray(jax.random.permutation(jax.random.fold_in(key_data, epoch), 128))
        rows = order[place * 32 : place * 32 + 32]
        masked = [w * m for w, m in zip(weights, masks(), strict=True)]
        if not kind.masked:
            masked = weights
        value, g = value_and_gradient(masked, arrays.images[rows], arrays.labels[rows])
        losses.append(float(value))
        g = [np.asarray(leaf) for leaf in g]
        rate = 0.5 * (1 + np.cos(np.pi * step / TOTAL))
        g_scores = [
            gi * w * np.sign(s) + config.prune_decay * s
            for gi, w, s in zip(g, weights, scores, strict=True)
        ]
        g_weights = g if not kind.masked else [
            gi * m for gi, m in zip(g, masks(), strict=True)
        ]  # fmt: skip
        new_weights, new_scores = weights, scores
        if "weights" in kind.moves:
            momenta[0] = [0.9 * m + gi for m, gi in zip(momenta[0], g_weights, strict=True)]
            moved = [
                w - config.perturb_lr * rate * m for w, m in zip(weights, momenta[0], strict=True)
            ]
            new_weights = [
                np.clip(w, c - eps, c + eps).astype(np.float32)
                for w, c in zip(moved, center, strict=True)
            ]
        if "scores" in kind.moves:
            momenta[1] = [0.9 * m + gi for m, gi in zip(momenta[1], g_scores, strict=True)]
            new_scores = [
                (s - config.prune_lr * rate * m).astype(np.float32)
                for s, m in zip(scores, momenta[1], strict=True)
            ]
        weights, scores = new_weights, new_scores
    return weights, scores, losses


@pytest.mark.parametrize("kind", [methods.PERTURB, methods.PRUNE, methods.JOINT], ids=NAMES)
def test_a_stage_does_what_its_formulas_say(kind):
    advance, state, _ = setup(kind)
    ours = advance(state, 0, TOTAL)
    weights, scores, losses = by_hand(kind, 0.03)
    # Eight steps of float32 in another order of operations.
    assert tiny.largest_difference(jax.tree.leaves(ours.weights), weights) < 1e-5
    assert tiny.largest_difference(jax.tree.leaves(ours.scores), scores) < 1e-5
    by_epoch = np.sum(np.reshape(losses, (-1, STEPS_PER_EPOCH)), axis=1)
    np.testing.assert_allclose(ours.losses[:2], by_epoch, rtol=1e-4)
    assert np.isnan(ours.losses[2])  # An epoch that the stage does not have.
    moved = tiny.largest_difference(ours.weights, state.weights)
    assert (moved > 0.01) == ("weights" in kind.moves)


def test_the_curve_counts_what_finish_counts():
    advance, state, (task, arrays, problem) = setup(methods.JOINT)
    state = advance(state, 0, TOTAL)
    final = (state.weights, state.scores, state.model_state)
    finish = alone.jitted(training.finish, problem)
    outcome = finish(*final, task, arrays, arrays.validation)
    assert list(np.asarray(state.curve)[:2] >= 0) == [True, True] and state.curve[2] == -1
    assert outcome.validation_right == outcome.test_right == state.curve[1]
    logits, _ = problem.model.apply(
        selection.apply_mask(state.weights, outcome.mask),
        {},
        (arrays.validation.images[0].astype(np.float32) - arrays.mean) / arrays.std,
    )
    assert np.sum(np.argmax(logits, -1) == arrays.validation.labels[0]) == state.curve[1]


def test_padding_is_never_right():
    chunks = scoring.chunks(tiny.dataset().test)
    labels = chunks.labels.ravel()
    assert len(labels) == 300 and (labels >= 0).all()
    split = tiny.dataset().test
    longer = scoring.chunks(type(split)(*(np.concatenate([a, a[:251]]) for a in split)))
    assert longer.labels.shape == (2, 276) and np.sum(longer.labels == -1) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"perturb_epochs": -1},
        {"prune_lr": float("nan")},
        {"momentum": 1.0},
        {"batch_size": 0},
        {"microbatch": 3},
        {"norm": "l3"},
        {"eps_unit": "percent"},
        {"prune_schedule": "quadratic"},
    ],
)
def test_bad_configs_are_refused(change):
    (name,) = change
    with pytest.raises(ValueError, match=name):
        training.TrainConfig(**change)


@pytest.mark.parametrize(
    "kind, wanted", [(int, "a whole number"), (float, "a number"), (bool, "True or False")]
)
def test_a_field_is_of_its_type(kind, wanted):
    hints = typing.get_type_hints(training.TrainConfig)
    names = [name for name, hint in hints.items() if hint is kind]
    strange = {int: (1.5, 2.0, np.int64(2)), float: (True, [0.5]), bool: (1, 0.5, np.True_)}[kind]
    assert len(names) >= 4
    for name, value in itertools.product(names, (*strange, None, "1", float("nan"))):
        with pytest.raises(ValueError, match=f"^{name} must be ") as caught:
            training.TrainConfig(**{name: value})
        assert wanted in str(caught.value) or value != value
    with pytest.raises(ValueError, match="^prune_lr must be finite"):
        training.TrainConfig(prune_lr=10**400)


@pytest.mark.slow
def test_the_smaller_last_batch_is_a_step_of_its_own(
    change=(("last_batch", True), ("batch_size", 48)),
):
    # 128 images: batches of 48, 48 and 32. The last one alone is a step of a batch of 32.
    config = dataclasses.replace(tiny.CONFIG, **dict(change), prune_schedule="constant")
    small = dataclasses.replace(config, last_batch=False, batch_size=32)
    assert [config.steps_per_epoch(n) for n in (95, 96, 97)] == [2, 2, 3]
    advance, start, (task, arrays, problem) = setup(methods.PRUNE, config=config)
    before = advance(start, 0, 2)
    after = advance(before, 2, 3)
    assert list(np.asarray(after.curve)[:2] >= 0) == [True, False]
    # The same 32 images first in an epoch of 32 images: the order is theirs if nothing shuffles.
    order = np.asarray(
        jax.random.permutation(jax.random.fold_in(jax.random.fold_in(task.key, 2), 0), 128)
    )
    rows = order[96:]
    theirs = arrays._replace(images=arrays.images[rows], labels=arrays.labels[rows])
    other = tiny.problem(small)
    step = alone.jitted(training.advance, other, methods.PRUNE)
    expected = step(before, task, theirs, 0, 1, TOTAL)
    assert tiny.largest_difference(after.scores, expected.scores) < 1e-6
    assert tiny.largest_difference(after.scores, before.scores) > 1e-3


@pytest.mark.slow
def test_a_schedule_per_epoch_is_a_staircase():
    config = dataclasses.replace(tiny.CONFIG, schedule_per="epoch", momentum=0.0, prune_decay=0.0)
    advance, state, (task, arrays, problem) = setup(methods.PRUNE, config=config)
    same = dataclasses.replace(config, prune_schedule="constant", schedule_per="step")
    half = dataclasses.replace(same, prune_lr=0.5 * config.prune_lr)
    first = alone.jitted(training.advance, tiny.problem(same), methods.PRUNE)
    second = alone.jitted(training.advance, tiny.problem(half), methods.PRUNE)
    ours = advance(state, 0, STEPS_PER_EPOCH)
    theirs = first(state, task, arrays, 0, STEPS_PER_EPOCH, TOTAL)
    assert tiny.largest_difference(ours.scores, theirs.scores) < 1e-6
    ours = advance(ours, STEPS_PER_EPOCH, TOTAL)
    theirs = second(theirs, task, arrays, STEPS_PER_EPOCH, TOTAL, TOTAL)
    assert tiny.largest_difference(ours.scores, theirs.scores) < 1e-6
    assert tiny.largest_difference(ours.scores, state.scores) > 1e-2


@pytest.mark.slow
def test_curves_say_how_the_mask_and_the_scores_changed():
    config = dataclasses.replace(tiny.CONFIG, prune_schedule="constant")
    recorded = dataclasses.replace(config, curves=True)
    advance, state, (task, _, problem) = setup(methods.PRUNE, config=recorded)
    plain, begin, _ = setup(methods.PRUNE, config=config)
    masks = [problem.pruner.mask(state.scores, task.kept)]
    for epoch in range(2):
        before = advance(state, epoch * STEPS_PER_EPOCH, (epoch + 1) * STEPS_PER_EPOCH - 1)
        state = advance(before, (epoch + 1) * STEPS_PER_EPOCH - 1, (epoch + 1) * STEPS_PER_EPOCH)
        masks += [problem.pruner.mask(s.scores, task.kept) for s in (before, state)]
    # What is recorded changes nothing else.
    tiny.assert_same_bits(state.scores, plain(begin, 0, TOTAL).scores)
    count = sum(tiny.SIZES)
    numbers = dict(zip(curves.NAMES, np.asarray(state.recorded.values), strict=True))

    def differ(old, new):
        pairs = zip(jax.tree.leaves(old), jax.tree.leaves(new), strict=True)
        return sum(int(np.sum(np.asarray(a) != b)) for a, b in pairs) / count

    for epoch, (first, before, last) in enumerate((masks[0:3], masks[2:5])):
        assert 0 < differ(before, last) < differ(first, last)
        # XLA may divide by a constant as it multiplies by its reciprocal.
        assert numbers["epoch_change"][epoch] == pytest.approx(differ(first, last), rel=1e-6)
        assert numbers["step_change"][epoch] == pytest.approx(differ(before, last), rel=1e-6)
    sizes = np.concatenate([np.abs(np.asarray(s)).ravel() for s in jax.tree.leaves(state.scores)])
    np.testing.assert_allclose(numbers["score_mean"][1], sizes.mean(dtype=float), rtol=1e-6)
    assert numbers["score_median"][1] == np.sort(sizes)[count // 2]
    assert all(np.isnan(values[2]) for values in numbers.values())


def test_a_random_start_can_be_within_a_share_of_the_radius():
    def shifts(**change):
        config = dataclasses.replace(tiny.CONFIG, shared_shift=True, **change)
        _, state, _ = setup(methods.RANDOMIZE, config=config)
        moved = jax.tree.map(jnp.subtract, state.weights, state.center)
        # One number per tensor, but for the rounding of w + shift.
        return [float(np.median(np.asarray(leaf))) for leaf in jax.tree.leaves(moved)]

    whole, half = shifts(), shifts(shift_share=0.5)
    np.testing.assert_allclose(half, np.divide(whole, 2), atol=1e-7)
    assert all(0 < abs(shift) <= 0.015 for shift in half)
    assert max(map(abs, whole)) > 0.015
