"""Artefacts from material: what is refused before any work, and what a manifest says afterwards."""

import numpy as np
import pytest

from limbeck.data import Corpus, Dataset, Document, Ids, Qrels, Queries, Vectors
from limbeck.data.vector_data import VectorData
from limbeck.errors import ConfigError, DataError, StorageError
from limbeck.jobs.evaluate import evaluate
from limbeck.jobs.make import distil, exported, make, refuse_other_folder, refuse_unwritable
from limbeck.jobs.material import Material, gather, metric_of, refuse_unless_unit
from limbeck.recipes.compress import OPQ, PQ
from limbeck.recipes.distill_vq import DistillVQ
from limbeck.retrieve import Searcher
from limbeck.testing.encoders import HashEncoder

WORDS = [f"{first}{last}" for first in ("al", "be", "ga", "de") for last in ("pha", "ta", "mma", "lta", "na")]


@pytest.fixture(scope="module")
def dataset():
    """400 documents of four words each, and for each of the first 60 a query with two of its words."""
    drawn = np.random.default_rng(3)
    texts = [" ".join(drawn.choice(WORDS, 4, replace=False)) + f" {row}" for row in range(400)]
    corpus = Corpus.from_documents(Document(f"d{row}", "", text) for row, text in enumerate(texts))
    queries = Queries.from_pairs((f"q{row}", " ".join(texts[row].split()[-2:])) for row in range(60))
    return Dataset(
        "words", corpus, queries, {"test": Qrels({f"q{row}": {f"d{row}": 1} for row in range(60)})}
    )


@pytest.fixture(scope="module")
def encoder():
    return HashEncoder(32)


@pytest.fixture(scope="module")
def material(dataset, encoder):
    return Material(
        name=dataset.name,
        vectors=VectorData(
            documents=encoder.encode_document(dataset.corpus.texts()),
            queries=encoder.encode_query(dataset.queries.texts),
        ),
        corpus=dataset.corpus,
        ids=dataset.corpus.ids,
        encoder=None,
        fingerprint=dataset.corpus.fingerprint,
    )


@pytest.fixture(scope="module")
def artefact(material, tmp_path_factory):
    out = tmp_path_factory.mktemp("made") / "index"
    make(material, DistillVQ(code_bytes=16, epochs=1, least_steps=0), out, progress=False)
    return out


@pytest.fixture
def vectors():
    values = np.random.default_rng(0).standard_normal((300, 8)).astype(np.float32)
    return Vectors(Ids.numbered(300), values)


def test_the_manifest_says_how_the_index_was_made(artefact, dataset):
    content = Searcher.open(artefact).manifest.content
    assert content["recipe"]["name"] == "DistillVQ"
    assert content["recipe"]["constants"]["code_bytes"] == 16
    assert content["data"]["fingerprint"] == dataset.corpus.fingerprint
    assert len(content["training"]["epochs"]) == 1
    assert content["build_seconds"] > 0


def test_a_searcher_gives_the_documents_themselves(artefact, encoder, dataset):
    searcher = Searcher.open(artefact, encoder=encoder)
    (answers,) = searcher.answers([dataset.corpus[7].text], k=3)
    assert answers[0].id == "d7"
    assert answers[0].text == dataset.corpus[7].text
    assert [answer.rank for answer in answers] == [1, 2, 3]


def test_evaluate_scores_an_opened_searcher(artefact, encoder, dataset, tmp_path):
    report = evaluate(Searcher.open(artefact, encoder=encoder), dataset, run_to=tmp_path / "x.trec")
    (row,) = report.rows
    assert report.queries == 60
    assert row.measures["RR@10"].mean > 0.5
    assert (tmp_path / "x.trec").is_file()


def test_evaluate_refuses_an_index_of_another_corpus(artefact, encoder, dataset):
    fewer = Corpus.from_documents(dataset.corpus[row] for row in range(399))
    other = Dataset("fewer", fewer, dataset.queries, dataset.qrels)
    with pytest.raises(DataError, match="399 documents"):
        evaluate(Searcher.open(artefact, encoder=encoder), other)


def test_code_bytes_override_the_recipes(vectors, tmp_path):
    searcher = distil(vectors, out=tmp_path / "i", recipe=PQ(), code_bytes=2, similarity="l2", progress=False)
    assert searcher.codes.quantiser.code_bytes == 2
    assert searcher.codes.quantiser.metric == "l2"


def test_distil_learns_from_documents_where_nobody_asked_anything(vectors, tmp_path):
    searcher = distil(vectors, out=tmp_path / "i", code_bytes=2, similarity="dot", progress=False)
    hits = searcher.search_vectors(vectors.values[:20], 10)
    assert (hits.ids == np.arange(20)[:, None]).any(axis=1).mean() > 0.5


