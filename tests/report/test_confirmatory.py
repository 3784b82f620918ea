"""Exact tests, corrections and verdicts, against scipy and statsmodels."""

import gc

import numpy as np
import pytest
import scipy.stats

from lth_jax.report import confirmatory


def differences(n, shift, seed=0):
    # Of accuracies on 10,000 images, so that ties are as they are in rows.
    return np.round(np.random.default_rng(seed).normal(shift, 0.01, n), 4)


@pytest.mark.parametrize("n", [2, 5, 8, 12])
@pytest.mark.parametrize("shift", [0.0, 0.004, 0.03])
def test_sign_flips_match_scipys_enumeration(n, shift):
    x = differences(n, shift, n)
    ours = confirmatory.sign_flip_p(x)
    theirs = scipy.stats.permutation_test(
        (x,), np.mean, permutation_type="samples", n_resamples=np.inf
    )
    assert ours == pytest.approx(theirs.pvalue, rel=1e-12)
    assert 2 / 2**n <= ours <= 1


def test_sign_flips_reach_their_floor_and_see_ties():
    assert confirmatory.sign_flip_p([0.01] * 12) == 2 / 2**12
    assert confirmatory.sign_flip_p([0.0, 0.0, 0.0]) == 1
    # 0.1 + 0.2 is not 0.3 in floats, but the sums are tied: of 8 choices 4 give 0.
    assert confirmatory.sign_flip_p([0.1, 0.2, -0.3]) == 1
    assert confirmatory.sign_flip_p([0.1, 0.2, 0.3]) == 2 / 8
    assert confirmatory.sign_flip_p([0.3, 0.3, -0.1]) == 4 / 8
    assert np.isnan(confirmatory.sign_flip_p([]))
    for bad, said in (([0.1] * 21, "at most 20"), ([np.nan, 0.1], "finite")):
        with pytest.raises(ValueError, match=said):
            confirmatory.sign_flip_p(bad)


def test_a_true_null_is_rejected_as_often_as_it_may_be():
    rng = np.random.default_rng(0)
    values = [confirmatory.sign_flip_p(rng.normal(0, 1, 8)) for _ in range(2000)]
    for level in (0.05, 0.25):
        # 4 standard errors of 2,000 trials.
        assert abs(np.mean(np.array(values) <= level) - level) < 4 * np.sqrt(level / 2000)


def test_t_and_effect_size_match_scipy():
    x = differences(9, 0.008)
    expected = scipy.stats.ttest_1samp(x, 0)
    assert confirmatory.t_p(x) == pytest.approx(expected.pvalue, rel=1e-9)
    d, low, high = confirmatory.effect_size(x)
    assert d == pytest.approx(expected.statistic / 3, rel=1e-12)
    # At the ends of the interval the t that was seen is a 2.5 % or 97.5 % event.
    assert scipy.stats.nct.cdf(expected.statistic, 8, low * 3) == pytest.approx(0.975, abs=1e-6)
    assert scipy.stats.nct.cdf(expected.statistic, 8, high * 3) == pytest.approx(0.025, abs=1e-6)
    assert np.isnan(confirmatory.effect_size([0.1])).all()
    assert confirmatory.effect_size([0.1, 0.1, 0.1]) == (np.inf,) * 3
    assert confirmatory.effect_size([-0.1, -0.1]) == (-np.inf,) * 3
    assert confirmatory.effect_size([0.0, 0.0]) == (0, 0, 0)


def test_of_parts_with_equal_p_the_one_of_the_least_mean_is_shown():
    parts = {"large": [0.03] * 6, "small": [0.01] * 6, "middle": [0.02] * 6}
    (verdict,) = confirmatory.decide([confirmatory.Hypothesis("H", "claim", parts)])
    assert (verdict.weakest, verdict.outcome) == ("small", "supported")
    turned = {name: [-x for x in values] for name, values in parts.items()} | {"up": [0.1] * 6}
    (verdict,) = confirmatory.decide([confirmatory.Hypothesis("H", "claim", turned)])
    assert verdict.weakest == "large" and verdict.difference.mean < 0


