"""BM25 added to an artefact: what changes, what stays, what is refused, and which mode answers how."""

import hashlib
import json
import sys

import numpy as np
import pytest

import limbeck
from limbeck.data import Corpus, Dataset, Document, Ids, Qrels, Queries
from limbeck.data.vector_data import VectorData
from limbeck.errors import ConfigError, CorruptArtefact, DataError, MissingExtra, StorageError
from limbeck.fusion import GRID, Fusion, fit_weight, reciprocal_rank
from limbeck.index.lexical import LexicalIndex
from limbeck.index.store import open_current, verify
from limbeck.jobs import hybrid as job
from limbeck.jobs.evaluate import evaluate
from limbeck.jobs.make import make
from limbeck.jobs.material import Material
from limbeck.recipes.compress import PQ
from limbeck.retrieve import Searcher
from limbeck.testing.encoders import HashEncoder

WORDS = [f"{first}{last}" for first in ("al", "be", "ga", "de") for last in ("pha", "ta", "mma", "lta", "na")]
ENCODER = HashEncoder(32)


@pytest.fixture(scope="module")
def dataset():
    """400 documents of four words and a number of their own; 60 queries of two of the words, some with the number."""
    drawn = np.random.default_rng(3)
    texts = [" ".join(drawn.choice(WORDS, 4, replace=False)) + f" number{row}" for row in range(400)]
    corpus = Corpus.from_documents(Document(f"d{row}", "", text) for row, text in enumerate(texts))
    asked = [" ".join(texts[row].split()[1 : 5 if row % 3 else 4]) for row in range(60)]
    queries = Queries.from_pairs((f"q{row}", text) for row, text in enumerate(asked))
    qrels = {"dev": Qrels({f"q{row}": {f"d{row}": 1} for row in range(60)})}
    return Dataset("words", corpus, queries, qrels)


def made(dataset, out):
    material = Material(
        name=dataset.name,
        vectors=VectorData(
            documents=ENCODER.encode_document(dataset.corpus.texts()),
            queries=ENCODER.encode_query(dataset.queries.texts),
        ),
        corpus=dataset.corpus,
        ids=dataset.corpus.ids,
        encoder=None,
        fingerprint=dataset.corpus.fingerprint,
    )
    make(material, PQ(code_bytes=4), out, progress=False)
    return out


@pytest.fixture
def artefact(dataset, tmp_path):
    return made(dataset, tmp_path / "index")


@pytest.fixture
def with_encoder(monkeypatch):
    """The artefact of these tests holds no ONNX encoder, so that it is opened with the one that made it."""
    plain = Searcher.open

    def opened(folder, **options):
        return plain(folder, **{"encoder": ENCODER, **options})

    monkeypatch.setattr(job.Searcher, "open", opened)


def hashes(folder):
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "manifest.json"
    }


def test_all_other_files_are_those_of_the_generation_before(artefact):
    before, _ = open_current(artefact)
    old = hashes(before)
    limbeck.hybrid(artefact, progress=False)
    generation, manifest = open_current(artefact)
    assert generation != before
    new = hashes(generation)
    assert {name: digest for name, digest in new.items() if not name.startswith("lexical/")} == old
    assert {name for name in new if name.startswith("lexical/")} == {
        f"lexical/{name}"
        for name in (
            "bm25.json",
            "fusion.json",
            "terms.utf8",
            "ends.int64",
            "starts.int64",
            "rows.int32",
            "scores.float32",
        )
    }
    assert (generation / "documents.sqlite").stat().st_nlink == 2  # not a copy
    assert manifest.content["lexical"]["bytes"] == Searcher.open(artefact).lexical.nbytes
    assert manifest.content["recipe"]["name"] == "PQ"
    assert verify(artefact) == []


def test_files_are_copied_where_links_do_not_work(artefact, monkeypatch):
    def refused(*_):
        raise OSError("no links here")

    monkeypatch.setattr("os.link", refused)
    limbeck.hybrid(artefact, progress=False)
    generation, _ = open_current(artefact)
    assert (generation / "documents.sqlite").stat().st_nlink == 1
    assert verify(artefact) == []


