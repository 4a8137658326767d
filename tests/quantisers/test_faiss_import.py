"""Whatever IVF-PQ index faiss makes: the same documents with the same scores, or a refusal that says why."""

import logging

import faiss
import numpy as np
import pytest

from limbeck.errors import ConfigError, CorruptArtefact
from limbeck.index.compressed import CodeIndex
from limbeck.quantisers.faiss_io import faiss_bytes, from_faiss, read_faiss, to_faiss
from limbeck.quantisers.product import ProductQuantiser
from limbeck.testing import clustered
from limbeck.types import Reps

VECTORS, QUERIES = clustered(700, 32, seed=0), clustered(30, 32, seed=1)


def trained(index):
    for part in (index, *filter(None, [faiss.try_extract_index_ivf(index)])):
        inner = part
        while isinstance(inner, (faiss.IndexPreTransform, faiss.IndexIDMap)):
            inner = faiss.downcast_index(inner.index)
        for trains in (getattr(inner, "pq", None), inner if hasattr(inner, "nprobe") else None):
            if trains is not None:
                trains.cp.min_points_per_centroid = 1
    index.train(VECTORS)
    return index


def built(factory, metric):
    index = trained(
        faiss.index_factory(32, factory, faiss.METRIC_L2 if metric == "l2" else faiss.METRIC_INNER_PRODUCT)
    )
    if "IDMap" in factory:
        index.add_with_ids(VECTORS, np.arange(len(VECTORS))[::-1].copy() + 5)
    else:
        index.add(VECTORS)
    return index


def assert_same_answers(theirs):
    """Every document, best first, with its score; documents of equal scores may change places."""
    quantiser, codes, ids = from_faiss(theirs)
    ivf = faiss.try_extract_index_ivf(theirs)
    if ivf is not None:
        ivf.nprobe = ivf.nlist
    distances, found = theirs.search(QUERIES, 20)
    scores = distances if quantiser.metric == "ip" else -distances
    hits = CodeIndex(quantiser, codes).search(Reps.single(QUERIES), 20, effort=1.0)
    np.testing.assert_allclose(
        hits.scores, scores, atol=1e-4 * max(1, np.abs(scores).max())
    )  # float32 tables
    alone = np.abs(np.diff(scores, axis=1)) > 1e-4
    alone = np.pad(alone, ((0, 0), (1, 0)), constant_values=True) & np.pad(alone, ((0, 0), (0, 1)))
    assert alone.any()
    assert np.array_equal(ids[hits.ids][alone], found[alone])


@pytest.mark.parametrize(
    ("factory", "metric"),
    [
        *(
            (factory, metric)
            for metric in ("l2", "ip")
            for factory in ("IVF16_HNSW8,PQ8np", "RR16,IVF8,PQ8np")
        ),
        *((factory, metric) for metric in ("l2", "ip") for factory in ("Pad40,IVF8,PQ8np", "IDMap,PQ8np")),
        *(
            (factory, "l2")
            for factory in ("IMI2x4,PQ8np", "PCA16,PQ8np", "PCA16,IVF8,PQ8np", "PCAR16,IVF8,PQ8x4np")
        ),
        *((factory, "ip") for factory in ("IDMap2,IVF8,PQ8np", "IDMap,RR16,IVF8,PQ8x4np")),
    ],
)
def test_an_index_of_faiss_comes_in_with_its_documents_and_scores(factory, metric):
    assert_same_answers(built(factory, metric))


def test_centres_of_pca_are_folded_into_codes_without_residuals_too():
    pca = faiss.PCAMatrix(32, 16)
    inner = faiss.IndexIVFPQ(faiss.IndexFlatL2(16), 16, 8, 4, 8)
    inner.by_residual = False
    index = trained(faiss.IndexPreTransform(pca, inner))
    index.add(VECTORS)
    assert_same_answers(index)


@pytest.mark.parametrize(("coarse", "metric"), [(faiss.METRIC_L2, "ip"), (faiss.METRIC_INNER_PRODUCT, "l2")])
def test_lists_of_another_metric_score_alike_and_are_told_of(coarse, metric, caplog):
    kind = faiss.METRIC_L2 if metric == "l2" else faiss.METRIC_INNER_PRODUCT
    centroids = faiss.IndexFlat(32, coarse)
    index = trained(faiss.IndexIVFPQ(centroids, 32, 8, 4, 8, kind))
    index.add(VECTORS)
    with caplog.at_level(logging.WARNING):
        assert_same_answers(index)
    assert "by another metric" in caplog.text
    before = index.search(QUERIES, 10)[0]
    again = read_faiss(faiss_bytes(index))
    again.nprobe = index.nprobe
    np.testing.assert_allclose(again.search(QUERIES, 10)[0], before, atol=1e-4)


def mapped(index, ids):
    """An id map around an index that holds documents, as no constructor of faiss makes it."""
    around = faiss.IndexIDMap(faiss.IndexPQ(index.d, 8, 8))
    around.own_fields = False
    around.index = index
    faiss.copy_array_to_vector(np.asarray(ids, np.int64), around.id_map)
    return around


def test_maps_of_maps_give_the_outermost_ids():
    plain = built("PQ8np", "ip")
    numbers = np.random.default_rng(0).permutation(len(VECTORS))
    inner = mapped(plain, numbers)
    outer = mapped(inner, np.arange(len(VECTORS)) + 1000)
    _, codes, ids = from_faiss(outer)
    assert np.array_equal(ids, np.arange(len(VECTORS)) + 1000)
    assert np.array_equal(codes.codes[numbers], from_faiss(plain)[1].codes)


def test_a_map_that_is_too_short_is_damage():
    plain = built("PQ8np", "ip")
    short = mapped(plain, [1, 2, 3])
    with pytest.raises(CorruptArtefact, match="id map of 3 ids"):
        from_faiss(short)


@pytest.mark.parametrize(
    ("factory", "metric", "reason"),
    [
        ("IVF8,PQ8+4", "l2", "second codes refine"),
        ("IVF8,PQ8np,RFlat", "l2", r"re-scores what the codes found[^$]*base_index"),
        ("IVF8,PQ8x4fs", "l2", "rounded tables"),
        ("PQ8x4fs", "ip", "rounded tables"),
        ("PCA16,IVF8,PQ8np", "ip", "only L2"),
        ("L2norm,IVF8,PQ8np", "ip", "do what it does to your queries yourself"),
        ("ITQ32,PQ8np", "l2", "ITQTransform"),
    ],
)
def test_what_would_score_otherwise_is_refused_with_the_reason(factory, metric, reason):
    with pytest.raises(ConfigError, match=reason):
        from_faiss(built(factory, metric))


@pytest.mark.parametrize("probes", [1, 3])
def test_a_file_visits_as_many_lists_as_it_was_told_to(probes):
    quantiser = ProductQuantiser(code_bytes=8, lists=8, rotate=True).fit(VECTORS, seed=0)
    index = to_faiss(quantiser, quantiser.encode(VECTORS), probes=probes)
    assert faiss.extract_index_ivf(read_faiss(faiss_bytes(index))).nprobe == probes
