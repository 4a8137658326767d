"""Scores of ranked lists equal ir-measures' own, under one tie rule."""

import sys
from pathlib import Path

import ir_measures
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.data.labels import Labels, Qrels
from limbeck.errors import ConfigError, DataError, MissingExtra, ShapeError
from limbeck.evaluate import Scores, score_hits, score_run
from limbeck.types import Hits

SCIFACT = Path(__file__).parents[3] / "shared/data/scifact/qrels/test.tsv"
FAST = ("RR@10", "RR", "RR(rel=2)@3", "R@1", "R@100", "R(rel=2)@5", "P@5", "Success@2", "nDCG@10", "nDCG")
SLOW = ("AP", "AP(rel=2)@5", "Judged@5", "nDCG(judged_only=True)@10", "Rprec")


def hits_of(*rows):
    width = max(map(len, rows))
    ids = np.array([[*row, *[-1] * (width - len(row))] for row in rows], dtype=np.int64).reshape(
        len(rows), width
    )
    falling = np.tile(-np.arange(width, dtype=np.float32), (len(rows), 1))
    return Hits(ids, np.where(ids < 0, -np.inf, falling).astype(np.float32))


def labels_of(*rows):
    """A dict of document to gain for each query."""
    return Labels(
        np.cumsum([0, *map(len, rows)]).astype(np.int64),
        np.array([document for row in rows for document in sorted(row)], dtype=np.int64),
        np.array([row[document] for row in rows for document in sorted(row)], dtype=np.float32),
    )


def by_ir_measures(lists, labels, measure):
    """The library's own values, from dictionaries with strictly decreasing scores.

    Where all gains are below 0 they are 0 here: pytrec_eval's nDCG may not return for such queries.
    """
    qrels = {
        str(query): {str(document): gain if max(row.values()) >= 0 else 0 for document, gain in row.items()}
        for query, row in enumerate(labels)
        if row
    }
    run = {
        str(query): {str(document): float(-rank) for rank, document in enumerate(row)}
        for query, row in enumerate(lists)
        if row
    }
    found = {
        metric.query_id: metric.value
        for metric in ir_measures.iter_calc([ir_measures.parse_measure(measure)], qrels, run)
    }
    return [found.get(query, 0.0) for query in qrels]


ranked = st.lists(st.integers(0, 14), unique=True, max_size=12)
judged = st.dictionaries(st.integers(0, 18), st.integers(-1, 3), max_size=6)


@settings(deadline=None, max_examples=150)
@given(st.lists(st.tuples(ranked, judged), min_size=1, max_size=6))
def test_every_fast_formula_equals_ir_measures(queries):
    lists, labels = [row for row, _ in queries], [row for _, row in queries]
    if not any(labels) or not any(lists):
        return
    hits = hits_of(*[row + [-1] * (100 - len(row)) for row in lists])
    found = score_hits(hits, labels_of(*labels), FAST)
    for measure in FAST:
        expected = by_ir_measures(lists, labels, measure)
        np.testing.assert_allclose(found.of(measure), expected, atol=1e-12, err_msg=measure)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(ranked, judged), min_size=1, max_size=6))
def test_every_other_measure_goes_through_ir_measures(queries):
    lists, labels = [row for row, _ in queries], [row for _, row in queries]
    if not any(labels) or not any(lists):
        return
    hits = hits_of(*[row + [-1] * (10 - len(row)) for row in lists])
    found = score_hits(hits, labels_of(*labels), SLOW)
    for measure in SLOW:
        np.testing.assert_allclose(found.of(measure), by_ir_measures(lists, labels, measure), atol=1e-12)


@pytest.mark.skipif(not SCIFACT.exists(), reason="shared/data/scifact is not here")
def test_real_qrels_score_as_ir_measures_scores_them():
    qrels = Qrels.open(SCIFACT).as_dict()
    rng = np.random.default_rng(0)
    documents = sorted({document for row in qrels.values() for document in row})
    run = {
        query: {
            document: float(-rank)
            for rank, document in enumerate(
                dict.fromkeys(
                    [*rng.choice(documents, 40).tolist(), *row, *rng.choice(documents, 40).tolist()]
                )
            )
        }
        for query, row in qrels.items()
    }
    measures = ["RR@10", "R@100", "nDCG@10", "RR", "nDCG", "AP"]
    found = score_run(run, Qrels.open(SCIFACT), measures)
    parsed = [ir_measures.parse_measure(measure) for measure in measures]
    expected = ir_measures.calc_aggregate(parsed, qrels, run)
    assert len(found) == len(qrels) == 300
    for measure, name in zip(parsed, measures, strict=True):
        assert found.mean(name) == pytest.approx(expected[measure], abs=1e-12)


