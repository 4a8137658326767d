import gzip
import json
import logging
from pathlib import Path

import pytest

from limbeck.data import Corpus, Dataset, examine
from limbeck.data.dataset import records_file
from limbeck.errors import DataError, DatasetError

SHARED = Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "corpus.jsonl").write_text('{"_id": "d1", "text": "x"}\n{"_id": "d2", "text": "y"}\n')
    (tmp_path / "queries.jsonl").write_text(
        "".join(json.dumps({"_id": f"q{n}", "text": f"what {n}"}) + "\n" for n in (3, 1, 2, 4))
    )
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels" / "test.tsv").write_text("q1\td1\t1\nq3\td2\t1\nlost\td2\t1\n")
    (tmp_path / "qrels" / "dev.tsv.gz").write_bytes(gzip.compress(b"query-id\tcorpus-id\tscore\nq2\td1\t1\n"))
    (tmp_path / "qrels" / "notes.txt").write_text("not a split")
    return tmp_path


def test_a_folder_opens_with_all_its_splits(folder, caplog):
    caplog.set_level(logging.INFO)
    data = Dataset.open(folder)
    assert data.splits == ("dev", "test")
    queries, qrels = data.split("test")
    assert list(queries.ids) == ["q3", "q1"]  # the order of the queries file
    assert qrels.query_ids == ["q3", "q1"]
    assert "2 queries, 2 others have no label in this split" in caplog.text
    assert "1 labelled queries have no text, such as ['lost']" in caplog.text
    assert repr(data).endswith("2 documents, 4 queries; dev: 1, test: 3)")


def test_a_missing_split_is_named_with_those_there_are(folder):
    with pytest.raises(DatasetError, match=r"expected one of its splits \(dev, test\), found 'train'"):
        Dataset.open(folder).split("train")


def test_missing_and_ambiguous_files_are_named(folder):
    (folder / "corpus.jsonl.gz").write_bytes(gzip.compress(b""))
    with pytest.raises(DatasetError, match=r"found corpus.jsonl, corpus.jsonl.gz"):
        Dataset.open(folder)
    with pytest.raises(DatasetError, match=r"found none(.|\n)*the layout is corpus.jsonl"):
        Dataset.open(folder / "qrels")
    (folder / "corpus.jsonl.gz").unlink()
    (folder / "qrels" / "dev.tsv").write_text("q2\td1\t1\n")
    with pytest.raises(DatasetError, match="expected one file for split 'dev'"):
        Dataset.open(folder)


def test_the_fingerprint_is_of_the_content_not_of_the_files(folder):
    before = Dataset.open(folder).fingerprint
    (folder / "corpus.jsonl.gz").write_bytes(gzip.compress((folder / "corpus.jsonl").read_bytes()))
    (folder / "corpus.jsonl").unlink()
    assert Dataset.open(folder).fingerprint == before
    (folder / "qrels" / "test.tsv").write_text("q1\td1\t2\nq3\td2\t1\nlost\td2\t1\n")
    assert Dataset.open(folder).fingerprint != before


def test_damage_anywhere_names_its_file(folder):
    (folder / "qrels" / "test.tsv").write_text("q1\td1\tmany\nq1\td1\tmany\n")
    with pytest.raises(DataError, match=r"qrels/test.tsv:"):
        Dataset.open(folder)


def shared(name):
    if not (SHARED / name).is_dir():
        pytest.skip(f"needs the collection {name} in ../shared/data")
    return SHARED / name


@pytest.mark.parametrize(
    ("name", "documents", "split", "queries", "labels"),
    [
        ("tldr", 6_825, "test", 3_898, 3_898),
        ("scifact", 5_183, "test", 300, 339),
        ("medquad", 15_809, "dev", 1_315, 1_503),
    ],
)
def test_real_collections_open_with_the_counts_they_should_have(name, documents, split, queries, labels):
    data = Dataset.open(shared(name))
    chosen, qrels = data.split(split)
    assert (len(data.corpus), len(chosen), len(qrels)) == (documents, queries, labels)
    packed = qrels.rows(chosen.ids, data.corpus.ids)
    assert len(packed.documents) == labels
    naive = {data.corpus.ids[int(row)] for row in packed.of(0)[0]}
    assert naive == set(qrels.as_dict()[chosen.ids[0]])
    assert data.corpus[documents - 1].content == data.corpus.texts_of([documents - 1])[0]


def test_a_real_corpus_equals_what_json_alone_reads():
    path = records_file(shared("scifact"), "corpus")
    with gzip.open(path, "rt", encoding="utf-8", newline="\n") as stream:
        naive = [json.loads(line) for line in stream]
    corpus = Corpus.open(path)
    assert list(corpus.ids) == [record["_id"] for record in naive]
    assert corpus.texts() == [f"{record['title']} {record['text']}".strip() for record in naive]


@pytest.mark.parametrize("name", ["tldr", "scifact", "medquad"])
def test_the_doctor_finds_no_error_in_real_collections(name):
    assert [finding for finding in examine(shared(name)) if finding.level == "error"] == []