@pytest.mark.slow  # to import
def test_holm_matches_statsmodels():
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    gc.freeze()  # It collects garbage in every call, which takes 2 s among many compiled programs.
    rng = np.random.default_rng(1)
    for m in (1, 2, 5, 10):
        for _ in range(20):
            p = np.round(rng.uniform(0, 0.2, m), 2)  # with ties
            expected = multitest.multipletests(p, method="holm")[1]
            np.testing.assert_allclose(confirmatory.holm(p), expected, rtol=1e-12)
    gc.unfreeze()


def test_holm_by_hand():
    assert confirmatory.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert confirmatory.holm([0.9, 0.8]) == [1, 1] and confirmatory.holm([]) == []
    found = confirmatory.holm([0.01, np.nan])
    assert found[0] == 0.02 and np.isnan(found[1])  # What could not be tested still counts.
    with pytest.raises(ValueError, match="p-values"):
        confirmatory.holm([1.5])


@pytest.mark.slow
def test_simultaneous_intervals_are_those_of_statsmodels_at_a_stricter_level():
    groups = {str(eps): differences(6, eps, i) for i, eps in enumerate((0.01, 0.02, 0.05))}
    ours = confirmatory.simultaneous(groups)
    weightstats = pytest.importorskip("statsmodels.stats.weightstats")
    for name, values in groups.items():
        low, high = weightstats.DescrStatsW(values).tconfint_mean(alpha=0.05 / 3)
        mean, half, n = ours[name]
        np.testing.assert_allclose([mean - half, mean + half, n], [low, high, 6], rtol=1e-9)


def test_simultaneous_intervals_hold_all_at_once():
    rng = np.random.default_rng(2)
    hits = 0
    for _ in range(2000):
        groups = {str(i): rng.normal(0, 1, 5) for i in range(4)}
        found = confirmatory.simultaneous(groups).values()
        hits += all(abs(mean) <= half for mean, half, _ in found)
    # Independent groups: (1 - 0.05 / 4)^4, within 4 standard errors.
    assert abs(hits / 2000 - (1 - 0.05 / 4) ** 4) < 0.02


def claim(name, **parts):
    return confirmatory.Hypothesis(name, "", parts)


def test_twelve_seeds_decide_five_hypotheses_on_two_data_sets():
    sure, lost = np.full(12, 0.01), np.full(12, -0.01)
    family = [claim(f"H{i}", one=sure if i < 9 else lost) for i in range(10)]
    found = confirmatory.decide(family)
    assert {v.outcome for v in found[:9]} == {"supported"} and found[9].outcome == "refuted"
    assert all(v.p_holm == pytest.approx(10 * 2 / 2**12) for v in found)
    # With eight they could not.
    short = [claim(h.name, one=h.parts["one"][:8]) for h in family]
    assert {v.outcome for v in confirmatory.decide(short)} == {"undecided"}


def test_a_claim_of_several_parts_needs_all_of_them():
    sure, lost, noise = np.full(12, 0.01), np.full(12, -0.01), differences(12, 0.001)
    both, weak, bad = confirmatory.decide(
        [
            claim("both", a=sure, b=2 * sure),
            claim("weak", a=sure, b=noise),
            claim("bad", a=sure, b=lost),
        ]
    )
    assert (both.outcome, weak.outcome, bad.outcome) == ("supported", "undecided", "refuted")
    assert (weak.weakest, bad.weakest) == ("b", "b")
    assert weak.p == confirmatory.sign_flip_p(noise) and weak.difference.mean == noise.mean()
    assert bad.p == 2 * confirmatory.sign_flip_p(lost)  # One of two parts: corrected for that.
    with pytest.raises(ValueError, match="none"):
        confirmatory.decide([claim("empty")])


def test_a_hypothesis_without_data_is_undecided_and_still_counts():
    found = confirmatory.decide([claim("none", a=[]), claim("sure", a=np.full(12, 0.01))])
    assert found[0].outcome == "undecided" and found[1].p_holm == 2 * 2 / 2**12
