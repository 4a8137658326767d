import gzip
import hashlib
import json
import logging
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limbeck.data import Corpus, Document
from limbeck.errors import DataError

GOOD = (
    b'{"_id": "a", "title": "First", "text": "one\\u2028line", "year": 1999}\n'
    b'{"_id": "b", "text": "two", "metadata": {"source": "x"}, "year": 2000}\n'
    b'{"_id": "c\\td/../e", "title": null, "text": ""}\n'
)
DOCUMENTS = [
    Document("a", "First", "one\u2028line", {"year": 1999}),
    Document("b", "", "two", {"source": "x", "year": 2000}),
    Document("c\td/../e", "", ""),
]


def written(tmp_path, content, name="corpus.jsonl"):
    path = tmp_path / name
    path.write_bytes(content)
    return path


def test_documents_come_back_by_row_in_any_order(tmp_path):
    corpus = Corpus.open(written(tmp_path, GOOD))
    assert list(corpus) == DOCUMENTS
    assert [corpus[row] for row in (2, 0, 1)] == [DOCUMENTS[2], DOCUMENTS[0], DOCUMENTS[1]]
    assert list(corpus.ids) == ["a", "b", "c\td/../e"]
    assert corpus.texts() == ["First one\u2028line", "two", ""]
    assert corpus.texts(1, 9) == ["two", ""]
    assert corpus.texts_of([2, 0]) == ["", "First one\u2028line"]
    assert repr(corpus).endswith("3 documents)")


FORMS = {
    "byte order mark": lambda raw: b"\xef\xbb\xbf" + raw,
    "CRLF": lambda raw: raw.replace(b"\n", b"\r\n"),
    "no final newline": lambda raw: raw.rstrip(b"\n"),
    "blank lines": lambda raw: b"\n" + raw.replace(b"\n", b"\n\n  \n"),
    "gzip": gzip.compress,
    "gzip in members": lambda raw: gzip.compress(raw[:50]) + gzip.compress(raw[50:]),
    "everything": lambda raw: gzip.compress(
        b"\xef\xbb\xbf\r\n" + raw.rstrip(b"\n").replace(b"\n", b"\r\n\r\n")
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_form_of_a_file_never_changes_what_it_holds(tmp_path, form):
    clean = Corpus.open(written(tmp_path, GOOD))
    other = Corpus.open(written(tmp_path, FORMS[form](GOOD), "other.jsonl"))
    assert list(other) == list(clean)
    assert other.fingerprint == clean.fingerprint
    assert [other[row] for row in (1, 2, 0)] == [clean[row] for row in (1, 2, 0)]


def test_a_corpus_made_of_documents_equals_one_that_was_read(tmp_path):
    assert list(Corpus.from_documents(iter(DOCUMENTS))) == DOCUMENTS
    assert Corpus.from_documents(DOCUMENTS).fingerprint == Corpus.open(written(tmp_path, GOOD)).fingerprint


def test_the_fingerprint_is_sha256_over_ids_and_contents():
    digest = hashlib.sha256()
    for part in ("a", "T x", "b", "y"):
        digest.update(len(part).to_bytes(8, "little") + part.encode())
    made = Corpus.from_documents([Document("a", "T", "x", {"ignored": 1}), Document("b", "", "y")])
    assert made.fingerprint == digest.hexdigest()


BAD_RECORDS = {
    "no id": (b'{"text": "x"}', r"expected a field `_id`"),
    "another name": (b'{"id": "1", "text": "x"}', r"Hint: rename the field `id` to `_id`"),
    "number as id": (b'{"_id": 7, "text": "x"}', r"expected `_id` to be a string, found a number: 7"),
    "true as id": (b'{"_id": true, "text": "x"}', r"found true or false"),
    "empty id": (b'{"_id": " ", "text": "x"}', r"expected `_id` to name the record"),
    "list as title": (
        b'{"_id": "x", "title": [1], "text": "x"}',
        r"expected `title` to be a string, found a list",
    ),
    "no text": (b'{"_id": "x"}', r"expected a string in the field `text`, found none"),
    "null as text": (b'{"_id": "x", "text": null}', r"found null"),
    "a list": (b'["x"]', r"expected a record .* found a list"),
    "not UTF-8": (b'{"_id": "x", "text": "\xe9"}', r"found byte 0xe9 at byte 22"),
}


@pytest.mark.parametrize("name", BAD_RECORDS)
def test_bad_records_are_refused_with_file_and_line(tmp_path, name):
    raw, reason = BAD_RECORDS[name]
    path = written(tmp_path, GOOD + b"\n" + raw + b"\n")
    with pytest.raises(DataError, match=rf"corpus.jsonl:5: (.|\n)*{reason}"):
        Corpus.open(path)


def test_skipped_lines_are_written_down_with_their_reasons(tmp_path, caplog):
    bad = b"".join(raw + b"\n" for raw, _ in BAD_RECORDS.values())
    path = written(tmp_path, bad + GOOD)
    corpus = Corpus.open(path, on_error="skip", rejects=tmp_path / "rejects")
    assert list(corpus) == DOCUMENTS
    written_down = (tmp_path / "rejects" / "corpus.jsonl.rejects.jsonl").read_text().splitlines()
    rejects = [json.loads(line) for line in written_down]
    assert [reject["line"] for reject in rejects] == list(range(1, len(BAD_RECORDS) + 1))
    assert "expected a field `_id`" in rejects[0]["reason"]
    assert "\\xe9" in rejects[-1]["bytes"]
    assert f"left out {len(BAD_RECORDS)} bad lines" in caplog.text


def test_skipping_without_a_folder_only_counts(tmp_path, caplog):
    assert len(Corpus.open(written(tmp_path, b"x\n" + GOOD), on_error="skip")) == 3
    assert "left out 1 bad lines" in caplog.text
    assert [file.name for file in tmp_path.iterdir()] == ["corpus.jsonl"]


def test_a_damaged_gzip_file_cannot_be_skipped_over(tmp_path):
    path = written(tmp_path, gzip.compress(GOOD)[:-9], "corpus.jsonl.gz")
    with pytest.raises(DataError, match="expected a complete gzip file"):
        Corpus.open(path, on_error="skip")


TWICE = b"".join(
    b'{"_id": "%s", "text": "%d"}\n' % (name, n) for n, name in enumerate([b"a", b"b", b"a", b"a", b"c"])
)


def test_an_id_given_twice_is_refused_with_both_lines(tmp_path):
    with pytest.raises(
        DataError, match=r"corpus.jsonl:3: expected each `_id` once, found 'a' again; .* line 1"
    ):
        Corpus.open(written(tmp_path, TWICE))


@pytest.mark.parametrize(("choice", "texts"), [("first", ["0", "1", "4"]), ("last", ["1", "3", "4"])])
def test_of_records_with_one_id_the_first_or_the_last_can_be_kept(tmp_path, choice, texts):
    assert Corpus.open(written(tmp_path, TWICE), duplicates=choice).texts() == texts


def test_an_empty_corpus_is_empty(tmp_path):
    for content in (b"", b"\n \n", gzip.compress(b"")):
        corpus = Corpus.open(written(tmp_path, content))
        assert len(corpus) == 0
        assert list(corpus) == []
        assert corpus.fingerprint == hashlib.sha256().hexdigest()


@pytest.mark.parametrize("row", [-1, 3])
def test_rows_outside_are_refused(tmp_path, row):
    with pytest.raises(IndexError, match=f"row {row} of 3 documents"):
        Corpus.open(written(tmp_path, GOOD))[row]


def test_empty_texts_are_kept_counted_and_logged(tmp_path, caplog):
    Corpus.open(written(tmp_path, GOOD))
    assert "1 of 3 records have no text" in caplog.text


def test_tsv_has_two_or_three_columns_and_no_quoting(tmp_path):
    two = Corpus.open(written(tmp_path, b"1\t\"quoted\n2\tit's\n", "collection.tsv"))
    assert [(d.id, d.title, d.text) for d in two] == [("1", "", '"quoted'), ("2", "", "it's")]
    three = Corpus.open(written(tmp_path, gzip.compress(b"id\ttitle\ttext\n1\tT\tx\n"), "c.tsv.gz"))
    assert list(three) == [Document("1", "T", "x")]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"1\tx\n2\n", "c.tsv:2: expected 2 columns"),
        (b"1\n", "c.tsv:1: expected 2 columns"),
        (b"1\tx\n \ty\n", ":2: expected `_id`"),
    ],
)
def test_bad_tsv_is_refused(tmp_path, content, reason):
    with pytest.raises(DataError, match=reason):
        Corpus.open(written(tmp_path, content, "c.tsv"))