def test_a_second_time_replaces_the_first(artefact):
    limbeck.hybrid(artefact, analyser="words", progress=False)
    searcher = limbeck.hybrid(artefact, analyser="cjk", depth=7, progress=False)
    assert searcher.lexical.described.analyser == "cjk"
    assert searcher.lexical_part.fusion == Fusion("ranks", depth=7)
    assert verify(artefact) == []


def test_without_labels_both_sides_count_by_rank(artefact, dataset):
    limbeck.hybrid(artefact, progress=False)
    searcher = Searcher.open(artefact, encoder=ENCODER)
    texts = dataset.queries.texts
    dense, lexical = searcher.search(texts, 100), searcher.search(texts, 100, mode="lexical")
    fused = searcher.search(texts, 10, mode="hybrid")
    assert np.array_equal(fused.ids, reciprocal_rank([dense, lexical], 10).ids)
    assert np.array_equal(fused.ids, searcher.fused(dense, lexical, 10).ids)


def test_modes_answer_by_vectors_by_words_and_by_both(artefact, dataset):
    before = Searcher.open(artefact, encoder=ENCODER).search(dataset.queries.texts, 10)
    limbeck.hybrid(artefact, progress=False)
    searcher = Searcher.open(artefact, encoder=ENCODER)
    assert np.array_equal(searcher.search(dataset.queries.texts, 10).ids, before.ids)
    lexical = LexicalIndex.build(dataset.corpus.texts(), analyser="words", progress=False)
    found = searcher.search(dataset.queries.texts, 10, mode="lexical")
    assert np.array_equal(found.ids, lexical.search(dataset.queries.texts, 10).ids)
    assert found.ids[1, 0] == 1  # the only document with this number
    answers = searcher.answers(dataset.queries.texts[:2], 3, mode="hybrid")
    assert answers == searcher.answers_of(searcher.search(dataset.queries.texts[:2], 3, mode="hybrid"))


def test_rows_that_are_not_allowed_are_found_by_no_mode(artefact, dataset):
    limbeck.hybrid(artefact, progress=False)
    searcher = Searcher.open(artefact, encoder=ENCODER)
    allowed = np.zeros(400, dtype=bool)
    allowed[[3, 77]] = True
    for mode in ("dense", "lexical", "hybrid"):
        ids = searcher.search(dataset.queries.texts[:5], 10, mode=mode, allowed=allowed).ids
        assert set(ids.ravel().tolist()) <= {3, 77, -1}


def test_words_answer_where_there_is_no_encoder(artefact):
    limbeck.hybrid(artefact, progress=False)
    searcher = Searcher.open(artefact)
    assert searcher.search(["number5"], 1, mode="lexical").ids.tolist() == [[5]]
    with pytest.raises(ConfigError, match="no query encoder"):
        searcher.search(["number5"], 1, mode="hybrid")


def test_words_can_be_judged_where_there_is_no_encoder(artefact, dataset):
    limbeck.hybrid(artefact, progress=False)
    (row,) = evaluate(artefact, dataset, split="dev", mode="lexical", measures=("RR@10",)).rows
    assert row.measures["RR@10"].mean > 0.5  # two queries in three hold the number of their document
    with pytest.raises(ConfigError, match="query encoder"):
        evaluate(artefact, dataset, split="dev", mode="hybrid")


def test_more_answers_than_the_depth_can_be_had(artefact, dataset):
    limbeck.hybrid(artefact, depth=3, progress=False)
    found = Searcher.open(artefact, encoder=ENCODER).search(dataset.queries.texts[:2], 400, mode="hybrid")
    assert (np.sort(found.ids, axis=1) == np.arange(400)).all()