def test_tied_scores_give_all_measures_the_same_ranks():
    hits = Hits(np.array([[0, 1, 2]]), np.full((1, 3), 0.5, np.float32))
    found = score_hits(hits, labels_of({0: 1}), ("RR@3", "RR", "nDCG@3", "AP"))
    assert found.means() == {"RR@3": 1.0, "RR": 1.0, "nDCG@3": 1.0, "AP": 1.0}


def test_ties_in_a_run_are_ordered_by_row_where_rows_are_known_else_by_id():
    run, qrels = {"q": {"b": 1.0, "a": 1.0, "c": 2.0}}, {"q": {"b": 1}}
    assert score_run(run, qrels, ["RR", "AP"]).means() == {"RR": 1 / 3, "AP": 1 / 3}
    rows = {"b": 0, "a": 1, "c": 2}
    assert score_run(run, qrels, ["RR", "AP"], document_rows=rows).means() == {"RR": 1 / 2, "AP": 1 / 2}


def test_queries_without_labels_are_left_out_and_counted():
    found = score_hits(
        hits_of([1, 2], [3, 4], [5, 6]), labels_of({2: 1}, {}, {5: 1}), ["RR"], query_ids="abc"
    )
    assert found.query_ids == ("a", "c")
    assert found.query_rows.tolist() == [0, 2]
    assert found.unlabelled == 1
    assert found.of("RR").tolist() == [0.5, 1.0]
    assert found.mean("RR") == 0.75
    assert len(found) == 2


def test_queries_whose_labels_are_all_irrelevant_count_as_nothing_found():
    found = score_hits(hits_of([1], [2]), labels_of({1: 0}, {2: 1}), ["RR", "R@1", "nDCG@1"])
    assert found.means() == {"RR": 0.5, "R@1": 0.5, "nDCG@1": 0.5}


def test_queries_whose_gains_are_all_below_zero_score_nothing_and_return():
    hits, labels = hits_of([13, 2, 11, 7], [1, 5, 6, 7]), labels_of({12: -1, 18: -1}, {5: 1})
    found = score_hits(hits, labels, ["nDCG", "nDCG(judged_only=True)", "AP", "Judged@2"])
    assert found.values[0].tolist() == [0.0, 0.0, 0.0, 0.0]
    assert found.of("Judged@2")[1] == 0.5


def test_missing_hits_do_not_move_ranks():
    gaps = Hits(np.array([[-1, 7, -1, 8]]), np.zeros((1, 4), np.float32))
    found = score_hits(gaps, labels_of({8: 1}), ["RR", "P@2", "AP"])
    assert found.means() == {"RR": 0.5, "P@2": 0.5, "AP": 0.5}


def test_an_empty_answer_scores_nothing():
    empty = Hits(np.full((2, 3), -1), np.full((2, 3), -np.inf, np.float32))
    found = score_hits(empty, labels_of({1: 1}, {2: 1}), ["RR@3", "nDCG@3", "AP", "R@3"])
    assert set(found.means().values()) == {0.0}
    none = Hits(np.zeros((2, 0), np.int64), np.zeros((2, 0), np.float32))
    assert score_hits(none, labels_of({1: 1}, {2: 1}), ["RR", "nDCG"]).means() == {"RR": 0.0, "nDCG": 0.0}


def test_a_document_with_the_querys_own_id_is_dropped_on_request():
    hits, labels = hits_of([4, 5, 6], [7, 8, 9]), labels_of({5: 1}, {9: 1})
    kept = score_hits(hits, labels, ["RR"], ignore_identical=None)
    dropped = score_hits(hits, labels, ["RR"], ignore_identical=np.array([4, -1]))
    assert kept.of("RR").tolist() == [1 / 2, 1 / 3]
    assert dropped.of("RR").tolist() == [1.0, 1 / 3]
    run, qrels = {"4": {"4": 3.0, "5": 2.0}}, {"4": {"5": 1}}
    assert score_run(run, qrels, ["RR"]).mean("RR") == 0.5
    assert score_run(run, qrels, ["RR"], ignore_identical=True).mean("RR") == 1.0


def test_hits_and_their_run_score_alike():
    rng = np.random.default_rng(1)
    lists = [rng.choice(50, 20, replace=False).tolist() for _ in range(30)]
    labels = [
        {int(d): int(g) for d, g in zip(rng.choice(50, 4), rng.integers(0, 3, 4), strict=True)} for _ in lists
    ]
    run = {f"q{i}": {f"{d:02d}": -float(rank) for rank, d in enumerate(row)} for i, row in enumerate(lists)}
    qrels = {f"q{i}": {f"{d:02d}": gain for d, gain in row.items()} for i, row in enumerate(labels)}
    measures = ("RR@10", "R@20", "nDCG@10", "AP")
    by_hits = score_hits(hits_of(*lists), labels_of(*labels), measures, query_ids=list(run))
    by_run = score_run(run, qrels, measures)
    np.testing.assert_allclose(by_hits.values, by_run.values, atol=1e-12)
    assert by_hits.query_ids == by_run.query_ids


