import numpy as np
import pytest
import scipy.stats

from lth_jax.report import statistics


def test_interval_matches_scipy():
    values = [0.81, 0.84, 0.83, 0.80, 0.85]
    low, high = scipy.stats.t.interval(0.95, 4, np.mean(values), scipy.stats.sem(values))
    got = statistics.mean(values)
    assert got.n == 5
    np.testing.assert_allclose([got.mean - got.half, got.mean + got.half], [low, high], rtol=1e-12)


def test_interval_covers_the_truth_as_often_as_it_says():
    draws = np.random.default_rng(0).normal(3.0, 2.0, (2000, 4))
    hits = [abs(m.mean - 3.0) <= m.half for m in map(statistics.mean, draws)]
    assert abs(np.mean(hits) - 0.95) < 0.02  # 4 standard errors of 2,000 trials


def test_paired_matches_scipy_and_sees_what_an_unpaired_test_cannot():
    rng = np.random.default_rng(1)
    seeds = rng.normal(0.8, 0.05, 6)
    values = seeds + 0.01 + rng.normal(0, 0.001, 6)
    got = statistics.paired(values, seeds)
    assert got.p == pytest.approx(scipy.stats.ttest_rel(values, seeds).pvalue, rel=1e-9)
    assert got.p < 0.001 < scipy.stats.ttest_ind(values, seeds).pvalue


def test_few_or_equal_pairs_are_ordinary_cases():
    assert np.isnan(statistics.mean([]).mean) and statistics.mean([0.5])[0] == 0.5
    assert np.isnan(statistics.mean([0.5]).half)
    assert statistics.paired([1.0, 2.0], [1.0, 2.0]).p == 1.0
    assert statistics.paired([1.5, 2.5], [1.0, 2.0]).p == 0.0
    assert np.isnan(statistics.paired([1.0], [2.0]).p)


def test_a_diverged_value_is_refused():
    with pytest.raises(ValueError, match="finite"):
        statistics.mean([1.0, np.nan])
    with pytest.raises(ValueError, match="pairs"):
        statistics.paired([1.0], [1.0, 2.0])


@pytest.mark.parametrize("n", [2, 5])
def test_differences_that_only_rounding_tells_apart_are_equal(n):
    """270, 240, … of 300 images against 30 fewer: a t-test of their rounding says p = 1e-16."""
    right = np.array([270, 240, 211, 195, 187])[:n]
    values, baseline = right / 300, (right - 30) / 300
    assert np.ptp(values - baseline) > 0
    got = statistics.paired(values, baseline)
    assert got.half == 0 and got.p == 0 and got.difference == pytest.approx(0.1)
    # One image of ten thousand is a difference.
    baseline[0] -= 1e-4
    got = statistics.paired(values, baseline)
    assert got.half > 1e-5
    assert got.p == pytest.approx(scipy.stats.ttest_rel(values, baseline).pvalue, rel=1e-6)
