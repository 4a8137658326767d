"""The folder that Pyserini opens: read here as its `FaissSearcher` reads it, which needs Java to run."""

import faiss
import numpy as np
import pytest

from limbeck.data import Ids
from limbeck.errors import ConfigError, DataError
from limbeck.index.compressed import CodeIndex
from limbeck.index.document_store import FILE, DocumentStore
from limbeck.index.store import publish
from limbeck.jobs.exchange import import_faiss
from limbeck.jobs.exchange_pyserini import export_pyserini
from limbeck.jobs.make import bare_documents
from limbeck.quantisers.product import ProductQuantiser
from limbeck.retrieve import Searcher
from limbeck.testing import clustered

VECTORS, QUERIES = clustered(900, 16, seed=0), clustered(40, 16, seed=1)


def artefact(folder, *, ids=None, routing=None, **settings):
    quantiser = ProductQuantiser(code_bytes=8, **settings).fit(VECTORS, seed=0)
    index = CodeIndex(quantiser, quantiser.encode(VECTORS))
    if routing is not None:
        index = CodeIndex(quantiser.with_parts({"routing": quantiser.routing + routing}), index.codes)

    def write(into):
        index.save(into)
        DocumentStore.write(
            into / FILE, bare_documents(Ids.from_iterable(ids or map("d{}".format, range(900))))
        )

    publish(folder, write, {"index": "codes", "encoder": None})
    return folder


def opened(folder):
    """What `FaissSearcher.load_index` and `load_docids` do."""
    index = faiss.read_index(str(folder / "index"))
    with (folder / "docid").open() as lines:
        docids = [line.rstrip() for line in lines.readlines()]
    assert index.ntotal == len(docids)
    return index, docids


@pytest.mark.parametrize("metric", ["ip", "l2"])
@pytest.mark.parametrize("lists", [None, 20])
@pytest.mark.parametrize("rotate", [False, True])
def test_the_folder_answers_as_the_artefact_does(tmp_path, metric, lists, rotate):
    searcher = Searcher.open(artefact(tmp_path / "i", metric=metric, lists=lists, rotate=rotate))
    index, docids = opened(export_pyserini(tmp_path / "i", tmp_path / "p"))
    found, rows = index.search(QUERIES, 10)
    hits = searcher.search_vectors(QUERIES, 10)
    np.testing.assert_allclose(
        found if metric == "ip" else -found, hits.scores, atol=1e-4
    )  # float32 tables, d = 16
    wanted = [[answer.id for answer in answers] for answers in searcher.answers_of(hits)]
    assert [[docids[row] for row in line] for line in rows] == wanted


def test_more_lists_are_visited_when_more_effort_is_asked_for(tmp_path):
    artefact(tmp_path / "i", lists=20)
    for effort, probes in ((None, 8), (0.05, 1), (1.0, 20)):
        index, _ = opened(export_pyserini(tmp_path / "i", tmp_path / "p", effort=effort))
        assert index.nprobe == probes


def test_the_folder_comes_back_as_it_went(tmp_path):
    first = Searcher.open(artefact(tmp_path / "i", lists=20))
    folder = export_pyserini(tmp_path / "i", tmp_path / "p")
    second = import_faiss(folder / "index", tmp_path / "j", ids=folder / "docid")
    before, after = (found.search_vectors(QUERIES, 10) for found in (first, second))
    assert np.array_equal(before.ids, after.ids)
    assert np.array_equal(before.scores, after.scores)
    assert list(first.documents.ids()) == list(second.documents.ids())


@pytest.mark.parametrize("name", ["two\nlines", "ends in a space ", "carriage\rreturn"])
def test_an_id_that_the_file_of_ids_would_change_is_refused(tmp_path, name):
    artefact(tmp_path / "i", ids=[name, *map(str, range(899))])
    with pytest.raises(DataError, match="of row 0 does not survive"):
        export_pyserini(tmp_path / "i", tmp_path / "p")
    assert not (tmp_path / "p").exists()


def test_learned_routing_leaves_only_when_asked(tmp_path):
    artefact(tmp_path / "i", lists=20, routing=0.5)
    with pytest.raises(ConfigError, match="routed"):
        export_pyserini(tmp_path / "i", tmp_path / "p")
    assert opened(export_pyserini(tmp_path / "i", tmp_path / "p", routing="base"))[0].ntotal == 900


def test_a_folder_with_other_files_is_left_alone(tmp_path):
    artefact(tmp_path / "i")
    with pytest.raises(ConfigError, match="holds other files"):
        export_pyserini(tmp_path / "i", tmp_path / "i")
    assert len(Searcher.open(tmp_path / "i")) == 900
