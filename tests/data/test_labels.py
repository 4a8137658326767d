import gzip
import logging
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from limbeck.data import Ids, Labels, Qrels
from limbeck.errors import DataError

EXPECTED = {"q1": {"d1": 1, "d2": 2}, "q2": {"d1": 0}}
FORMS = {
    "BEIR": b"query-id\tcorpus-id\tscore\nq1\td1\t1\nq1\td2\t2\nq2\td1\t0\n",
    "BEIR without header": b"q1\td1\t1\nq1\td2\t2\nq2\td1\t0\n",
    "TREC": b"q1 0 d1 1\nq1 0 d2 2\nq2 0 d1 0\n",
    "MS MARCO": b"q1\t0\td1\t1\nq1\t0\td2\t2\nq2\t0\td1\t0\n",
    "floats": b"q1\td1\t1.0\nq1\td2\t2.0\nq2\td1\t0\n",
    "CRLF, mark, blank lines": b"\xef\xbb\xbfquery-id\tcorpus-id\tscore\r\nq1\td1\t1\r\n\r\nq1\td2\t2\r\nq2\td1\t0",
    "gzip": gzip.compress(b"q1 0 d1 1\nq1 0 d2 2\nq2 0 d1 0\n"),
    "repeated": b"q1\td1\t1\nq1\td2\t2\nq2\td1\t0\nq1\td2\t2\n",
}


@pytest.mark.parametrize("form", FORMS)
def test_all_forms_of_labels_are_told_apart(tmp_path, form):
    (tmp_path / "test.tsv").write_bytes(FORMS[form])
    qrels = Qrels.open(tmp_path / "test.tsv")
    assert qrels.as_dict() == EXPECTED
    assert qrels == Qrels(EXPECTED)
    assert qrels != EXPECTED
    assert len(qrels) == 3
    assert qrels.query_ids == ["q1", "q2"]
    assert qrels.fingerprint == Qrels(EXPECTED).fingerprint
    assert repr(qrels) == "Qrels(2 queries, 3 judgements)"


def test_a_quotation_mark_is_part_of_an_id(tmp_path):
    (tmp_path / "test.tsv").write_bytes(b'q1\t"d1\t1\nq2\td2"\t1\nq 3\td 3\t1\n')
    assert Qrels.open(tmp_path / "test.tsv").as_dict() == {
        "q1": {'"d1': 1},
        "q2": {'d2"': 1},
        "q 3": {"d 3": 1},
    }


BAD = {
    "two columns": (b"q1\td1\n", r"test.tsv:1: expected 3 or 4 columns, found 2"),
    "mixed columns": (
        b"q1\td1\t1\nq1 0 d1 1\n",
        r"test.tsv:2: expected 3 columns as on the first line, found 4",
    ),
    "a word as grade": (b"q1\td1\t1\nq1\td2\tyes\n", r"test.tsv:2: expected a grade such as 1, found 'yes'"),
    "NaN": (b"q1\td1\tnan\nq1\td2\tnan\n", r"test.tsv:2: expected a grade|test.tsv:1"),
    "a fraction": (b"q1\td1\t0.5\n", r"test.tsv:1: expected a whole number as grade, found 0.5"),
    "two grades": (
        b"q1\td1\t1\nq1\td1\t2\n",
        r"test.tsv:2: expected one grade for each pair, found 2 .* had 1",
    ),
    "no query id": (b"q1\td1\t1\n\td1\t1\n", r"test.tsv:2: expected a query id and a document id"),
    "not UTF-8": (b"q1\td1\t1\nq\xff\td1\t1\n", r"test.tsv:2: expected UTF-8"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_labels_are_refused_with_file_and_line(tmp_path, name):
    content, reason = BAD[name]
    (tmp_path / "test.tsv").write_bytes(content)
    with pytest.raises(DataError, match=reason):
        Qrels.open(tmp_path / "test.tsv")


def test_negative_grades_are_kept_and_said(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    (tmp_path / "test.tsv").write_bytes(b"q1\td1\t-2\n")
    assert Qrels.open(tmp_path / "test.tsv").as_dict() == {"q1": {"d1": -2}}
    assert "1 grades are below 0" in caplog.text


def test_labels_become_rows_and_strangers_are_reported(caplog):
    qrels = Qrels({"q2": {"d3": 1, "gone": 1, "d1": 2}, "q9": {"d1": 1}, "q1": {"d2": 0}})
    labels = qrels.rows(Ids.from_iterable(["q1", "q0", "q2"]), Ids.from_iterable(["d1", "d2", "d3"]))
    assert [labels.of(row)[0].tolist() for row in range(3)] == [[1], [], [0, 2]]
    assert [labels.of(row)[1].tolist() for row in range(3)] == [[0.0], [], [2.0, 1.0]]
    assert (labels.indptr.dtype, labels.documents.dtype, labels.gains.dtype) == (
        np.int64,
        np.int64,
        np.float32,
    )
    assert "1 of 4 labels point to documents that are not in the corpus, such as 'gone'" in caplog.text
    with pytest.raises(IndexError, match="row 3 of 3"):
        labels.of(3)


def test_no_labels_are_no_labels():
    labels = Qrels({}).rows(Ids.from_iterable(["q"]), Ids.from_iterable([]))
    assert isinstance(labels, Labels)
    assert len(labels) == 1
    assert labels.indptr.tolist() == [0, 0]


def test_select_leaves_out_queries_without_judgements():
    assert Qrels(EXPECTED).select(["q2", "q7"]).as_dict() == {"q2": {"d1": 0}}


@given(st.dictionaries(st.sampled_from("abcd"), st.dictionaries(st.sampled_from("wxyz"), st.integers(-1, 3))))
def test_rows_agree_with_a_naive_loop(grades):
    queries, documents = Ids.from_iterable("dbca"), Ids.from_iterable("zyxw")
    labels = Qrels(grades).rows(queries, documents)
    for row, query in enumerate(queries):
        naive = sorted((list(documents).index(d), float(g)) for d, g in grades.get(query, {}).items())
        assert list(zip(*(part.tolist() for part in labels.of(row)), strict=True)) == naive


@given(st.lists(st.binary(max_size=20) | st.sampled_from([b"q\td\t1", b"q 0 d 1", b"q\td\t2"]), max_size=6))
def test_random_lines_are_labels_or_data_errors(tmp_path_factory, lines):
    path = tmp_path_factory.mktemp("fuzz") / "test.tsv"
    path.write_bytes(b"\n".join(lines))
    with suppress(DataError):
        Qrels.open(path)


def test_labels_of_some_queries_keep_their_documents_in_the_order_asked_for():
    labels = Labels(
        np.array([0, 2, 2, 5]), np.array([3, 9, 0, 4, 7]), np.array([1, 2, 1, 0, 3], dtype=np.float32)
    )
    taken = labels.take(np.array([2, 0, 1]))
    for new, old in enumerate([2, 0, 1]):
        for found, expected in zip(taken.of(new), labels.of(old), strict=True):
            np.testing.assert_array_equal(found, expected)
    assert len(labels.take(np.array([], dtype=np.int64))) == 0
