"""Each bound against simulation at seeds of its own, and one step where it is attained."""

import itertools
import math
from concurrent import futures
from fractions import Fraction

import numpy as np
import pytest
import quick

from lth_jax.theory.subset_sum import bounds, coverage
from lth_jax.theory.subset_sum.bounds import lower, piecewise, recursion

NETWORK = 0.05 / 397_000
# Known values at δ = 1/2, 1/10 and .05/397,000 by an independent implementation.
KNOWN = {
    (1e-2, 0.0): (11, 18, 51),
    (1e-2, 0.1): (6, 11, 39),
    (1e-2, 0.3): (3, 7, 29),
    (1e-3, 1e-2): (12, 19, 53),
    (1e-4, 0.0): (24, 33, 70),
}


@pytest.mark.parametrize(("eta", "eps"), KNOWN)
def test_one_target_meets_the_known_values_and_all_targets_need_more(eta, eps):
    deltas = (0.5, 0.1, NETWORK)
    assert tuple(bounds.fixed_target(eta, eps, d) for d in deltas) == KNOWN[eta, eps]
    for d, one in zip(deltas, KNOWN[eta, eps], strict=True):
        assert one <= bounds.every_target(eta, eps, d) <= bounds.candidates(eta, eps, d)
        assert bounds.necessary(eta, eps, 1 - d) <= one
    assert bounds.every_target(eta, eps, NETWORK) <= 0.7 * bounds.candidates(eta, eps, NETWORK)


def test_more_error_or_perturbation_never_needs_more():
    errors, moves = (0.0, 1e-9, 1e-3, 0.1, 0.5), (0.0, 1e-9, 1e-3, 0.1, 7.0)
    for bound, d in itertools.product((bounds.fixed_target, bounds.every_target), (0.3, 1e-9)):
        table = np.array([[bound(eta, eps, d) for eps in moves] for eta in errors])
        assert (np.diff(table[1:], axis=0) <= 0).all() and (np.diff(table, axis=1) <= 0).all()
        assert table[0, 0] == math.inf and (table[-1] == 0).all()
    failures = [bounds.fixed_target_failure(n, 1e-3, 0.01) for n in range(60)]
    assert failures[0] == 1 and (np.diff(failures) <= 0).all()


@pytest.mark.parametrize("eta", quick.first(2, [5e-324, 1e-9, 1e-199, 1e-250]))
@pytest.mark.parametrize("eps", [0.0, 1e-260, 1e-9, 0.5, 1 - 2**-53, 1.0])
@pytest.mark.parametrize("delta", [1e-300, 1e-190, 1 - 1e-12])
def test_extreme_values_give_a_finite_number(eta, eps, delta):
    for bound in (bounds.fixed_target, bounds.every_target):
        n = bound(eta, eps, delta)
        assert 0 < n <= bounds.candidates(eta, eps, delta) < math.inf


@pytest.mark.parametrize("start", [0.8, 0.35])
def test_a_start_so_large_that_candidates_matter_only_by_themselves(start):
    """From p >= 1 − ε on each candidate fails with probability 1/2."""
    eps = 1 - start + 1e-9
    for n in (0, 1, 7, 1200):
        assert bounds.fixed_target_failure(n, start / 2, eps) == max(0.5**n, 2.0**-1074)


# One step: U of the class of Q_z, by what it is at p.
def functions(eps):
    top = 1 - eps
    return {
        "one": np.ones_like,
        "hinge": lambda p: np.maximum(top - p, 0) + 0.1,
        "steep": lambda p: np.maximum(top / 3 - p, 0),
        "smooth": lambda p: np.maximum(top - p, 0) ** 3 + 0.01,
    }


def stepped(make, eps, u, p, change=None):
    """The step's bound of QU at p; U need not be the one that the operator starts with."""
    bound = make(1e-3, eps) if make is recursion._all_targets else make(1e-3, eps, eps)
    values = u(bound.ends)
    bound.slopes = np.maximum.accumulate((-np.diff(values) / bound.lengths)[::-1])[::-1]
    bound.slopes, bound.constant = np.maximum(bound.slopes, 0), values[-1]
    if change is not None:
        operator = change(bound.operator)
        changed = piecewise.ConvexBound(bound.ends, bound.constant, 0.0, operator)
        changed.slopes, bound = bound.slopes, changed
    bound.step()
    return float(bound.at(np.array([p]))[0])