def test_an_unknown_kind_of_file_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"expected a name that ends in .jsonl"):
        Corpus.open(written(tmp_path, b"x\n", "corpus.csv"))


@pytest.mark.parametrize("metadata", [{"x": float("nan")}, {"x": object()}, {"x": "\ud800"}])
def test_documents_that_json_cannot_hold_are_refused(metadata):
    with pytest.raises(DataError, match="document 'a': expected what JSON can hold"):
        Corpus.from_documents([Document("a", "", "x", metadata)])


RECORDS = st.fixed_dictionaries(
    {"_id": st.text(max_size=3) | st.integers(0, 3), "text": st.text(max_size=20)},
    optional={"title": st.text(max_size=5) | st.none(), "x": st.lists(st.integers(), max_size=2)},
)
LINES = st.lists(st.binary(max_size=30) | RECORDS.map(lambda r: json.dumps(r).encode()), max_size=8)


@given(LINES, st.sampled_from([".jsonl", ".tsv"]))
def test_random_lines_are_documents_or_data_errors(tmp_path_factory, lines, suffix):
    path = tmp_path_factory.mktemp("fuzz") / f"corpus{suffix}"
    path.write_bytes(b"\n".join(lines))
    with suppress(DataError):
        corpus = Corpus.open(path)
        assert [corpus[row].id for row in range(len(corpus))] == list(corpus.ids)


@given(LINES)
def test_skipping_never_stops_at_a_line(tmp_path_factory, lines):
    path = tmp_path_factory.mktemp("fuzz") / "corpus.jsonl"
    path.write_bytes(b"\n".join(line for line in lines if line[:2] != b"\x1f\x8b"))
    logging.disable()
    try:
        corpus = Corpus.open(path, on_error="skip", duplicates="last")
        assert len(set(corpus.ids)) == len(corpus) == len(list(corpus))
    finally:
        logging.disable(logging.NOTSET)


def test_memory_stays_bounded_by_the_ids(tmp_path):
    import tracemalloc

    path = tmp_path / "corpus.jsonl"
    with path.open("w") as stream:
        for row in range(3_000):
            stream.write(json.dumps({"_id": str(row), "text": "word " * 2_000}) + "\n")
    tracemalloc.start()
    corpus = Corpus.open(path)
    assert sum(len(document.text) for document in corpus) == 3_000 * 10_000
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3_000_000  # the file holds 30 MB
