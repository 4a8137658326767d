"""Intervals cover, p-values are uniform under the null, and small cases are exact."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.errors import ConfigError, DataError, ShapeError
from limbeck.evaluate import (
    Scores,
    adjust,
    compare_systems,
    equivalence,
    holm,
    interval,
    paired_interval,
    permutation_test,
)


def reciprocal_ranks(rng, queries):
    """As real ones look: many zeros, some ones, little between."""
    return np.where(rng.random(queries) < 0.4, 0.0, 1.0 / rng.geometric(0.5, queries))


def enumerated_p(differences):
    sums = [abs(np.dot(signs, differences)) for signs in itertools.product([1, -1], repeat=len(differences))]
    return np.mean(np.array(sums) >= abs(sum(differences)) - 1e-12)


def test_the_interval_covers_the_true_mean_as_often_as_it_says():
    rng = np.random.default_rng(0)
    truth = reciprocal_ranks(rng, 1_000_000).mean()
    found = [interval(reciprocal_ranks(rng, 150), draws=1000, seed=trial) for trial in range(500)]
    share = np.mean([one.low <= truth <= one.high for one in found])
    assert (
        0.92 < share < 0.975
    )  # binomial deviation of 500 trials: 0.01; percentile intervals cover a little less


def test_the_interval_agrees_with_scipys_bootstrap():
    stats = pytest.importorskip("scipy.stats")
    values = reciprocal_ranks(np.random.default_rng(1), 400)
    other = stats.bootstrap(
        (values,), np.mean, n_resamples=9999, method="percentile", rng=np.random.default_rng(2)
    ).confidence_interval
    found = interval(values)
    assert found.mean == pytest.approx(values.mean())
    assert (found.low, found.high) == pytest.approx(
        (other.low, other.high), abs=0.003
    )  # 4 standard errors of two 2.5 % points from 10,000 draws


def test_the_same_seed_gives_the_same_interval_and_parts_do_not_matter(monkeypatch):
    values = np.random.default_rng(0).random(100)
    whole = interval(values, draws=500, seed=3)
    assert interval(values, draws=500, seed=3) == whole
    assert interval(values, draws=500, seed=4) != whole
    monkeypatch.setattr("limbeck.evaluate.compare.CELLS", 1000)
    parts = interval(values, draws=500, seed=3)
    assert (parts.low, parts.high) == pytest.approx((whole.low, whole.high), abs=0.02)


def test_constant_values_have_an_interval_of_no_length():
    found = interval(np.full(50, 0.25))
    assert (found.mean, found.low, found.high, found.half_width) == (0.25, 0.25, 0.25, 0.0)


def test_a_paired_interval_is_the_interval_of_the_differences():
    rng = np.random.default_rng(0)
    a, b = rng.random(200), rng.random(200)
    assert paired_interval(a, b, seed=1) == interval(a - b, seed=1)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.sampled_from([-1.0, -0.5, -0.1, 0.0, 0.1, 1 / 3, 0.5, 1.0]), min_size=1, max_size=9))
def test_few_queries_give_the_exact_p_value(differences):
    found = permutation_test(np.array(differences), np.zeros(len(differences)))
    assert found == pytest.approx(enumerated_p(differences), abs=1e-15)


def test_p_values_are_uniform_when_nothing_differs():
    rng = np.random.default_rng(0)
    p = np.sort(
        [
            permutation_test(rng.normal(size=40), rng.normal(size=40), draws=999, seed=trial)
            for trial in range(500)
        ]
    )
    steps = np.arange(1, 501) / 500
    distance = max(np.abs(steps - p).max(), np.abs(steps - 1 / 500 - p).max())
    assert distance < 1.63 / np.sqrt(500)  # the 1 % bound of Kolmogorov and Smirnov


def test_p_values_agree_with_scipys():
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(5)
    a = reciprocal_ranks(rng, 300)
    b = np.where(rng.random(300) < 0.8, a, reciprocal_ranks(rng, 300))
    other = stats.permutation_test(
        (a, b),
        lambda x, y: np.mean(x - y),
        permutation_type="samples",
        n_resamples=9999,
        rng=np.random.default_rng(1),
    ).pvalue
    assert permutation_test(a, b) == pytest.approx(other, abs=0.02)  # 4 standard errors of 10,000 draws


def test_p_values_know_no_direction_and_never_reach_zero():
    rng = np.random.default_rng(0)
    a = rng.random(500)
    b = a + 0.1 + 0.01 * rng.random(500)
    assert permutation_test(a, b) == permutation_test(b, a) == 1 / 10_001
    assert permutation_test(a, a) == 1.0


def test_queries_that_agree_do_not_change_the_p_value():
    differences = np.array([0.5, -0.1, 0.3, 0.2])
    padded = np.concatenate([differences, np.zeros(1000)])
    assert permutation_test(padded, np.zeros(1004)) == permutation_test(differences, np.zeros(4))


def naive_holm(p):
    order = sorted(range(len(p)), key=lambda place: p[place])
    adjusted, highest = [0.0] * len(p), 0.0
    for step, place in enumerate(order):
        highest = max(highest, min(1.0, p[place] * (len(p) - step)))
        adjusted[place] = highest
    return adjusted


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_equals_the_step_down_procedure(p):
    np.testing.assert_allclose(holm(p), naive_holm(p), atol=1e-15)


def test_holms_worked_example():
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])


def test_equivalence_needs_the_whole_interval_within_the_margin():
    rng = np.random.default_rng(0)
    base = rng.random(4000)
    near = equivalence(base + rng.normal(0.001, 0.02, 4000), base)
    assert near.is_equivalent
    assert near.is_non_inferior
    assert near.interval.level == pytest.approx(0.90)  # two one-sided tests at 5 % each
    few = equivalence(rng.random(30), rng.random(30))
    assert not few.is_equivalent
    better = equivalence(base + 0.05, base)
    assert not better.is_equivalent
    assert better.is_non_inferior
    worse = equivalence(base - 0.05, base)
    assert not worse.is_equivalent
    assert not worse.is_non_inferior


def test_equivalence_is_claimed_wrongly_no_more_often_than_it_says():
    rng = np.random.default_rng(0)
    claims = [
        equivalence(rng.normal(0.005, 0.03, 100), np.zeros(100), draws=500, seed=trial).is_equivalent
        for trial in range(300)
    ]
    assert np.mean(claims) < 0.09  # 5 % at the border of the margin, + 3 standard errors


def scores(values, ids=None):
    columns = np.asarray(values, dtype=np.float64)
    names = tuple(ids or map(str, range(len(columns))))
    return Scores(("RR@10", "R@100"), columns, names, np.arange(len(columns)))


def test_systems_are_compared_in_every_measure_with_holm_over_all_cells():
    rng = np.random.default_rng(0)
    base = rng.random((300, 2))
    others = {"same": scores(base), "better": scores(base + rng.normal(0.1, 0.1, base.shape))}
    found = compare_systems(scores(base), others, baseline_name="OPQ")
    assert [(one.system, one.measure) for one in found] == [
        (system, measure) for system in others for measure in ("RR@10", "R@100")
    ]
    np.testing.assert_allclose([one.p_adjusted for one in found], holm([one.p for one in found]))
    same, _, better, _ = found
    assert (same.p, same.difference.mean, same.equivalence.is_equivalent) == (1.0, 0.0, True)
    assert better.is_better
    assert better.p_adjusted < 0.01
    assert better.difference.low > 0
    assert better.mean - better.baseline_mean == pytest.approx(better.difference.mean)
    assert better.baseline == "OPQ"
    chosen = compare_systems(scores(base), others, measures=["R@100"])
    assert {one.measure for one in chosen} == {"R@100"}


def test_comparisons_made_apart_are_corrected_together():
    rng = np.random.default_rng(0)
    base = rng.random((300, 2))
    one = compare_systems(scores(base), {"a": scores(base + rng.normal(0.01, 0.1, base.shape))})
    both = adjust([*one, *one])
    np.testing.assert_allclose([each.p_adjusted for each in both], holm([each.p for each in [*one, *one]]))


def test_systems_scored_on_other_queries_are_refused():
    values = np.random.default_rng(0).random((3, 2))
    with pytest.raises(DataError, match="not the same in the same order"):
        compare_systems(scores(values), {"x": scores(values, ["1", "0", "2"])})


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: interval([]), DataError, "empty"),
        (lambda: interval([0.1, np.nan]), DataError, "not finite at query 1"),
        (lambda: interval([[0.1]]), ShapeError, "one value a query"),
        (lambda: interval([0.1], level=95), ConfigError, "0.95 is 95 %"),
        (lambda: interval([0.1], draws=0), ConfigError, "10,000 is usual"),
        (lambda: permutation_test(np.arange(40.0), np.zeros(40), draws=0), ConfigError, "10,000 is usual"),
        (lambda: permutation_test([0.1], [0.1, 0.2]), ShapeError, "same queries in the same order"),
        (lambda: holm([0.5, 1.5]), DataError, "must lie in"),
        (lambda: holm([np.nan]), DataError, "must lie in"),
        (lambda: holm([[0.5]]), ShapeError, "expected"),
        (lambda: equivalence([0.1], [0.1], margin=0), ConfigError, "half a point"),
        (lambda: equivalence([0.1], [0.1], level=0.4), ConfigError, "0.5, 1"),
    ],
)
def test_what_cannot_be_compared_is_refused(call, error, text):
    with pytest.raises(error, match=text):
        call()
