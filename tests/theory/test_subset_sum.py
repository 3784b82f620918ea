"""Subset sums against brute force, HiGHS and fractions."""

import fractions

import numpy as np
import pytest
import scipy.optimize

from lth_jax.theory import subset_sum
from lth_jax.theory.subset_sum import certificate, exact, search, solvers

EPS = (0.0, 0.0, 1e-3, 2.0**-10, 0.05, 0.5, 3.0)
TOLERANCES = (0.0, 2.0**-10, 0.01, 0.1)


def exact_error(x, z, eps, mask):
    """max(0, |z − σ_S| − |S|ε) as a fraction."""
    members = [fractions.Fraction(float(v)) for v, chosen in zip(x, mask, strict=True) if chosen]
    gap = abs(fractions.Fraction(float(z)) - sum(members)) - len(members) * fractions.Fraction(eps)
    return max(fractions.Fraction(0), gap)


def brute_force(x, z, eps):
    """Errors [m, 2^n] and sizes [2^n] of all subsets, in float64."""
    members = np.arange(1 << x.shape[1])[:, None] >> np.arange(x.shape[1]) & 1
    size = members.sum(axis=1)
    rest = np.abs(z[:, None] - x @ members.T)
    return np.maximum(0.0, rest - size * eps), size


def instances(rng, m, n, grid):
    x, z = rng.uniform(-1, 1, (m, n)), rng.uniform(-0.8, 0.8, m)
    if grid:  # Multiples of 1/grid: duplicates, zeros and exact ties.
        x, z = np.round(x * grid) / grid, np.round(z * 1024) / 1024
    return x, z


def compare_with_brute_force(rng, n, grid, eps, tolerance, m):
    x, z = instances(rng, m, n, grid)
    errors, size = brute_force(x, z, eps)
    # Brute force sums in float64: within 1e-13 of the tolerance it cannot decide.
    within, doubtful = errors <= tolerance, np.abs(errors - tolerance) < 1e-13
    if grid and tolerance in (0.0, 2.0**-10) and eps in (0.0, 2.0**-10):
        doubtful[:] = False  # All on a binary grid: brute force is exact.
    if tolerance == 0:
        doubtful |= (errors == 0) & (eps not in (0.0, 2.0**-10) or not grid)
    sure, maybe = (within & ~doubtful).any(axis=1), (within | doubtful).any(axis=1)
    for objective in subset_sum.OBJECTIVES:
        answer = subset_sum.solve(x, z, eps, tolerance, objective)
        held = subset_sum.verify(x, z, eps, tolerance, answer)
        assert held.holds[answer.found].all()
        assert np.array_equal(held.reaches, answer.found)
        assert (answer.found >= sure).all() and (answer.found <= maybe).all()
        assert (answer.found == (answer.status == subset_sum.Status.FOUND)).all()
        assert not (answer.status == subset_sum.Status.EXHAUSTED).any()
        if objective == "best":
            np.testing.assert_allclose(answer.error, errors.min(axis=1), rtol=0, atol=1e-13)
        if objective == "sparsest":
            count = answer.mask.sum(axis=1)
            most = np.where(within & ~doubtful, size, n + 1).min(axis=1)
            least = np.where(within | doubtful, size, n + 1).min(axis=1)
            assert (count <= most)[sure].all() and (count >= least)[answer.found].all()
    return 3 * m


@pytest.mark.parametrize("eps", EPS[1:])
def test_solver_equals_brute_force_in_error_and_count(eps):
    """11,520 instances in all, each with three objectives: n <= 12, on and off a grid."""
    rng = np.random.default_rng(int(eps * 1e6))
    done = 0
    for n in (0, 1, 2, 3, 5, 8, 10, 12):
        for grid in (0, 8, 1024):
            for tolerance in TOLERANCES:
                m = 20
                done += compare_with_brute_force(rng, n, grid, eps, tolerance, m)
    assert done == 3 * 1_920


def highs(x, z, eps, best_within):
    """Least error by HiGHS; the perturbations are v_i = δ_i y_i. None if above best_within."""
    n = len(x)
    # Variables δ (binary), v, t: |Σ δx + v − z| <= t, |v_i| <= εδ_i, minimize t.
    cost = np.r_[np.zeros(2 * n), 1.0]
    row = np.r_[x, np.ones(n), 0.0]
    edge = np.r_[np.zeros(2 * n), 1.0]
    eye, zero = np.eye(n), np.zeros((n, 1))
    constraints = [
        scipy.optimize.LinearConstraint([row - edge], -np.inf, z),
        scipy.optimize.LinearConstraint([row + edge], z, np.inf),
        scipy.optimize.LinearConstraint(np.hstack([-eps * eye, eye, zero]), -np.inf, 0),
        scipy.optimize.LinearConstraint(np.hstack([eps * eye, eye, zero]), 0, np.inf),
    ]
    bounds = scipy.optimize.Bounds(
        np.r_[np.zeros(n), np.full(n, -eps), 0], np.r_[np.ones(n), np.full(n, eps), best_within]
    )
    integrality = np.r_[np.ones(n), np.zeros(n + 1)]
    for presolve in (True, False):  # With presolve it sometimes ends in a "Solve error".
        result = scipy.optimize.milp(
            cost,
            constraints=constraints,
            bounds=bounds,
            integrality=integrality,
            options={"mip_rel_gap": 0, "presolve": presolve},
        )
        if result.status in (0, 2):
            break
    assert result.status in (0, 2), result.message
    if result.status == 2:
        return None
    chosen = np.round(result.x[:n]).astype(bool)  # Its own δ are rounded and its error recomputed.
    return float(exact_error(x, z, eps, chosen))