def test_labelled_queries_that_the_run_lacks_score_zero_with_a_warning(caplog):
    found = score_run({"a": {"x": 1.0}, "z": {"x": 1.0}}, {"a": {"x": 1}, "b": {"x": 1}, "c": {}}, ["RR"])
    assert found.query_ids == ("a", "b")
    assert found.of("RR").tolist() == [1.0, 0.0]
    assert found.unlabelled == 1
    assert "1 of 2 queries with labels are not in the run" in caplog.text


def test_documents_that_share_no_id_with_the_qrels_are_warned_of(caplog):
    assert score_run({"a": {"1": 1.0}}, {"a": {"doc1": 1}}, ["RR"]).mean("RR") == 0.0
    assert "no document id of the qrels occurs anywhere in the run: 'doc1' against '1'" in caplog.text


def test_one_more_measure_stands_beside_the_others():
    found = score_hits(hits_of([1], [2]), labels_of({1: 1}, {3: 1}), ["RR"]).plus(
        "overlap@1", np.array([0.5, 1])
    )
    assert found.measures == ("RR", "overlap@1")
    assert found.mean("overlap@1") == 0.75
    assert found.of("MRR").tolist() == [1.0, 0.0]  # ir-measures' other name for it
    with pytest.raises(ShapeError, match="one for each query with labels"):
        found.plus("x", np.ones(3))
    with pytest.raises(ConfigError, match="measured already"):
        found.plus("RR", np.ones(2))
    with pytest.raises(ConfigError, match="was not measured; there are RR, overlap@1"):
        found.of("AP")


@pytest.mark.parametrize("name", ["recall@10", "RR@x", "", "nDCG@-1", "RR@10 R@100"])
def test_unknown_measures_are_refused_with_the_ones_to_try(name):
    with pytest.raises(ConfigError, match="Try RR@10"):
        score_hits(hits_of([1]), labels_of({1: 1}), [name])


def test_without_ir_measures_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ir_measures", None)
    with pytest.raises(MissingExtra, match=r"pip install 'limbeck\[evaluate\]'"):
        score_hits(hits_of([1]), labels_of({1: 1}), ["RR"])


def test_a_measure_that_looks_deeper_than_the_hits_is_refused():
    with pytest.raises(ConfigError, match=r"looks at 100 hits a query.*\n\nHint: search with k=100"):
        score_hits(hits_of([1, 2]), labels_of({1: 1}), ["R@100"])


def test_a_measure_that_lacks_its_cutoff_is_refused():
    with pytest.raises(ConfigError, match="write the cut-off"):
        score_hits(hits_of([1, 2]), labels_of({1: 1}), ["R"])


@pytest.mark.parametrize(
    ("hits", "labels", "options", "error", "text"),
    [
        (
            hits_of([1]),
            labels_of({1: 1}, {2: 1}),
            {},
            ShapeError,
            "hits are for 1 queries, but the labels for 2",
        ),
        (hits_of([1]), labels_of({1: 1}), {"query_ids": ["a", "b"]}, ShapeError, "holds 2 names"),
        (
            hits_of([1]),
            labels_of({1: 1}),
            {"ignore_identical": np.array([1, 2])},
            ShapeError,
            "one document row",
        ),
        (hits_of([1]), labels_of({}), {}, DataError, "none of the 1 queries has a label"),
        (hits_of([1, 3, 1]), labels_of({1: 1}), {}, DataError, "lists document row 1 twice"),
        (hits_of([1]), labels_of({1: 0.5}), {}, DataError, "whole numbers only"),
        (hits_of([1]), labels_of({1: np.nan}), {}, DataError, "whole numbers only"),
        (
            hits_of([1]),
            Labels(np.array([0, 2]), np.array([1, 1]), np.ones(2, np.float32)),
            {},
            DataError,
            "twice",
        ),
    ],
)
def test_what_cannot_be_scored_is_refused(hits, labels, options, error, text):
    with pytest.raises(error, match=text):
        score_hits(hits, labels, ["RR"], **options)


def test_a_run_for_other_queries_is_refused():
    with pytest.raises(DataError, match="share no query id: 'q1' against '1'"):
        score_run({"q1": {"a": 1.0}}, {"1": {"a": 1}}, ["RR"])


def test_scores_are_plain_values():
    found = score_hits(hits_of([1]), labels_of({1: 1}), ["RR@1"])
    assert isinstance(found, Scores)
    assert found.values.dtype == np.float64
    assert found.query_ids == ("0",)
