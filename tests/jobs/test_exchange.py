"""faiss files out and in: what is refused."""

import faiss
import numpy as np
import pytest

from limbeck.data import Ids, Vectors
from limbeck.errors import ConfigError, DataError
from limbeck.jobs.exchange import export_codebook, export_faiss, import_codebook, import_faiss


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


def test_documents_that_share_an_id_are_refused_unless_they_are_given_others(built, tmp_path):
    index = faiss.clone_index(built[1])
    index.add_with_ids(built[2][:1], np.array([7]))
    faiss.write_index(index, str(tmp_path / "twice.faiss"))
    with pytest.raises(DataError, match="both have the id 7"):
        import_faiss(tmp_path / "twice.faiss", tmp_path / "i")
    (tmp_path / "ids.txt").write_text("".join(f"d{row}\n" for row in range(601)))
    assert len(import_faiss(tmp_path / "twice.faiss", tmp_path / "i", ids=tmp_path / "ids.txt")) == 601


def test_a_plain_file_visits_as_many_lists_as_the_artefact_does(built, tmp_path):
    import_faiss(built[0], tmp_path / "i")
    out, _ = export_faiss(tmp_path / "i", tmp_path / "ours.faiss")
    assert faiss.read_index(str(out)).nprobe == 4


def test_other_kinds_of_index_are_refused(tmp_path):
    faiss.write_index(faiss.IndexFlatL2(4), str(tmp_path / "flat.faiss"))
    with pytest.raises(ConfigError, match="IndexPQ"):
        import_faiss(tmp_path / "flat.faiss", tmp_path / "i")


@pytest.fixture(scope="module")
def codebook(built, tmp_path_factory):
    """The codebook of an index that faiss built, and the artefact between them."""
    folder = tmp_path_factory.mktemp("codebook")
    searcher = import_faiss(built[0], folder / "i")
    return export_codebook(folder / "i", folder / "codebook.safetensors"), searcher


def test_a_corpus_coded_with_an_imported_codebook_is_the_index_it_came_from(built, codebook, tmp_path):
    path, first = codebook
    values = built[2]
    corpus = Vectors(Ids.from_iterable(map(str, range(len(values)))), values)
    second = import_codebook(path, tmp_path / "j", corpus, similarity="l2", progress=False)
    assert np.array_equal(second.codes.codes.codes, first.codes.codes.codes)
    assert np.array_equal(second.codes.codes.lists, first.codes.codes.lists)
    before, after = (found.search_vectors(values[:30], 10, effort=0.5) for found in (first, second))
    assert np.array_equal(before.ids, after.ids)
    assert np.array_equal(before.scores, after.scores)


def test_a_recipe_starts_from_an_imported_codebook(built, codebook):
    torch = pytest.importorskip("torch")
    from limbeck.data.vector_data import VectorData
    from limbeck.quantisers.codebook_file import open_codebook
    from limbeck.recipes.compress import coded
    from limbeck.recipes.distill_vq import DistillVQ

    values = built[2]
    data = VectorData(documents=values, queries=values[:200], metric="l2")
    start = coded(open_codebook(codebook[0]).quantiser, data)
    recipe = DistillVQ(epochs=1, least_steps=1, top_k=20, sample=10, lists=16)
    index = recipe.run(data, start, progress=False).build()
    assert np.array_equal(index.codes.codes, codebook[1].codes.codes.codes)  # frozen: those of the codebook
    assert not np.array_equal(index.quantiser.score_codewords, codebook[1].codes.quantiser.score_codewords)
    assert torch is not None
    with pytest.raises(ConfigError, match="compares by 'l2'"):
        coded(open_codebook(codebook[0]).quantiser, VectorData(documents=values, queries=values[:5]))


def test_vectors_of_another_width_or_metric_are_refused(codebook, tmp_path):
    corpus = Vectors(Ids.from_iterable("ab"), np.ones((2, 8), dtype="f4"))
    with pytest.raises(ConfigError, match="found width 8 compared by 'ip'"):
        import_codebook(codebook[0], tmp_path / "k", corpus, similarity="dot", progress=False)


def test_sums_of_codewords_go_out_and_in_as_well(tmp_path):
    from limbeck.jobs.make import distil
    from limbeck.recipes.limbeck import Limbeck
    from limbeck.testing import clustered

    pytest.importorskip("torch")
    values = clustered(600, 16, seed=0)
    corpus = Vectors(Ids.from_iterable(map(str, range(600))), values)
    recipe = Limbeck(code_bytes=4, top_k=20, sample=10, epochs=1, least_steps=1)
    first = distil(corpus, out=tmp_path / "i", recipe=recipe, similarity="dot", progress=False)
    path = export_codebook(tmp_path / "i", tmp_path / "codebook.safetensors")
    second = import_codebook(path, tmp_path / "j", corpus, similarity="dot", progress=False)
    before, after = (found.search_vectors(values[:30], 10) for found in (first, second))
    assert np.array_equal(before.ids, after.ids)
    assert np.array_equal(before.scores, after.scores)
