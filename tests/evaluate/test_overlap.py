"""Overlap with exact search: a naive count, with ties that cost nothing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.errors import ConfigError, ShapeError
from limbeck.evaluate import overlap
from limbeck.types import Hits


def naive(ids, exact_ids, exact_scores, k):
    """Places that can be filled with documents as good as the exact ones, one query at a time."""
    exact = [(d, s) for d, s in zip(exact_ids, exact_scores, strict=True) if d >= 0]
    wanted = min(k, len(exact))
    if not wanted:
        return 1.0
    threshold = exact[wanted - 1][1]
    above = {d for d, s in exact if s > threshold}
    tied = {d for d, s in exact if s == threshold}
    top = set(ids[:k])
    return (len(top & above) + min(len(top & tied), wanted - len(above))) / wanted


@settings(deadline=None, max_examples=200)
@given(st.data(), st.integers(1, 5), st.integers(0, 4))
def test_overlap_equals_the_naive_count(data, k, deeper):
    width = k + deeper
    rows = data.draw(st.integers(1, 4))
    ids, exact_ids, scores = [], [], []
    for _ in range(rows):
        for into, wide in ((ids, k), (exact_ids, width)):
            found = data.draw(st.lists(st.integers(0, 9), unique=True, max_size=wide))
            into.append(found + [-1] * (wide - len(found)))
        drawn = data.draw(st.lists(st.sampled_from([1.0, 2.0, 3.0]), min_size=width, max_size=width))
        scores.append(sorted(drawn, reverse=True))
    exact_scores = np.where(np.array(exact_ids) < 0, -np.inf, np.array(scores)).astype(np.float32)
    found = overlap(
        Hits(np.array(ids), np.zeros((rows, k), np.float32)), Hits(np.array(exact_ids), exact_scores), k
    )
    expected = [naive(i, e, s, k) for i, e, s in zip(ids, exact_ids, exact_scores, strict=True)]
    np.testing.assert_allclose(found, expected, atol=1e-15)


def test_a_tied_document_is_as_good_as_the_one_that_exact_search_put_first():
    exact = Hits(np.array([[0, 1, 2, 3]]), np.array([[3.0, 2.0, 2.0, 1.0]], np.float32))
    assert overlap(Hits(np.array([[0, 2]]), np.zeros((1, 2), np.float32)), exact, 2).tolist() == [1.0]
    assert overlap(Hits(np.array([[1, 2]]), np.zeros((1, 2), np.float32)), exact, 2).tolist() == [0.5]
    assert overlap(Hits(np.array([[0, 3]]), np.zeros((1, 2), np.float32)), exact, 2).tolist() == [0.5]


def test_many_queries_go_through_in_bounded_parts(monkeypatch):
    rng = np.random.default_rng(0)
    exact = Hits(np.stack([rng.permutation(30)[:20] for _ in range(50)]), np.tile(-np.arange(20.0), (50, 1)))
    hits = Hits(np.stack([rng.permutation(30)[:10] for _ in range(50)]), np.zeros((50, 10), np.float32))
    whole = overlap(hits, exact, 10)
    monkeypatch.setitem(overlap.__globals__, "CELLS", 500)
    np.testing.assert_array_equal(overlap(hits, exact, 10), whole)


def test_no_queries_give_no_shares():
    none = Hits(np.zeros((0, 10), np.int64), np.zeros((0, 10), np.float32))
    assert overlap(none, none).shape == (0,)


def test_lists_that_are_too_short_or_for_other_queries_are_refused():
    short, long = (Hits(np.zeros((1, k), np.int64), np.zeros((1, k), np.float32)) for k in (5, 10))
    two = Hits(np.zeros((2, 10), np.int64), np.zeros((2, 10), np.float32))
    with pytest.raises(ConfigError, match="`hits` holds 5 hits a query, but overlap@10 needs 10"):
        overlap(short, long)
    with pytest.raises(ConfigError, match="`exact` holds 5"):
        overlap(long, short)
    with pytest.raises(ConfigError, match="1 or more"):
        overlap(long, long, 0)
    with pytest.raises(ShapeError, match="for 1 queries, but the exact ones for 2"):
        overlap(long, two)
