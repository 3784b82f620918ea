"""The least certified network: within what is allowed, causal, least, sparse, and a real ticket."""

import itertools
from fractions import Fraction

import jax
import networks
import numpy as np
import pytest

from lth_jax import tickets
from lth_jax.masks import selection
from lth_jax.theory import construction
from lth_jax.theory.construction import (
    adaptive,
    certified,
    exact_certificate,
    network_certificate,
    random_network,
    sensitivity,
    stream,
    thrift,
)
from lth_jax.theory.subset_sum import solvers

ALLOWED = 0.05


@pytest.fixture(scope="module")
def target():
    rng = np.random.default_rng(0)
    return [rng.normal(0, 0.3, (b, a)) for a, b in ((12, 8), (8, 5), (5, 3))]


def build(target, eps, assignment, allowed=ALLOWED, seed=3, **settings):
    return certified.least(target, jax.random.key(seed), eps, allowed, assignment, **settings)


def layers_of(built):
    layout = built.layout
    return random_network.effective(built.weights, built.masks, layout.scales, layout.units)


def columns_of(weights, eps, rows, scale=1.0, limit=30):
    """Columns whose stream is `rows` [count, out]."""
    inputs = weights.shape[1]
    return stream.Columns(
        lambda copy: rows[copy * inputs : (copy + 1) * inputs], weights, scale, eps, limit
    )


@pytest.mark.slow
@pytest.mark.parametrize("assignment", construction.ASSIGNMENTS)
@pytest.mark.parametrize("eps", [0.0, 0.02])
def test_a_certified_network_is_a_ticket_that_runs(target, tmp_path, eps, assignment):
    least = build(target, eps, assignment)
    built, layout = least.built, least.built.layout
    bound = network_certificate.bound(target, layers_of(built))
    assert bound.value <= ALLOWED
    # The same over the rationals, by other code.
    pruned = selection.apply_mask(built.weights, built.masks)
    exact = exact_certificate.certificate(target, pruned, layout)
    assert exact <= bound.entrywise <= float(exact) * (1 + 1e-9)
    trees = pruned, built.masks, built.candidates
    assert exact_certificate.farthest(*trees) <= Fraction(eps)
    path = tmp_path / "a.ticket"
    drawn = tickets.ConstructionOrigin(3, layout)
    bits = 16 if eps else None
    trees = built.candidates, built.weights, built.masks
    tickets.save(path, *trees, drawn, bits=bits, eps=eps)
    again = tickets.load(path)
    jax.tree.map(np.testing.assert_array_equal, again.weights, pruned)
    assert again.origin == drawn
    x = np.random.default_rng(1).uniform(0, 1, (50, 12)).astype(np.float32)
    logits = tickets.model_of(again.origin).apply(again.weights, {}, x)[0]
    np.testing.assert_allclose(logits, networks.output(layers_of(built), x), atol=1e-5)
    f = networks.output([layer._replace(plus=w) for layer, w in zip(
        layers_of(built), target, strict=True)], x)  # fmt: skip
    assert np.abs(logits - f).max() <= bound.value + 1e-5
    moved = [np.abs(np.float64(built.weights[b]["weight2"]) - built.candidates[b]["weight2"])
             for b in built.weights]  # fmt: skip
    assert max(m.max() for m in moved) <= eps
    counts = construction.counts(built)
    assert counts.kept == sum(int(m["weight2"].sum()) for m in built.masks.values())
    assert counts.kept <= least.kept_by_best
    if assignment == "adaptive":
        units = [sum(each) for each in layout.units]
        assert counts.candidates == sum(n * len(w) for n, w in zip(units, target, strict=True))
        assert layout.widths == tuple(max(each) for each in layout.units)
        assert len({n for each in layout.units for n in each}) > 1


