"""Real vectors in a Lance dataset: its own search gives our documents and scores, without a second look at vectors."""

import pytest

pytest.importorskip("lance", reason="needs limbeck[lance]; `make test-integrations` installs it")

import lance
import numpy as np

from limbeck.data import Ids
from limbeck.index.compressed import CodeIndex
from limbeck.index.document_store import FILE, DocumentStore
from limbeck.index.store import publish
from limbeck.jobs.exchange_lance import export_lance
from limbeck.jobs.make import bare_documents
from limbeck.quantisers.product import ProductQuantiser
from limbeck.retrieve import Searcher

K = 10


@pytest.fixture(scope="module")
def vectors(folder):
    return np.load(folder.parent / "documents.npy"), np.load(folder.parent / "queries.npy")


@pytest.mark.parametrize("rotate", [False, True], ids=["PQ", "OPQ"])
@pytest.mark.parametrize(
    "settings",
    [
        {"metric": "l2", "lists": 16},
        {"metric": "ip", "lists": 16, "by_residual": False},
        {"metric": "l2"},
        {"metric": "ip"},
    ],
    ids=str,
)
def test_the_top_10_of_real_queries_are_ours_with_their_scores(vectors, tmp_path, settings, rotate):
    documents, queries = vectors
    quantiser = ProductQuantiser(code_bytes=16, rotate=rotate, **settings).fit(documents, seed=0)
    index = CodeIndex(quantiser, quantiser.encode(documents))

    def write(into):
        index.save(into)
        DocumentStore.write(into / FILE, bare_documents(Ids.numbered(len(documents))))

    publish(tmp_path / "i", write, {"index": "codes", "encoder": None})
    export = export_lance(tmp_path / "i", tmp_path / "i.lance")
    hits = Searcher.open(tmp_path / "i").search_vectors(queries, K + 1)
    dataset = lance.dataset(export.dataset)
    turned = queries if export.turn is None else queries @ np.load(export.turn).T
    for query, rows, scores in zip(turned, hits.ids, hits.scores, strict=True):
        nearest = {"column": "vector", "q": query, "k": K, "nprobes": export.probes}
        found = dataset.to_table(columns=["id", "_distance"], nearest=nearest)
        distances = found["_distance"].to_numpy()
        theirs = 1 - distances if settings["metric"] == "ip" else -distances
        np.testing.assert_allclose(theirs, scores[:K], atol=1e-5)  # float32 sums of unit vectors
        if scores[K - 1] - scores[K] > 1e-5:  # else the tenth place is a tie
            assert {int(name) for name in found["id"].to_pylist()} == set(rows[:K].tolist())