def test_the_weight_is_fitted_on_the_split(artefact, dataset, with_encoder):
    searcher = limbeck.hybrid(artefact, dataset, progress=False)
    part = searcher.lexical_part
    labels = dataset.split("dev")[1].rows(dataset.queries.ids, dataset.corpus.ids)
    dense = searcher.search(dataset.queries.texts, 100)
    expected = fit_weight(dense, part.index.search(dataset.queries.texts, 100), labels)
    assert (part.fusion.method, part.fusion.weight) == ("scores", expected.weight)
    assert part.fusion.weight in GRID
    figures = part.fitted_on["nDCG@10"]
    assert figures["hybrid"] == expected.figure >= max(figures["dense"], figures["lexical"])
    assert (part.fitted_on["data"], part.fitted_on["split"], part.fitted_on["queries"]) == (
        "words",
        "dev",
        60,
    )


def test_labels_of_other_documents_or_of_no_split_are_refused_before_any_work(
    artefact, dataset, with_encoder
):
    fewer = Corpus.from_documents(dataset.corpus[row] for row in range(399))
    with pytest.raises(DataError, match="399 documents"):
        limbeck.hybrid(artefact, Dataset("fewer", fewer, dataset.queries, dataset.qrels), progress=False)
    with pytest.raises(DataError, match="dev"):
        limbeck.hybrid(artefact, dataset, split="train", progress=False)
    assert Searcher.open(artefact).lexical is None


def test_a_weight_needs_measures_which_is_said_before_any_work(artefact, dataset, with_encoder, monkeypatch):
    monkeypatch.setitem(sys.modules, "ir_measures", None)
    monkeypatch.delattr(LexicalIndex, "build")
    with pytest.raises(MissingExtra, match=r"limbeck\[evaluate\]"):
        limbeck.hybrid(artefact, dataset, progress=False)
    assert Searcher.open(artefact).lexical is None


def test_a_weight_needs_a_query_encoder(artefact, dataset):
    with pytest.raises(ConfigError, match="no query encoder"):
        limbeck.hybrid(artefact, dataset, progress=False)


def test_documents_without_text_are_refused_and_nothing_is_published(tmp_path):
    ids = Ids.numbered(300)
    vectors = np.random.default_rng(0).standard_normal((300, 8)).astype(np.float32)
    material = Material(
        name="v",
        vectors=VectorData(documents=vectors, queries=vectors[:0]),
        corpus=None,
        ids=ids,
        encoder=None,
    )
    make(material, PQ(code_bytes=2), tmp_path / "i", progress=False)
    before, _ = open_current(tmp_path / "i")
    with pytest.raises(DataError, match="made from vectors"):
        limbeck.hybrid(tmp_path / "i", progress=False)
    assert open_current(tmp_path / "i")[0] == before


def test_a_generation_that_was_replaced_meanwhile_is_not_built_upon(artefact, dataset, monkeypatch):
    plain = LexicalIndex.build.__func__

    def slow(cls, texts, **options):
        built = plain(cls, texts, **options)
        made(dataset, artefact)
        return built

    monkeypatch.setattr(LexicalIndex, "build", classmethod(slow))
    with pytest.raises(StorageError, match="published meanwhile"):
        limbeck.hybrid(artefact, progress=False)
    assert Searcher.open(artefact).lexical is None


def test_modes_that_need_bm25_name_the_command(artefact):
    searcher = Searcher.open(artefact, encoder=ENCODER)
    assert searcher.lexical is None
    for mode in ("lexical", "hybrid"):
        with pytest.raises(ConfigError, match="limbeck hybrid INDEX"):
            searcher.search(["a"], 3, mode=mode)
    with pytest.raises(ConfigError, match="'sparse'"):
        searcher.search(["a"], 3, mode="sparse")


@pytest.mark.parametrize(
    "change", [{"method": "sum"}, {"weight": 7}, {"depth": None}, {"fitted_on": 3}, {"x": 1}]
)
def test_fusions_that_no_build_writes_are_refused(artefact, change):
    limbeck.hybrid(artefact, progress=False)
    generation, _ = open_current(artefact)
    path = generation / "lexical" / "fusion.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(CorruptArtefact, match=r"fusion\.json"):
        job.LexicalPart.open(generation, documents=400)