@pytest.mark.slow
def test_both_assignments_choose_within_one_random_network(target):
    wide, slim = (build(target, 0.02, a).built for a in construction.ASSIGNMENTS)
    for name, block in wide.candidates.items():
        rows, others = block["weight2"], slim.candidates[name]["weight2"]
        shorter = min(len(rows), len(others))
        assert np.array_equal(rows[:shorter], others[:shorter])
    drawn, _ = slim.model.init(jax.random.key(3))
    jax.tree.map(np.testing.assert_array_equal, drawn, slim.candidates)


def plainly(weights, weighing, bounds, allowed, eps, rows):
    """The rule of `adaptive.assign` as it is written there: every n in turn, from the solver."""
    left, used, start, units = allowed.copy(), np.zeros_like(allowed), 0, []
    for index, bound in enumerate(bounds):
        ahead = bounds[index:].sum()
        gain = (index + 4) / (used.max() + 4)
        later = adaptive.FLOOR * bounds[index + 1 :].sum() / bounds.sum() * allowed
        threshold = np.minimum(left * min(gain * bound / ahead, 1.0), left - later)
        for n in itertools.count(1):
            x = rows[start : start + n].T.astype(np.float64)
            found = solvers.solve(x, weights[:, index], eps, 0.0, "best")
            error = weights[:, index] - np.where(found.mask, x + found.y, 0).sum(axis=1)
            up, down = np.maximum(error, 0) * bound, np.maximum(-error, 0) * bound
            same, turned = weighing
            cost = np.stack([same @ up + turned @ down, same @ down + turned @ up], 1)
            if (cost <= threshold + 1e-14).all():
                break
        left, used, start = left - cost, used + cost / threshold, start + n
        units.append(n)
    return units


@pytest.fixture(scope="module")
def layer():
    """Weights [20, 15] under a weighing of 3 outputs, bounds of the inputs, and a stream."""
    rng = np.random.default_rng(5)
    weights, above = rng.uniform(-0.5, 0.5, (20, 15)), rng.normal(0, 0.3, (3, 20))
    weighing = sensitivity.at_the_output([weights, above]).below(above)
    rows = rng.uniform(-1, 1, (15 * 30, 20)).astype(np.float32)
    return weights, weighing, rng.uniform(0.5, 2, 15), rows