def overlap(p, d, x):
    """|(W∖A) ∩ (D + x)| for A and D at the left end of W."""
    return np.maximum(np.minimum(0.5, x - 0.5 + d) - np.maximum(p - 0.5, x - 0.5), 0)


def one_step(eps, u, p, every):
    """E U(p + f(x)) of an interval at the end of W, without x that reach z = p/2 unless `every`."""
    d, cells = min(1.0, p + eps), 400_000
    x = np.linspace(-1, 1, cells, endpoint=False) + 1 / cells
    value = u(p + overlap(p, d, x))
    # z − D begins at z + 1/2 − d.
    reached = (x >= p / 2 + 0.5 - d) & (x <= p / 2 + 0.5)
    return float(np.mean(value if every else np.where(reached, 0, value)))


POINTS = (0.02, 0.1, 0.25, 0.4, 0.7, 0.97)


@pytest.mark.parametrize("eps", [0.0, 0.05, 0.3])
@pytest.mark.parametrize("name", functions(0))
def test_one_step_is_attained_by_an_interval_at_the_end(eps, name):
    u = functions(eps)[name]
    for p in POINTS:
        exact, proved = one_step(eps, u, p, False), stepped(recursion._one_target, eps, u, p)
        assert exact * (1 - 1e-5) <= proved <= exact * (1 + 2e-3) + 1e-5
        if name != "one" and u(np.ones(1)) != 0:  # Q is for functions that end at 0.
            moved = lambda q: u(q) - u(np.ones(1))  # noqa: E731
            exact, proved = (
                one_step(eps, moved, p, every=True),
                stepped(recursion._all_targets, eps, moved, p),
            )
            # Of this grid no cell ends where U does not fall any more.
            assert exact * (1 - 1e-5) <= proved <= exact * (1 + 2e-3) + 1e-3


PLANTED = {
    "stay": lambda o: o._replace(stay=0.98 * o.stay),
    "jump": lambda o: o._replace(jump=0.95 * o.jump),
    "reach": lambda o: o._replace(q=np.minimum(1.05 * o.q, 1)),
    "side": lambda o: o._replace(r=0.98 * o.r),
    "end": lambda o: o._replace(end=0.98 * o.end),
}


@pytest.mark.parametrize("planted", PLANTED)
def test_a_constant_of_one_step_that_is_too_good_is_caught(planted):
    """A bound may be three candidates loose and hide it; one step is not."""
    eps, caught = 0.05, 0
    for (_, u), p in itertools.product(functions(eps).items(), POINTS):
        claimed = stepped(recursion._one_target, eps, u, p, PLANTED[planted])
        caught += one_step(eps, u, p, every=False) > claimed * (1 + 1e-5)
    assert caught >= 1


def grown(reached, x, eps):
    """A ∪ ((A + x + [-ε, ε]) ∩ W)."""
    left = np.maximum(reached[:, 0] + x - eps, -0.5)
    right = np.minimum(reached[:, 1] + x + eps, 0.5)
    inside = left <= right
    return coverage.union(np.r_[reached[:, 0], left[inside]], np.r_[reached[:, 1], right[inside]])