@pytest.mark.slow
def test_solver_equals_highs():
    """200 instances on the 2^-10 grid; those within 1e-5 of the tolerance are left out, counted."""
    rng = np.random.default_rng(5)
    left_out = 0
    for i in range(200):
        n = int(rng.integers(4, 17))
        x, z = instances(rng, 1, n, 1024)
        eps = (0.0, 2.0**-9, 2.0**-5)[i % 3]
        tolerance = (0.001, 0.01, 0.05)[i // 3 % 3]
        best = subset_sum.solve(x, z, eps, tolerance, "best")
        if i % 2:  # Feasibility: its feasibility tolerance is 1e-6.
            if abs(best.error[0] - tolerance) < 1e-5:
                left_out += 1
                continue
            assert (highs(x[0], z[0], eps, tolerance) is not None) == best.found[0]
        else:  # Grid errors are multiples of 2^-10: equal if within half of one.
            assert abs(highs(x[0], z[0], eps, 10.0) - best.error[0]) < 1e-9
    assert left_out <= 10


def test_found_is_exact_within_one_ulp_of_the_tolerance():
    x = np.array([0.1, 0.3, 0.7])
    total = fractions.Fraction(0.1) + fractions.Fraction(0.7)
    z = 0.75
    gap = abs(total - fractions.Fraction(z))
    above = float(gap) if fractions.Fraction(float(gap)) >= gap else np.nextafter(float(gap), 1)
    below = np.nextafter(above, 0)
    assert fractions.Fraction(float(below)) < gap <= fractions.Fraction(float(above))
    for objective in subset_sum.OBJECTIVES:
        assert subset_sum.solve(x, [z], 0.0, float(above), objective).found[0]
        answer = subset_sum.solve(x, [z], 0.0, float(below), objective)
        assert not answer.found[0] and answer.status[0] == subset_sum.Status.IMPOSSIBLE


def test_rounding_ties_fall_back_to_fractions():
    """0.1 + 0.2 is not 0.3: at tolerance 0 only exact arithmetic can tell."""
    x = np.array([[0.1, 0.2, 0.25], [0.1, 0.2, 0.3]])
    answer = subset_sum.solve(x, [0.3, 0.3], 0.0, 0.0)
    assert answer.found.tolist() == [False, True]
    assert not subset_sum.solve(x[0], [0.1 + 0.2], 0.0, 0.0).found[0]


def test_an_overlap_that_is_only_just_missed_is_not_found():
    """The other interval reaches far beyond z; only |z − σ_S| − |S|ε says it starts after z."""
    rng = np.random.default_rng(8)
    for value, eps in zip(rng.uniform(0.2, 0.9, 100), rng.uniform(0.05, 0.15, 100), strict=True):
        x, z = np.array([100.0, value]), value - eps
        while fractions.Fraction(value) - fractions.Fraction(z) <= fractions.Fraction(eps):
            z = np.nextafter(z, 0)
        answer = subset_sum.solve(x, [z, np.nextafter(z, 1)], eps, 0.0)
        reaches = subset_sum.verify(x, [z, np.nextafter(z, 1)], eps, 0.0, answer).reaches
        assert not answer.found[0] and np.array_equal(reaches, answer.found)


def test_a_tolerance_between_two_quanta_is_not_rounded_up():
    tolerances = (np.nextafter(0.25, 0), 0.25)
    found = [subset_sum.solve([0.5], [0.75], 0.0, t).found[0] for t in tolerances]
    assert found == [False, True]


def test_exact_solver_agrees_with_the_search():
    rng = np.random.default_rng(0)
    x, z = instances(rng, 20, 9, 64)
    best = subset_sum.solve(x, z, 2.0**-7, 0.0, "best")
    for i in range(20):
        error, bits = exact.nearest(x[i], z[i], 2.0**-7)
        assert float(error) == best.error[i]
        mask = search.members(np.array([bits]), 9)[0]
        assert exact_error(x[i], z[i], 2.0**-7, mask) == error


def test_ordinary_cases_need_no_special_care():
    nothing = subset_sum.solve(np.zeros((2, 0)), [0.0, 1.0], 0.1, 0.01)
    assert nothing.found.tolist() == [True, False] and nothing.mask.shape == (2, 0)
    none = subset_sum.solve(np.zeros((0, 3)), np.zeros(0), 0.1, 0.01)
    assert none.found.shape == (0,)
    far = subset_sum.solve([0.5, 0.5, 0.0], [1e30, 1.0, -5.0], 0.0, 0.0, "best")
    assert far.found.tolist() == [False, True, False]
    assert far.error[2] == 5.0
    tiny = subset_sum.solve([5e-324, 1e-300], [5e-324, 1e-300], 0.0, 0.0)
    assert tiny.found.all()


def test_shared_candidates_equal_repeated_ones():
    rng = np.random.default_rng(1)
    x, z = rng.uniform(-1, 1, 11), rng.uniform(-1, 1, 30)
    shared = subset_sum.solve(x, z, 0.001, 0.0, "best")
    own = subset_sum.solve(np.tile(x, (30, 1)), z, 0.001, 0.0, "best")
    assert np.array_equal(shared.mask, own.mask) and np.array_equal(shared.error, own.error)


def test_large_n_is_decided_and_certified():
    rng = np.random.default_rng(2)
    x, z = rng.uniform(-1, 1, (2, 32)), rng.uniform(-0.5, 0.5, 2)
    answer = subset_sum.solve(x, z, 0.0, 1e-7)
    assert answer.found.all()
    assert subset_sum.verify(x, z, 0.0, 1e-7, answer).holds.all()
    halves = subset_sum.solve(np.round(x * 512) / 512, np.full(2, 0.5 / 512), 0.0, 0.25 / 512)
    assert (halves.status == subset_sum.Status.IMPOSSIBLE).all()


def test_budget_that_runs_out_is_named():
    rng = np.random.default_rng(3)
    x, z = rng.uniform(-1, 1, (50, 16)), rng.uniform(-0.5, 0.5, 50)
    for objective in subset_sum.OBJECTIVES:
        answer = subset_sum.solve(x, z, 0.0, 1e-3, objective, budget=64)
        assert (answer.status == subset_sum.Status.EXHAUSTED).any()
        assert not (answer.status == subset_sum.Status.IMPOSSIBLE).any()
        assert not answer.found[answer.status == subset_sum.Status.EXHAUSTED].any()


def test_prefixes_that_succeed_stay_within_their_prefix():
    rng = np.random.default_rng(4)
    x, z = rng.uniform(-1, 1, (100, 14)), rng.uniform(-0.5, 0.5, 100)
    reached = [solvers.reachable(x[:, :k], z, 0.01, 0.01) for k in range(15)]
    for before, after in zip(reached[:-1], reached[1:], strict=True):
        assert (after >= before).all()
    assert np.array_equal(reached[-1], subset_sum.solve(x, z, 0.01, 0.01).found)


def test_verify_refuses_forged_answers():
    rng = np.random.default_rng(5)
    x, z = rng.uniform(-1, 1, (40, 12)), rng.uniform(-0.5, 0.5, 40)
    good = subset_sum.solve(x, z, 0.01, 1e-3)
    assert subset_sum.verify(x, z, 0.01, 1e-3, good).holds.all()
    large = good._replace(y=np.where(good.mask, np.nextafter(0.01, 1), 0.0))
    assert not subset_sum.verify(x, z, 0.01, 1e-3, large).bounded[good.mask.any(axis=1)].any()
    outside = good._replace(y=np.where(good.mask, good.y, 0.001))
    assert not subset_sum.verify(x, z, 0.01, 1e-3, outside).holds.all()
    still = good._replace(y=np.zeros_like(good.y))
    needs = np.abs(z - np.where(good.mask, x, 0).sum(axis=1)) > 1.1e-3
    assert needs.any() and not subset_sum.verify(x, z, 0.01, 1e-3, still).holds[needs].any()
    flipped = good._replace(mask=~good.mask, y=np.zeros_like(good.y))
    assert not subset_sum.verify(x, z, 0.01, 1e-3, flipped).reaches.all()


def test_certificate_agrees_with_fractions():
    rng = np.random.default_rng(6)
    x, z = rng.normal(size=(60, 10)) * 10.0 ** rng.integers(-8, 8, (60, 10)), rng.normal(size=60)
    mask = rng.random((60, 10)) < 0.5
    rest, bound = certificate.residual(x, z, mask)
    for i in range(60):
        true = fractions.Fraction(z[i]) - sum(map(fractions.Fraction, x[i][mask[i]]))
        assert abs(fractions.Fraction(rest[i]) - true) <= fractions.Fraction(bound[i])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"eps": -0.1}, "finite eps"),
        ({"eps": np.nan}, "finite eps"),
        ({"tolerance": np.inf}, "finite eps"),
        ({"z": [np.nan, 0.0]}, "finite z"),
        ({"x": [np.inf, 0.0]}, "finite x"),
        ({"x": np.zeros((3, 4))}, "z \\[m\\]"),
        ({"z": 0.5}, "z \\[m\\]"),
        ({"x": np.zeros(41)}, "at most 40"),
        ({"x": np.zeros(36), "memory": 1 << 20}, "bytes of memory"),
        ({"objective": "second"}, "objective"),
    ],
)
def test_bad_input_is_a_clear_value_error(change, message):
    arguments = {"x": [0.1, 0.2], "z": [0.0, 0.1], "eps": 0.0, "tolerance": 0.1, **change}
    with pytest.raises(ValueError, match=message):
        subset_sum.solve(**arguments)