@pytest.mark.parametrize("eps", [0.0, 0.03])
def test_every_input_stops_at_the_first_column_that_does(layer, eps):
    weights, weighing, bounds, rows = layer
    allowed = np.full((3, 2), 0.1)
    found = adaptive.assign(columns_of(weights, eps, rows), weighing, bounds, allowed)
    assert found.owners.units.tolist() == plainly(weights, weighing, bounds, allowed, eps, rows)
    assert (found.spent <= allowed).all() and found.spent.max() > 0.5 * allowed.max()
    # What was spent is what the subsets' errors cost.
    columns = columns_of(weights, eps, rows)
    errors = weights - columns.sums(found.answers)
    cost = weighing.cost(errors * bounds).sum(axis=-1)
    np.testing.assert_allclose(cost, found.spent, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("eps", [0.0, 0.03])
def test_an_input_knows_nothing_of_the_columns_to_come(layer, eps):
    weights, weighing, bounds, rows = layer
    allowed = np.full((3, 2), 0.1)
    before = adaptive.assign(columns_of(weights, eps, rows), weighing, bounds, allowed)
    for known in (3, 9):
        taken = int(before.owners.units[:known].sum())
        other = np.concatenate([rows[:taken], -rows[taken:][::-1]])
        after = adaptive.assign(columns_of(weights, eps, other), weighing, bounds, allowed)
        assert np.array_equal(after.owners.units[:known], before.owners.units[:known])
        same = slice(0, known * 20)
        for one, two in zip(after.answers, before.answers, strict=True):
            assert np.array_equal(one[same], two[same])
        assert not np.array_equal(after.answers.bits, before.answers.bits)


def test_the_inputs_need_no_more_than_is_proved(layer):
    """The tolerance stops an input whatever came before, and E n is below its bound."""
    weights, weighing, bounds, _ = layer
    allowed, eps = np.full((3, 2), 0.05), 0.05
    seen, within = [], []
    for seed in range(20):
        rows = np.random.default_rng([7, seed]).uniform(-1, 1, (15 * 30, 20)).astype(np.float32)
        found = adaptive.assign(columns_of(weights, eps, rows), weighing, bounds, allowed)
        seen.append(found.owners.units.mean())
        for index, start in enumerate(found.owners.starts[:4]):
            n = int(found.owners.units[index]) - 1
            if n:  # One column less was not enough, so some weight was farther off than that.
                x = rows[start : start + n].T.astype(np.float64)
                reached = solvers.reachable(x, weights[:, index], eps, found.tolerance)
                within.append(reached.all())
    assert len(within) > 40 and not any(within)
    layout = random_network.Layout((15, 20), (1,), 1, "uniform", (1.0,), ((1,) * 15,))
    theory = construction.sizes_by_theory(layout, [weights], eps, [found.tolerance], 0.05)
    proved = theory.proved
    assert np.mean(seen) < proved < 20 * np.mean(seen)


@pytest.mark.parametrize("part, units", [(0.9, 1), (0.98, 2)])
def test_no_input_may_use_what_is_kept_for_the_others(part, units):
    """With nothing used so far the last but one could take all: half a share is kept."""
    weights = np.zeros((1, 15))
    weights[0, 13] = part * 0.4
    rows = np.zeros((450, 1), np.float32)
    rows[14] = np.float32(weights[0, 13])  # Its second column is the weight.
    weights[0, 13] = rows[14, 0] if units == 2 else weights[0, 13]
    weighing = sensitivity.Weighing(np.ones((1, 1)), np.zeros((1, 1)))
    found = adaptive.assign(
        columns_of(weights, 0.0, rows), weighing, np.ones(15), np.full((1, 2), 0.4)
    )
    assert found.owners.units.tolist() == [1] * 13 + [units, 1]


def test_the_mean_that_the_signs_demand_is_that_of_their_lottery():
    eps, weights = 0.3, 12
    rng = np.random.default_rng(1)
    target = np.full((weights, 3), 0.4) * rng.choice([-1, 1], (weights, 3))
    layout = random_network.Layout((3, weights), (1,), 1, "uniform", (1.0,), ((1, 1, 1),))
    theory = construction.sizes_by_theory(layout, [target], eps, [1e-4], 0.05)
    # A candidate below -ε is of no use to a positive weight: until each has seen another one.
    x = rng.uniform(-1, 1, (20000, weights, 60))
    first = (x > -eps).argmax(axis=2).max(axis=1) + 1
    error = first.std() / np.sqrt(len(first))
    assert abs(first.mean() - theory.necessary) < 4 * error
    assert theory.necessary < theory.proved


def test_a_dead_input_takes_a_column_and_costs_nothing(layer):
    weights, weighing, bounds, rows = layer
    bounds = np.where(np.arange(15) == 4, 0.0, bounds)
    columns = columns_of(weights, 0.03, rows)
    found = adaptive.assign(columns, weighing, bounds, np.full((3, 2), 0.1))
    assert found.owners.units[4] == 1 and (found.spent <= 0.1).all()
    assert not found.answers.bits.reshape(15, 20)[4].any()


@pytest.mark.parametrize("guess", [1, 5, 16])
@pytest.mark.parametrize("eps", [0.0, 0.05])
def test_the_widths_are_the_least_ones_the_largest_layer_first(target, eps, guess, monkeypatch):
    """Wherever the search begins: at 5, or from the guess, or from too many."""
    limit = 16
    if guess > 1:
        monkeypatch.setattr(certified, "_guess", lambda *_: guess)
    built = build(target, eps, "uniform", bits=None, limit=limit).built
    seen, room = {}, ALLOWED * (1 - 1e-5)

    def layer_at(index, n):
        if (index, n) not in seen:
            w, scale = target[index], built.layout.scales[index]
            shape = w.T.shape
            rows = [random_network.draw_copy(jax.random.key(3), index, 0, c, shape, "uniform")
                    for c in range(n)]  # fmt: skip
            x = scale * np.stack(rows).reshape(n, -1).T.astype(np.float64)
            found = solvers.solve(x, w.T.ravel(), scale * eps, 0.0, "best")
            sums = np.where(found.mask, x + found.y, 0).sum(axis=1).reshape(shape).T
            zero = np.zeros_like(w)
            seen[index, n] = network_certificate.Layer(sums, None, zero, None)
        return seen[index, n]

    def fits(widths):
        layers = [layer_at(i, n) for i, n in enumerate(widths)]
        return network_certificate.entrywise(target, layers) <= room

    widths = [limit] * 3
    for index in range(3):  # 96, 40 and 15 weights.
        widths[index] = next(n for n in range(1, limit + 1) if fits(
            [*widths[:index], n, *widths[index + 1 :]]))  # fmt: skip
    assert list(built.layout.widths) == widths


def test_the_menu_has_the_least_error_of_each_size():
    rng = np.random.default_rng(2)
    weights, eps, n = rng.uniform(-0.5, 0.5, (6, 3)), 0.01, 7
    rows = rng.uniform(-1, 1, (3 * n, 6)).astype(np.float32)
    columns = columns_of(weights, eps, rows)
    owners = columns.regular(n)
    answers = stream.empty(columns.targets.ravel())
    columns.improve(answers, owners, n)
    menu = thrift.menu(columns, owners, answers, 4)
    x = columns.candidates(owners, np.arange(18), n)
    for at, z in enumerate(columns.targets.ravel()):
        for size in range(5):
            errors = [
                max(abs(z - x[at, list(s)].sum()) - size * eps, 0.0)
                for s in itertools.combinations(range(n), size)
            ]
            # A size that reaches it ends the search: later rows repeat that answer.
            least = min(errors) if menu.terms[1 + size, at] == size else 0.0
            assert abs(abs(menu.left[1 + size, at]) - least) <= 1e-12
        assert abs(menu.left[0, at]) <= np.abs(menu.left[1:, at]).min() + 1e-12


def test_the_pick_keeps_few_weights_and_never_leaves_the_room(target):
    kept = []
    for allowed in (0.05, 0.2, 0.8):
        least = build(target, 0.0, "uniform", allowed, width=12)
        bound = network_certificate.bound(target, layers_of(least.built))
        assert bound.value <= allowed
        kept.append(construction.counts(least.built).kept)
        assert kept[-1] < least.kept_by_best
    assert kept[0] > kept[1] > kept[2]


def test_the_pick_is_near_the_best_choice_of_all():
    rng = np.random.default_rng(4)
    left = rng.exponential(1, (4, 8)) * np.array([[0.0], [8], [3], [1]])
    menu = thrift.Menu(np.zeros((4, 8), np.int64), np.tile([[4], [0], [1], [2]], (1, 8)), left)
    room = 6.0
    (rows,) = thrift.pick([menu], [np.ones(8)], lambda lefts: np.abs(lefts[0]).sum() <= room)
    terms = menu.terms[rows, np.arange(8)].sum()
    assert left[rows, np.arange(8)].sum() <= room
    best = min(
        sum(menu.terms[r, i] for i, r in enumerate(choice))
        for choice in itertools.product(range(4), repeat=8)
        if sum(left[r, i] for i, r in enumerate(choice)) <= room
    )
    # A multiplier meets the convex hull, not every point: at most one weight's terms are lost.
    assert best <= terms <= best + 4


def test_the_linear_cost_is_the_certificate_where_nothing_is_cut_off(target):
    rng = np.random.default_rng(6)
    errors = [rng.normal(0, 1e-5, w.shape) for w in target]
    layers = [
        network_certificate.Layer(w - d, None, np.zeros_like(w), None)
        for w, d in zip(target, errors, strict=True)
    ]
    weighing, cost = sensitivity.at_the_output(target), 0
    bounds = sensitivity.inputs(target)
    for w, d, bound in zip(target[::-1], errors[::-1], bounds[::-1], strict=True):
        cost = cost + weighing.cost(d * bound).sum(axis=-1)
        weighing = weighing.below(w - d)
    # The library's adds 4e-13 of its own for rounding.
    assert cost.max() == pytest.approx(network_certificate.entrywise(target, layers), rel=1e-10)


@pytest.mark.parametrize("allowed", [1e-3, 0.5])
def test_weights_within_their_tolerances_are_certified(target, allowed):
    etas = sensitivity.tolerances(target, allowed)
    worst = 0.0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        # Every error as large as it may be, with the sign that hurts one output most, or any.
        wrong = [eta * rng.choice([-1, 1], w.shape) for eta, w in zip(etas, target, strict=True)]
        if seed % 2:
            sign = np.sign(target[2][seed % 3]) * (-1) ** (seed // 2)
            wrong[2] = -etas[2] * np.sign(target[2])
            wrong[1] = etas[1] * np.outer(sign, np.ones(8))
            up = np.sign(sign @ (target[1] - wrong[1]))
            wrong[0] = etas[0] * np.outer(up, np.ones(12))
        layers = [
            network_certificate.Layer(w - d, None, np.zeros_like(w), None)
            for w, d in zip(target, wrong, strict=True)
        ]
        worst = max(worst, network_certificate.entrywise(target, layers))
    assert 0.3 * allowed < worst <= allowed


def test_the_tolerances_are_met_with_equality_where_all_signs_agree():
    target = [np.full((4, 3), 0.1), np.full((1, 4), 0.2)]
    etas = sensitivity.tolerances(target, 0.3)
    layers = [
        network_certificate.Layer(w + eta, None, np.zeros_like(w), None)
        for w, eta in zip(target, etas, strict=True)
    ]
    assert network_certificate.entrywise(target, layers) == pytest.approx(0.3, rel=1e-9)


@pytest.mark.parametrize("assignment", construction.ASSIGNMENTS)
def test_coarse_perturbations_are_certified_as_they_are_stored(target, assignment, monkeypatch):
    """Three bits, and too little set aside for them at first: only the verifier sees that."""
    monkeypatch.setattr(certified, "_MARGINS", (0.01, 1.05, 1.2, 1.5))
    scales = [random_network.layer_scale(w, "uniform") for w in target]
    allowed = 1.6 * sensitivity.rounding(target, scales, 0.04, 3)
    for seed in range(3):
        built = build(target, 0.04, assignment, allowed, seed, bits=3).built
        assert network_certificate.bound(target, layers_of(built)).value <= allowed


def test_the_rounding_that_is_set_aside_is_what_rounding_costs():
    rng = np.random.default_rng(8)
    target = [rng.normal(0, 0.1, (60, 200)), rng.normal(0, 0.1, (4, 60))]
    eps, scales = 0.2, [1.0, 1.0]
    step = eps / 127
    expected = sensitivity.rounding(target, scales, eps, 8)
    seen = []
    for _ in range(5):
        layers = [
            network_certificate.Layer(
                w + rng.uniform(-step / 2, step / 2, w.shape), None, np.zeros_like(w), None
            )
            for w in target
        ]
        seen.append(network_certificate.entrywise(target, layers))
    assert np.mean(seen) == pytest.approx(expected, rel=0.1)
    assert sensitivity.rounding(target, scales, 0.0, 8) == 0


@pytest.mark.parametrize(
    "change",
    [
        {"eps": -1.0},
        {"allowed": 0.0},
        {"allowed": np.nan},
        {"assignment": "random"},
        {"limit": 41},
        {"limit": 0},
        {"assignment": "adaptive", "width": 5},
        {"width": 2},  # Not enough for what is allowed.
        {"limit": 3},
        {"bits": 2, "allowed": 1e-3},
    ],
)
def test_what_cannot_be_is_refused(target, change):
    given = {"eps": 0.02, "allowed": 0.01, "assignment": "uniform"} | change
    with pytest.raises(ValueError, match="expected"):
        build(target, given.pop("eps"), given.pop("assignment"), **given)