@pytest.mark.parametrize("eps", [0.0, 0.04, 0.3])
def test_no_set_and_no_target_do_worse_than_one_step_says(eps):
    rng = np.random.default_rng(11)
    candidates = np.linspace(-1, 1, 801)[:-1] + 1.25e-3
    for trial in range(12):
        ends = np.sort(rng.uniform(-0.5, 0.5, 2 * (1 + trial % 4))).reshape(-1, 2)
        ends[:, 1] = ends[:, 0] + (ends[:, 1] - ends[:, 0]) * rng.uniform(0.02, 1)
        p, z = coverage.measure(ends), rng.uniform(-0.5, 0.5)
        if p + eps >= 1 or p < 1e-3:
            continue
        after = [grown(ends, x, eps) for x in candidates]
        missed = np.array([((a[:, 0] > z) | (z > a[:, 1])).all() for a in after])
        measures = np.minimum([coverage.measure(a) for a in after], 1.0)
        for u in functions(eps).values():
            value = np.where(missed, u(measures), 0).mean()
            slack = 5e-3 * (1 + len(ends))  # Quadrature, as the measure and z move with x.
            assert value <= stepped(recursion._one_target, eps, u, p) + slack * u(np.zeros(1))[0]


def linear(ends, slopes, constant):
    """U over the rationals, and ∫_p^1 U."""
    ends, slopes = [Fraction(x) for x in ends], [Fraction(s) for s in slopes]
    cells = list(zip(ends, ends[1:], slopes, strict=False))

    def value(p):
        return Fraction(constant) + sum((b - max(a, p)) * s for a, b, s in cells if p < b)

    def area(p):
        knots = [p, *(x for x in ends if x > p), Fraction(1)]
        return sum(
            (b - a) * (value(a) + value(b)) / 2 for a, b in zip(knots, knots[1:], strict=False)
        )

    return value, area


@pytest.mark.parametrize("eps", [0.0, 0.3, 2.0**-60, 1 / 3])
@pytest.mark.parametrize("every", [False, True])
def test_a_step_is_never_below_the_same_step_over_the_rationals(eps, every):
    rng, exact_eps = np.random.default_rng(3), Fraction(eps)
    e = math.floor(eps * 2**53) / 2**53
    make = (
        recursion._all_targets(1e-3, eps) if every else recursion._one_target(1e-3, eps, e)
    ).operator
    top = 1.0 if every else 1 - e
    whole = piecewise.nodes(1e-3, top, eps)
    for _ in range(5):
        at = np.r_[0, np.sort(rng.choice(np.arange(1, len(whole) - 1), 9, replace=False))]
        ends = whole[np.r_[at, -1]]
        operator = piecewise.Operator(*(x[at] for x in make[:4]), make.end)
        bound = piecewise.ConvexBound(ends, 0.0 if every else 0.7, 0.0, operator)
        bound.slopes = np.sort(rng.exponential(1, len(bound.slopes)))[::-1]
        value, area = linear(ends, bound.slopes, bound.constant)
        bound.step()
        later, _ = linear(ends, bound.slopes, bound.constant)
        for p in (Fraction(x) for x in ends):
            d = min(Fraction(1), p + exact_eps)
            b = 1 - p
            if every:
                reach = min(b, d)
                exact = (1 - (b + d) / 2) * value(p) + abs(b - d) / 2 * value(p + reach)
            else:
                reach = min(d, b / 2)
                exact = (1 - (b + d) / 2) * value(p)
                exact += max(b - 2 * d, 0) / 2 * value(min(p + d, Fraction(1)))
            exact += area(p) - area(p + reach)
            assert exact <= later(p) <= exact * (1 + Fraction(1, 10**9)) + Fraction(1, 10**11)


def test_the_mean_until_all_weights_are_within_is_the_known_one():
    found = [bounds.expected_until_all(0.01, eps, 500) for eps in (0.0, 0.01, 0.1, 0.3)]
    np.testing.assert_allclose(found, [31.7, 29.8, 22.3, 15.7], atol=0.05)
    assert bounds.expected_until_all(0.0, 0.0, 3) == math.inf
    assert bounds.expected_until_all(0.5, 0.0, 3) == 0