def test_a_share_of_the_queries_is_held_back_to_choose_the_epoch(vectors):
    queries = Vectors(Ids.numbered(500), np.resize(vectors.values, (500, 8)))
    found = gather(vectors, queries, teacher=None, similarity="dot", progress=False)
    assert found.vectors.dev_queries is not None
    assert (len(found.vectors.queries), len(found.vectors.dev_queries)) == (475, 25)


@pytest.mark.parametrize(
    ("recipe", "says"),
    [
        (OPQ(code_bytes=3), "sub-vectors"),
        (PQ(code_bytes=2, lists=500), "300 documents"),
        (PQ(code_bytes=0), "at least 1"),
        (DistillVQ(code_bytes=2, made_queries=1.5), "share"),
    ],
)
def test_constants_that_cannot_work_are_refused_and_nothing_is_left(vectors, tmp_path, recipe, says):
    with pytest.raises(ConfigError, match=says):
        distil(vectors, out=tmp_path / "i", recipe=recipe, similarity="dot", progress=False)
    assert not (tmp_path / "i" / "CURRENT").exists()


def test_a_file_in_the_way_is_a_storage_error(tmp_path):
    (tmp_path / "f").touch()
    for out in (tmp_path / "f", tmp_path / "f" / "deeper" / "index"):
        with pytest.raises(StorageError, match="is a file"):
            refuse_unwritable(out)
    refuse_unwritable(tmp_path / "new" / "index")
    assert not (tmp_path / "new").exists()


def test_a_folder_that_may_not_be_written_is_a_storage_error(tmp_path, monkeypatch):
    monkeypatch.setattr("os.access", lambda path, mode: False)  # the permission bits do not bind root
    with pytest.raises(StorageError, match="not writable"):
        refuse_unwritable(tmp_path / "index")


def test_only_empty_folders_and_indexes_are_written_to(tmp_path, artefact):
    refuse_other_folder(tmp_path)
    refuse_other_folder(artefact)
    (tmp_path / "mine.txt").touch()
    with pytest.raises(ConfigError, match=r"mine\.txt"):
        refuse_other_folder(tmp_path)


@pytest.mark.parametrize(
    ("similarity", "normalise", "metric"),
    [("cosine", True, "ip"), ("dot", False, "ip"), ("dot", True, "ip"), ("euclidean", False, "l2")],
)
def test_the_metric_is_the_one_under_which_the_encoder_ranks(similarity, normalise, metric):
    assert metric_of(similarity, normalise=normalise) == metric


@pytest.mark.parametrize(("similarity", "normalise"), [("cosine", False), ("manhattan", True)])
def test_similarities_that_no_index_ranks_by_are_refused(similarity, normalise):
    with pytest.raises(ConfigError, match=similarity):
        metric_of(similarity, normalise=normalise)


def test_vectors_of_other_lengths_are_named_by_row():
    values = np.eye(4, dtype=np.float32)
    refuse_unless_unit("corpus", values)
    values[2] *= 2
    with pytest.raises(DataError, match="row 2 has length 2"):
        refuse_unless_unit("corpus", values)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"teacher": "x", "similarity": "dot"}, "teacher"),
        ({"similarity": None}, "compared"),
        ({"similarity": "dot", "queries": ["text"]}, "vectors too"),
    ],
)
def test_what_does_not_go_with_vectors_is_refused(vectors, given, says):
    words = {"queries": None, "teacher": None, **given}
    with pytest.raises(ConfigError, match=says):
        gather(vectors, words.pop("queries"), progress=False, **words)


def test_similarity_does_not_go_with_texts(dataset):
    with pytest.raises(ConfigError, match="ready vectors"):
        gather(dataset, None, teacher=None, similarity="dot", progress=False)


def test_an_encoder_that_another_process_exported_meanwhile_stays_as_it_is(encoder, tmp_path, monkeypatch):
    """That process may be copying it."""
    monkeypatch.setenv("LIMBECK_CACHE", str(tmp_path))
    calls = []

    def export(_encoder, folder, *, sample_texts):
        calls.append(folder)
        is_other = len(calls) == 2
        if not is_other:  # the other process exports from start to end
            exported(encoder, sample_texts)
        folder.mkdir(parents=True)
        (folder / "of").write_text("the other" if is_other else "this one")

    monkeypatch.setattr("limbeck.encoders.export.export_onnx", export)
    folder = exported(encoder, ("a text",))
    assert (folder / "of").read_text() == "the other"
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
