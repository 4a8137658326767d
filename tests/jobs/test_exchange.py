"""faiss files out and in: what is refused."""

import faiss
import numpy as np
import pytest

from limbeck.errors import ConfigError, DataError
from limbeck.jobs.exchange import export_faiss, import_faiss


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """An IVF-PQ file that faiss itself built, with the index as it was."""
    values = np.random.default_rng(0).standard_normal((600, 16)).astype(np.float32)
    index = faiss.index_factory(16, "IVF4,PQ4np", faiss.METRIC_L2)
    index.train(values)
    index.add(values)
    path = tmp_path_factory.mktemp("faiss") / "theirs.faiss"
    faiss.write_index(index, str(path))
    index.nprobe = 4
    return path, index, values


def test_an_index_that_faiss_built_answers_alike_and_goes_back_alike(built, tmp_path):
    path, index, values = built
    searcher = import_faiss(path, tmp_path / "i", similarity="l2")
    distances, rows = index.search(values[:20], 5)
    hits = searcher.search_vectors(values[:20], 5, effort=1.0)
    np.testing.assert_allclose(-hits.scores, distances, atol=1e-4)  # float32 tables, d = 16
    assert (hits.ids == rows).mean() > 0.98  # equal scores may stand in another order

    out, ids = export_faiss(tmp_path / "i", tmp_path / "ours.faiss")
    again = faiss.read_index(str(out))
    again.nprobe = 4
    np.testing.assert_allclose(again.search(values[:20], 5)[0], distances, atol=1e-4)
    assert ids.read_text().splitlines()[:2] == ['"0"', '"1"']


def test_another_similarity_is_refused(built, tmp_path):
    with pytest.raises(DataError, match="'l2'"):
        import_faiss(built[0], tmp_path / "i", similarity="cosine")


def test_ids_must_be_one_a_document(built, tmp_path):
    (tmp_path / "ids.txt").write_text("a\nb\n")
    with pytest.raises(DataError, match="2 ids"):
        import_faiss(built[0], tmp_path / "i", ids=tmp_path / "ids.txt")


def test_other_kinds_of_index_are_refused(tmp_path):
    faiss.write_index(faiss.IndexFlatL2(4), str(tmp_path / "flat.faiss"))
    with pytest.raises(ConfigError, match="IndexPQ"):
        import_faiss(tmp_path / "flat.faiss", tmp_path / "i")
