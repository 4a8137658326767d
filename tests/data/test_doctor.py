import gzip
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from limbeck.data import Dataset, examine
from limbeck.errors import DataError

LINES = [
    b'\xef\xbb\xbf{"_id": "a", "title": "A", "text": "first"}\r',
    b'{"_id": "b", "text": "one\xe2\x80\xa8line"}',
    b'{"_id": "a", "text": "first again"}',
    b'{"_id": 7, "text": "x"}',
    b'{"text": "x"}',
    b'{"_id": "nul", "text": "\x00"}',
    b'{"_id": "bytes", "text": "\xff"}',
    b"not json",
    b"[1, 2]",
    b'{"_id": "c", "text": ""}',
    b'{"_id": "d", "title": "only a title", "text": " "}',
    b'{"_id": "e f", "text": "one\xe2\x80\xa8line"}',
    b'{"_id": "g", "text": 5}',
    b'{"_id": "", "text": "x"}',
    b'{"_id": "h", "title": 5, "text": "x"}',
    b'{"_id": "s", "text": "\\ud800"}',
]


@pytest.fixture
def sick(tmp_path):
    (tmp_path / "corpus.jsonl").write_bytes(b"\n".join(LINES))
    (tmp_path / "queries.jsonl").write_text(
        "".join(json.dumps({"_id": f"q{n}", "text": f"what {n}"}) + "\n" for n in range(12))
    )
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels" / "test.tsv").write_bytes(b"q1\ta\t1\nq2\tgone\t1\nq99\tb\t1\nq3\tb\t0\nq4\tb\t-1\n")
    (tmp_path / "qrels" / "dev.tsv").write_bytes(
        b"q1\ta\t1\nq1\ta\t2\nq5\tb\thalf\nq5\tb\t0.5\nq5\t\t1\nq5\n"
    )
    values = np.ones((4, 3), np.float32)
    values[1], values[2, 0], values[3] = 0, np.nan, 2
    np.save(tmp_path / "corpus.npy", values)
    return tmp_path


# level, file, part of what, part of where
EXPECTED = [
    ("error", "corpus.jsonl:3", "an `_id` given before", "'a' on line 3, as on line 1"),
    ("error", "corpus.jsonl:4", "an `_id` that is not a string", ""),
    ("error", "corpus.jsonl:5", "a record without `_id`", ""),
    ("error", "corpus.jsonl:6", "a NUL character", ""),
    ("error", "corpus.jsonl:7", "a line that is not UTF-8", "byte 0xff at byte 26"),
    ("error", "corpus.jsonl:8, 9", "a line that is not a JSON record (2 times)", "not json"),
    ("error", "corpus.jsonl:13", "a record without `text`", ""),
    ("error", "corpus.jsonl:14", "an empty `_id`", ""),
    ("error", "corpus.jsonl:15", "a `title` that is not a string", ""),
    ("error", "corpus.jsonl:16", "half a surrogate pair", ""),
    ("warning", "corpus.jsonl:10", "a record without any text", ""),
    ("warning", "corpus.jsonl:12", "documents whose text stands on an earlier line", ""),
    ("warning", "corpus.jsonl:12", "an `_id` with white space", ""),
    ("note", "corpus.jsonl:1", "a byte order mark", ""),
    ("note", "corpus.jsonl:1", "CRLF", ""),
    ("note", "corpus.jsonl:2, 12", "U+2028", ""),
    ("note", "corpus.jsonl:11", "a title only", ""),
    ("error", "dev.tsv:2", "a pair with two grades", ""),
    ("error", "dev.tsv:3", "a grade that is not a number", ""),
    ("error", "dev.tsv:4", "a grade that is not a whole number", ""),
    ("error", "dev.tsv:5", "a line without query id or document id", ""),
    ("error", "dev.tsv:6", "a line with the wrong number of columns", ""),
    ("note", "test.tsv:5", "a grade below 0", ""),
    ("warning", "", "qrels/test: documents with labels that are not in the corpus", "'gone'"),
    ("warning", "", "qrels/test: queries with labels that have no text", "'q99'"),
    ("note", "", "qrels/test: queries without any relevant document (2 times)", "'q3', 'q4'"),
    ("warning", "", "queries in several splits", "'q1'"),
    ("note", "", "queries without labels (8 times)", "'q0', 'q5', 'q6', 'q7', 'q8'"),
    ("error", "corpus.npy:row 2", "a vector with NaN or infinity", ""),
    ("warning", "corpus.npy:row 1", "a zero vector", ""),
    ("note", "corpus.npy", "lengths from 1.732 to 3.464", ""),
    ("note", "corpus.npy", "no file of ids", ""),
]