def test_subsets_of_one_size_meet_the_known_values():
    def line(k):
        return [bounds.fixed_size(k, 0.25, 1e-3, eps, 0.5) for eps in (0, 1e-3, 1e-2, 0.1)]

    assert line(2) == [(35, 49), (21, 29), (8, 12), (3, 4)]
    assert line(4) == [(14, 16), (10, 12), (7, 8), (5, 5)]
    assert bounds.fixed_size(2, 3.0, 0.1, 0.1, 0.5) == (math.inf, math.inf)
    # For one candidate both moments are those of a coin: 1/(1/(nq) + (n−1)/n).
    n, q = 7, 0.01
    low, high = bounds.fixed_size_probability(n, 1, 0.25, q, 0.0)
    assert low == pytest.approx(1 / (1 / (n * q) + (n - 1) / n)) and high == pytest.approx(n * q)


def test_moments_of_subsets_are_those_of_a_simulation():
    rng, k, z, t = np.random.default_rng(5), 3, 0.25, 0.2
    q, ratios = bounds.subset_size._moments(k, Fraction(z), Fraction(t))
    x = rng.uniform(-1, 1, (400_000, 2 * k))
    assert float(q) == pytest.approx(np.mean(np.abs(x[:, :k].sum(1) - z) <= t), abs=2e-3)
    for j, ratio in enumerate(ratios, start=1):
        one, two = x[:, :k].sum(1), x[:, k - j : 2 * k - j].sum(1)
        both = np.mean((np.abs(one - z) <= t) & (np.abs(two - z) <= t))
        assert float(ratio * q**2) == pytest.approx(both, abs=1e-3)


def test_the_lottery_of_signs_by_its_formula():
    for eps, p, weights in itertools.product((0.0, 0.3), (0.1, 0.5, 0.95), (1, 30, 10**6)):
        n = bounds.sign_lower(eps, p, weights)
        lacks = ((1 - eps) / 2) ** n
        assert (1 - lacks) ** weights >= p * (1 - 1e-9)
        assert n == 0 or (1 - ((1 - eps) / 2) ** (n - 1)) ** weights < p
    assert bounds.sign_lower(0.0, 1.0) == math.inf and bounds.sign_lower(0.0, 0.0) == 0
    assert bounds.sign_lower(1.0, 0.5) == 1 and bounds.necessary(0.0, 0.0, 0.5) == math.inf
    with pytest.raises(ValueError, match="weights"):
        bounds.sign_lower(0.1, 0.5, 0)


def test_peak_densities_agree_where_their_formulas_meet():
    for k in (2, 3, 20, 63, 64):
        assert lower._centers(64)[k - 1] / 2 == pytest.approx(bounds.peak_density(k), rel=1e-13)
    exactly = Fraction(
        sum((-1) ** j * math.comb(65, j) * (65 - 2 * j) ** 64 for j in range(33)),
        math.factorial(64) << 65,
    )
    assert exactly <= Fraction(bounds.peak_density(65)) <= exactly * (1 + Fraction(1, 10**12))


@pytest.mark.parametrize(
    "call",
    [
        lambda: bounds.fixed_target(-1.0, 0.1, 0.5),
        lambda: bounds.fixed_target(0.1, 0.1, 0.0),
        lambda: bounds.fixed_target_failure(-1, 0.1, 0.1),
        lambda: bounds.every_target(0.1, math.nan, 0.5),
        lambda: bounds.expected_until_all(0.1, 0.1, 0),
        lambda: bounds.fixed_size(0, 0.1, 0.1, 0.1, 0.5),
        lambda: bounds.fixed_size(13, 0.1, 0.1, 0.1, 0.5),
        lambda: bounds.fixed_size(2, 0.1, 0.1, 0.1, 1.0),
        lambda: bounds.fixed_size(2, math.inf, 0.1, 0.1, 0.5),
        lambda: bounds.necessary(0.1, 0.1, 1.5),
    ],
)
def test_values_that_do_not_fit_are_refused(call):
    with pytest.raises(ValueError, match="expected"):
        call()


def test_threads_may_ask_for_a_bound_at_once():
    asked = [(n, 1e-3 + 1e-5 * k, 1e-3) for k in range(8) for n in (30, 3)]
    with futures.ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda a: bounds.fixed_target_failure(*a), asked * 4))
    recursion._remembered.cache_clear()
    assert found == [bounds.fixed_target_failure(*a) for a in asked] * 4
