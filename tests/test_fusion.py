"""Fusion: the definition in loops, the tie rule, and weights that are found where they are known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.data.labels import Labels
from limbeck.errors import ConfigError, DataError, ShapeError
from limbeck.evaluate import score_hits
from limbeck.fusion import GRID, Fusion, fit_weight, reciprocal_rank, scaled, weighted
from limbeck.types import Hits


def hits_of(lines, depth=None):
    """Hits of lists of (row, score), put into the one order."""
    depth = depth if depth is not None else max(map(len, lines), default=0)
    ids = np.full((len(lines), depth), -1, dtype=np.int64)
    scores = np.full((len(lines), depth), -np.inf, dtype=np.float32)
    for place, line in enumerate(lines):
        for rank, (row, score) in enumerate(sorted(line, key=lambda pair: (-pair[1], pair[0]))):
            ids[place, rank], scores[place, rank] = row, score
    return Hits(ids, scores)


@st.composite
def two_lists(draw):
    queries = draw(st.integers(0, 4))
    found = []
    for _ in range(2):
        depth = draw(st.integers(1, 8))
        lines = [
            draw(
                st.lists(
                    st.tuples(st.integers(0, 12), st.integers(-4, 4)),
                    max_size=depth,
                    unique_by=lambda pair: pair[0],
                )
            )
            for _ in range(queries)
        ]
        found.append(hits_of(lines, depth))
    return found


def entries(hits, query):
    there = hits.ids[query] >= 0
    return list(zip(hits.ids[query][there].tolist(), hits.scores[query][there].tolist(), strict=True))


def naive_ranks(lists, query, constant=60):
    totals = {}
    for hits in lists:
        for rank, (row, _) in enumerate(entries(hits, query), start=1):
            totals[row] = totals.get(row, 0.0) + 1 / (constant + rank)
    return totals


def naive_scores(dense, lexical, query, weight):
    totals = {}
    for hits, share in ((dense, weight), (lexical, 1 - weight)):
        found = entries(hits, query)
        low, high = (min(s for _, s in found), max(s for _, s in found)) if found else (0, 0)
        for row, score in found:
            own = 1.0 if high == low else (score - low) / (high - low)
            totals[row] = totals.get(row, 0.0) + share * own
    return totals


def assert_sorted_totals(hits, totals, query, k):
    best = sorted(totals.items(), key=lambda pair: (-np.float32(pair[1]), pair[0]))[:k]
    assert hits.ids[query, : len(best)].tolist() == [row for row, _ in best]
    np.testing.assert_allclose(hits.scores[query, : len(best)], [total for _, total in best], rtol=1e-6)
    assert (hits.ids[query, len(best) :] == -1).all()
    assert np.isneginf(hits.scores[query, len(best) :]).all()


@settings(deadline=None)
@given(two_lists(), st.integers(1, 20), st.sampled_from([60, 1]))
def test_reciprocal_rank_is_its_definition(lists, k, constant):
    hits = reciprocal_rank(lists, k, constant=constant)
    assert hits.ids.shape == hits.scores.shape == (len(lists[0]), k)
    for query in range(len(hits)):
        assert_sorted_totals(hits, naive_ranks(lists, query, constant), query, k)


@settings(deadline=None)
@given(two_lists(), st.integers(1, 20), st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]))
def test_weighted_scores_are_their_definition(lists, k, weight):
    hits = weighted(*lists, k, weight=weight)
    for query in range(len(hits)):
        assert_sorted_totals(hits, naive_scores(*lists, query, weight), query, k)


@given(two_lists(), st.integers(1, 9))
def test_the_order_of_the_lists_does_not_matter_to_ranks(lists, k):
    one, other = reciprocal_rank(lists, k), reciprocal_rank(lists[::-1], k)
    assert np.array_equal(one.ids, other.ids)


@given(two_lists())
def test_a_smaller_k_is_the_beginning_of_a_larger(lists):
    large = weighted(*lists, 12, weight=0.25)
    assert np.array_equal(weighted(*lists, 5, weight=0.25).ids, large.ids[:, :5])


def test_scaling_goes_from_one_to_zero_and_ignores_what_is_past_the_end():
    hits = hits_of([[(3, 9.0), (1, 7.0), (2, 8.0)], [(4, 5.0), (5, 5.0)], []], depth=4)
    assert scaled(hits).tolist() == [[1, 0.5, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0]]


def test_shift_and_scale_of_a_list_change_nothing():
    rng = np.random.default_rng(0)
    dense, lexical = (
        hits_of([list(zip(rng.permutation(30)[:10], rng.random(10), strict=True))]) for _ in "ab"
    )
    moved = Hits(lexical.ids, 4 * lexical.scores + 8)
    one, other = (weighted(dense, words, 10, weight=0.5) for words in (lexical, moved))
    assert np.array_equal(one.ids, other.ids)


def test_one_list_fused_with_nothing_keeps_its_order():
    dense = hits_of([[(5, 3.0), (9, 2.0), (2, 1.0)]])
    nothing = hits_of([[]], depth=3)
    for hits in (reciprocal_rank([dense, nothing], 3), weighted(dense, nothing, 3, weight=0.5)):
        assert hits.ids.tolist() == dense.ids.tolist()


def test_the_fitted_weight_is_the_best_of_the_grid():
    """The dense list is right for the first half of the queries, the lexical one for two in three."""
    rng = np.random.default_rng(1)
    relevant = np.arange(60)
    lists = []
    for right in (np.arange(60) < 30, np.arange(60) % 3 > 0):
        lines = []
        for query in range(60):
            scores = dict(
                zip((100 + rng.permutation(40)[:12]).tolist(), rng.random(12).tolist(), strict=True)
            )
            scores[int(relevant[query])] = float(rng.random() + (1.0 if right[query] else 0.0))
            lines.append(list(scores.items()))
        lists.append(hits_of(lines))
    labels = Labels(np.arange(61), relevant, np.ones(60, dtype=np.float32))
    found = fit_weight(*lists, labels)
    figures = {
        weight: score_hits(weighted(*lists, 10, weight=weight), labels, ("nDCG@10",)).mean("nDCG@10")
        for weight in GRID
    }
    assert dict(found.curve) == pytest.approx(figures)
    assert found.figure == max(figures.values()) == figures[found.weight]
    assert found.figure > max(figures[0.0], figures[1.0])


def test_of_equal_weights_the_one_nearest_to_the_middle_is_taken():
    alike = hits_of([[(1, 2.0), (0, 1.0)]])
    labels = Labels(np.array([0, 1]), np.array([1]), np.ones(1, dtype=np.float32))
    assert fit_weight(alike, alike, labels).weight == 0.5


def test_weights_need_labels():
    alike = hits_of([[(1, 2.0)]])
    with pytest.raises(DataError, match="label"):
        fit_weight(alike, alike, Labels(np.array([0, 0]), np.empty(0, np.int64), np.empty(0, np.float32)))


def test_a_fusion_is_what_it_names():
    lists = [hits_of([[(1, 5.0), (2, 4.0), (3, 1.0)]]), hits_of([[(3, 9.0), (4, 8.0)]])]
    assert np.array_equal(Fusion()(*lists, 4).ids, reciprocal_rank(lists, 4).ids)
    assert np.array_equal(Fusion("scores", 0.25)(*lists, 4).ids, weighted(*lists, 4, weight=0.25).ids)
    assert Fusion()(*lists, 4).ids[0, 0] == 3


@pytest.mark.parametrize(
    "bad",
    [
        {"method": "sum"},
        {"weight": 1.5},
        {"weight": float("nan")},
        {"weight": "0.5"},
        {"depth": 0},
        {"depth": 1.5},
        {"depth": True},
    ],
)
def test_settings_that_cannot_work_are_refused(bad):
    with pytest.raises(ConfigError, match=next(iter(bad))):
        Fusion(**bad)


def test_lists_of_other_queries_are_refused():
    one, two = hits_of([[(1, 1.0)]]), hits_of([[(1, 1.0)], [(2, 1.0)]])
    with pytest.raises(ShapeError, match=r"\[1, 2\]"):
        weighted(one, two, 3, weight=0.5)
    with pytest.raises(ShapeError):
        reciprocal_rank([], 3)
    with pytest.raises(ConfigError, match="`k`"):
        reciprocal_rank([one], 0)