def test_everything_wrong_is_reported_at_once_with_its_fix(sick):
    findings = examine(sick)
    for level, where, what, example in EXPECTED:
        matching = [
            f
            for f in findings
            if f.level == level and f.where.endswith(where) and what in f.what and example in f.what
        ]
        assert len(matching) == 1, (level, where, what, findings)
    assert len(findings) == len(EXPECTED), [f for f in findings if not any(e[2] in f.what for e in EXPECTED)]
    assert all(finding.fix for finding in findings)
    levels = [finding.level for finding in findings]
    assert levels == sorted(levels, key=["error", "warning", "note"].index)


def test_a_million_bad_lines_are_one_finding(tmp_path):
    (tmp_path / "corpus.jsonl").write_bytes(b"bad\n" * 20_000)
    (bad, none) = examine(tmp_path / "corpus.jsonl")
    assert bad.where.endswith("corpus.jsonl:1, 2, 3, 4, 5, ...")
    assert bad.what.startswith(
        "a line that is not a JSON record (20000 times); first: expected a JSON record"
    )
    assert none.what == "no documents"


def test_a_healthy_folder_has_no_findings(tmp_path):
    (tmp_path / "corpus.jsonl.gz").write_bytes(gzip.compress(b'{"_id": "a", "text": "x"}\n'))
    (tmp_path / "queries.tsv").write_text("q\twhat\n")
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq\ta\t1\n")
    assert examine(tmp_path) == []


def test_missing_and_unreadable_files_are_findings(tmp_path):
    assert [f.what for f in examine(tmp_path / "nothing")] == ["there is nothing here"]
    whats = [f.what for f in examine(tmp_path)]
    assert sum("found none" in what for what in whats) == 2
    assert "no labels in qrels/*.tsv" in whats
    (tmp_path / "corpus.csv").write_text("x")
    assert "expected a name that ends in .jsonl" in examine(tmp_path / "corpus.csv")[0].what
    (tmp_path / "cut.jsonl.gz").write_bytes(gzip.compress(b'{"_id": "a", "text": "x"}\n' * 99)[:-4])
    assert "expected a complete gzip file" in examine(tmp_path / "cut.jsonl.gz")[0].what
    (tmp_path / "plain.jsonl").write_bytes(gzip.compress(b'{"_id": "a", "text": "x"}\n'))
    assert [f.what for f in examine(tmp_path / "plain.jsonl")] == [
        "gzip under another name; it is read all the same"
    ]
    (tmp_path / "qrels.tsv").write_text("x\n")
    assert "wrong number of columns" in examine(tmp_path / "qrels.tsv")[0].what


def test_two_files_for_one_thing_are_findings(tmp_path):
    (tmp_path / "qrels").mkdir()
    for name in ("test.tsv", "test.tsv.gz"):
        (tmp_path / "qrels" / name).write_bytes(b"")
    assert any("expected one file for split 'test'" in finding.what for finding in examine(tmp_path))


@pytest.mark.parametrize(
    ("values", "ids", "what"),
    [
        (np.zeros((0, 3), np.float32), None, "no vectors"),
        (np.ones((2, 3), np.int64), None, "expected float16, float32 or float64"),
        (np.ones((2, 3, 4), np.float32), None, "has shape (2, 3, 4)"),
        (np.ones((2, 3), np.float16), "a\n", "2 vectors, but 1 ids"),
        (np.ones((2, 3), np.float32), "a\na\n", "expected each id once"),
    ],
)
def test_vectors_that_cannot_be_used_are_findings(tmp_path, values, ids, what):
    np.save(tmp_path / "v.npy", values)
    if ids:
        (tmp_path / "v.ids").write_text(ids)
    assert any(what in finding.what for finding in examine(tmp_path / "v.npy") if finding.level == "error")


@given(st.lists(st.binary(max_size=20) | st.sampled_from([*LINES, b"q\ta\t1", b"q 0 a 1"]), max_size=6))
def test_where_the_doctor_finds_no_error_the_folder_opens(tmp_path_factory, lines):
    folder = tmp_path_factory.mktemp("fuzz")
    content = b"\n".join(lines)
    (folder / "qrels").mkdir()
    for name in ("corpus.jsonl", "queries.jsonl", "qrels/test.tsv"):
        (folder / name).write_bytes(content)
    errors = [
        f
        for f in examine(folder)
        if f.level == "error" and not f.what.startswith(("no documents", "no queries"))
    ]
    try:
        Dataset.open(folder)
    except DataError:
        assert errors
    else:
        assert not errors
