import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from limbeck.index import ties
from limbeck.index.ties import best_hits, in_order


def naive(scores, k):
    """The rule, one line at a time."""
    best = [sorted(range(len(line)), key=lambda row: (-line[row], row))[:k] for line in scores.tolist()]
    return np.array(best)


def engine(scores, calls=None):
    """A search that keeps an arbitrary part of each group of equal scores: the later rows."""

    def fetch(numbers, depth):
        if calls is not None:
            calls.append((len(numbers), depth))
        part = scores[numbers]
        rows = np.argsort(-part[:, ::-1], axis=1, kind="stable")[:, :depth]
        rows = part.shape[1] - 1 - rows
        return np.take_along_axis(part, rows, axis=1), rows

    return fetch


@given(
    queries=st.integers(0, 5),
    size=st.integers(1, 60),
    k=st.integers(1, 70),
    levels=st.integers(1, 30),
    seed=st.integers(0, 1000),
)
def test_equal_scores_come_by_row_and_at_rank_k_as_well(queries, size, k, levels, seed):
    scores = np.random.default_rng(seed).integers(levels, size=(queries, size)).astype(np.float32)
    hits = best_hits(engine(scores), queries=queries, k=k, size=size)
    width = min(k, size)
    assert hits.ids.shape == (queries, k)
    if queries:
        assert np.array_equal(hits.ids[:, :width], naive(scores, width))
        assert (hits.ids[:, width:] == -1).all()
        assert np.isneginf(hits.scores[:, width:]).all()


def test_only_queries_with_a_cut_group_are_asked_again():
    scores = np.arange(200, dtype=np.float32)[::-1].copy()
    scores = np.stack([scores, np.zeros(200, np.float32)])
    calls = []
    hits = best_hits(engine(scores, calls), queries=2, k=5, size=200)
    assert hits.ids.tolist() == [[0, 1, 2, 3, 4], [0, 1, 2, 3, 4]]
    assert calls == [(2, 13), (1, 69), (1, 200)]


def test_a_group_beyond_the_bound_keeps_what_the_engine_gave(monkeypatch):
    monkeypatch.setattr(ties, "TIE_BOUND", 20)
    scores = np.zeros((1, 1000), np.float32)
    calls = []
    hits = best_hits(engine(scores, calls), queries=1, k=3, size=1000)
    assert calls[-1][1] == 23
    assert hits.ids.tolist() == [[977, 978, 979]]


def test_scores_within_the_tolerance_count_as_cut():
    scores = np.array([[3.0, 2.0, 1.0, 1.0 - 1e-7, 0.5, *[0.0] * 40]], np.float32)
    calls = []
    best_hits(engine(scores, calls), queries=1, k=35, size=45, tolerance=np.array([0.1], np.float32))
    assert len(calls) == 2


def test_lines_in_order_are_returned_as_they_are():
    scores, rows = np.array([[2.0, 1.0, -np.inf]], np.float32), np.array([[4, 9, -1]])
    assert in_order(scores, rows)[0] is scores
