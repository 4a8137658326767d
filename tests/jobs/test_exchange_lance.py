"""A Lance dataset answers, by Lance's own search, what the artefact answers."""

import json

import numpy as np
import pytest

from limbeck.data import Document
from limbeck.errors import ConfigError, MissingExtra
from limbeck.index.compressed import CodeIndex
from limbeck.index.document_store import FILE, DocumentStore
from limbeck.index.store import publish
from limbeck.jobs import exchange_lance
from limbeck.jobs.exchange_lance import export_lance
from limbeck.quantisers.product import ProductQuantiser
from limbeck.retrieve import Searcher
from limbeck.testing import clustered
from limbeck.types import Codes

SIZE, WIDTH, K = 900, 16, 10
VECTORS, QUERIES = clustered(SIZE, WIDTH, seed=0), clustered(40, WIDTH, seed=1)
MATCHED = [
    {"metric": "l2", "lists": 12},
    {"metric": "ip", "lists": 12, "by_residual": False},
    {"metric": "l2"},
    {"metric": "ip"},
]


@pytest.fixture(scope="module")
def lance():
    return pytest.importorskip("lance", reason="needs limbeck[lance]; `make test-integrations` installs it")


def artefact(folder, *, learnt=False, query_map=None, **settings):
    """An index with documents; learnt = codewords that score moved far from those that assign, as training does."""
    quantiser = ProductQuantiser(code_bytes=8, **settings).fit(VECTORS, seed=0)
    codes = quantiser.encode(VECTORS)
    if learnt:
        rng = np.random.default_rng(0)
        moved = quantiser.score_codewords * rng.uniform(
            0.2, 3, size=(*quantiser.score_codewords.shape[:2], 1)
        )
        quantiser = quantiser.with_parts({"score.codewords": moved})
    return published(folder, CodeIndex(quantiser, codes, query_map=query_map))


def published(folder, index):
    def write(into):
        index.save(into)
        documents = (
            Document(f"d{row}", f"title {row}", f"text of {row}", {"third": row % 3})
            for row in range(len(index))
        )
        DocumentStore.write(into / FILE, documents)

    publish(folder, write, {"index": "codes", "encoder": None})
    return Searcher.open(folder)


def answers(lance, export, queries, *, probes):
    """Ids and scores, higher = better, by Lance's search alone."""
    dataset = lance.dataset(export.dataset)
    turn = np.eye(queries.shape[1], dtype=np.float32) if export.turn is None else np.load(export.turn)
    for query in queries:
        nearest = {"column": "vector", "q": turn @ query, "k": K, "nprobes": probes}
        found = dataset.to_table(columns=["id", "_distance"], nearest=nearest)
        distances = found["_distance"].to_numpy()
        yield found["id"].to_pylist(), 1 - distances if export.metric == "dot" else -distances


def assert_same_answers(lance, searcher, export, *, effort=None, probes=None):
    hits = searcher.search_vectors(QUERIES, K + 1, effort=effort)
    wanted = [[answer.id for answer in line] for line in searcher.answers_of(hits)]
    found = answers(lance, export, QUERIES, probes=probes or export.probes)
    for (ids, scores), ours, expected in zip(found, wanted, hits.scores, strict=True):
        np.testing.assert_allclose(scores, expected[:K], atol=1e-4)  # float32 tables, d = 16
        apart = expected[K - 1] - expected[K] > 1e-4  # else the last place is a tie
        assert not apart or set(ids) == set(ours[:K])


@pytest.mark.parametrize("rotate", [False, True])
@pytest.mark.parametrize("learnt", [False, True])
@pytest.mark.parametrize("settings", MATCHED, ids=str)
def test_lance_answers_as_the_artefact_does_at_every_number_of_lists(
    lance, tmp_path, settings, rotate, learnt
):
    searcher = artefact(tmp_path / "i", rotate=rotate, learnt=learnt, **settings)
    export = export_lance(tmp_path / "i", tmp_path / "i.lance")
    assert (export.turn is None) != rotate
    assert_same_answers(lance, searcher, export)
    if "lists" in settings:
        assert_same_answers(lance, searcher, export, effort=1.0, probes=12)
        assert_same_answers(lance, searcher, export, effort=2 / 12, probes=2)


def test_four_bits_and_a_query_map_are_kept(lance, tmp_path):
    query_map = np.random.default_rng(0).normal(size=(WIDTH, WIDTH)).astype(np.float32)
    searcher = artefact(tmp_path / "i", bits=4, metric="l2", lists=12, query_map=query_map, rotate=True)
    export = export_lance(tmp_path / "i", tmp_path / "i.lance")
    assert_same_answers(lance, searcher, export)


def test_more_documents_than_lance_reads_at_once_keep_their_lists(lance, tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    quantiser = ProductQuantiser(code_bytes=8, metric="l2", lists=12).fit(VECTORS, seed=0)
    codes = Codes(rng.integers(0, 256, (20_000, 8), np.uint8), rng.integers(0, 12, 20_000))
    searcher = published(tmp_path / "i", CodeIndex(quantiser, codes))
    export = export_lance(tmp_path / "i", tmp_path / "i.lance")
    assert_same_answers(lance, searcher, export, effort=0.25, probes=3)


def test_documents_come_with_their_texts_and_metadata(lance, tmp_path, monkeypatch):
    monkeypatch.setattr(exchange_lance, "ROWS", 128)
    searcher = artefact(tmp_path / "i")
    dataset = lance.dataset(export_lance(tmp_path / "i", tmp_path / "i.lance").dataset)
    rows = dataset.to_table(columns=["id", "title", "text", "metadata"]).to_pylist()
    assert [(row["id"], row["title"], row["text"], json.loads(row["metadata"])) for row in rows] == [
        (document.id, document.title, document.text, document.metadata)
        for document in searcher.documents.all()
    ]
    assert json.loads(dataset.schema.metadata[b"limbeck"]) == {"metric": "dot", "nprobes": 1}


def test_exporting_again_replaces_the_dataset_and_nothing_else(lance, tmp_path):
    searcher = artefact(tmp_path / "i")
    export_lance(tmp_path / "i", tmp_path / "i.lance")
    assert_same_answers(lance, searcher, export_lance(tmp_path / "i", tmp_path / "i.lance"))
    with pytest.raises(ConfigError, match="holds other files"):
        export_lance(tmp_path / "i", tmp_path / "i")
    assert len(Searcher.open(tmp_path / "i")) == SIZE


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"metric": "ip", "lists": 12}, r"no residuals for inner products[^$]*lists=None"),
        ({"metric": "l2", "lists": 12, "by_residual": False}, "takes residuals for L2"),
    ],
)
def test_what_lance_would_score_otherwise_is_refused_with_the_way_out(tmp_path, settings, reason):
    artefact(tmp_path / "i", **settings)
    with pytest.raises(ConfigError, match=reason):
        export_lance(tmp_path / "i", tmp_path / "i.lance")
    assert not (tmp_path / "i.lance").exists()


def test_learned_routing_leaves_only_when_asked(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "lance", None)
    searcher = artefact(tmp_path / "i", metric="l2", lists=12)
    moved = searcher.codes.quantiser.with_parts({"routing": searcher.codes.quantiser.base + 1})
    with pytest.raises(ConfigError, match="routing='base'"):
        exchange_lance._refuse_unmatched(moved, routing="keep")
    exchange_lance._refuse_unmatched(moved, routing="base")
    with pytest.raises(MissingExtra, match=r"limbeck\[lance\]"):
        export_lance(tmp_path / "i", tmp_path / "i.lance")
