"""Our definition of the score is faiss's, and nothing changes on the way into faiss, onto disk and back."""

import logging
from dataclasses import replace
from itertools import product

import faiss
import numpy as np
import pytest

from limbeck.errors import ConfigError, CorruptArtefact, DataError
from limbeck.quantisers import ProductQuantiser, faiss_io
from limbeck.quantisers.faiss_io import faiss_bytes, from_faiss, read_faiss, to_faiss
from limbeck.testing import clustered
from limbeck.types import Codes

KINDS = [
    {"bits": bits, "rotate": rotate, "lists": lists, "metric": metric, "by_residual": by_residual}
    for bits, rotate, metric in product([4, 8], [False, True], ["ip", "l2"])
    for lists, by_residual in [(None, True), (9, True), (9, False)]
]


@pytest.fixture(scope="module")
def vectors():
    return clustered(500, 16, seed=0)


@pytest.fixture(scope="module")
def queries():
    return clustered(7, 16, seed=1)


def taught(quantiser, seed=0):
    """The quantiser after learning moved base and codewords that score."""
    rng = np.random.default_rng(seed)
    parts = {
        "score.codewords": quantiser.score_codewords * rng.uniform(0.8, 1.2, quantiser.score_codewords.shape)
    }
    if quantiser.base is not None:
        parts["base"] = quantiser.base * rng.uniform(0.8, 1.2, quantiser.base.shape)
        parts["routing"] = parts["base"]
    return quantiser.with_parts(parts)


def scores_of(index, queries, metric, rows):
    """Scores [B, N] by row, from a faiss search that visits everything."""
    index = faiss.downcast_index(index)
    options = None
    inner = faiss.downcast_index(index.index) if isinstance(index, faiss.IndexPreTransform) else index
    if isinstance(inner, faiss.IndexIVF):
        options = faiss.SearchParametersIVF(nprobe=inner.nlist)
        if isinstance(index, faiss.IndexPreTransform):
            options = faiss.SearchParametersPreTransform(index_params=options)
    distances, ids = index.search(queries, rows, params=options)
    scores = np.full((len(queries), rows), np.nan, np.float32)
    np.put_along_axis(scores, ids, distances if metric == "ip" else -distances, axis=1)
    return scores


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: "-".join(map(str, kind.values())))
@pytest.mark.parametrize("learned", [False, True])
def test_our_score_is_that_of_faiss_before_and_after_it_was_saved(vectors, queries, kind, learned, tmp_path):
    quantiser = ProductQuantiser(code_bytes=4, **kind).fit(vectors, seed=0)
    codes = quantiser.encode(vectors)
    quantiser = taught(quantiser) if learned else quantiser
    expected = quantiser.score(queries, codes)
    index = to_faiss(quantiser, codes)
    faiss.write_index(index, str(tmp_path / "index.faiss"))
    for found in (
        index,
        read_faiss(tmp_path / "index.faiss"),
        faiss.read_index(str(tmp_path / "index.faiss")),
    ):
        scores = scores_of(found, queries, quantiser.metric, len(vectors))
        assert np.allclose(scores, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: "-".join(map(str, kind.values())))
def test_every_array_comes_back_byte_for_byte(vectors, kind):
    quantiser = ProductQuantiser(code_bytes=4, **kind).fit(vectors, seed=0)
    codes = quantiser.encode(vectors)
    quantiser = taught(quantiser)
    again, found, ids = from_faiss(read_faiss(faiss_bytes(to_faiss(quantiser, codes))))
    assert np.array_equal(ids, np.arange(len(vectors)))
    assert np.array_equal(found.codes, codes.codes)
    assert np.array_equal(found.lists, codes.lists) if codes.lists is not None else found.lists is None
    for name in ("rotation", "base", "score_codewords"):
        expected, actual = getattr(quantiser, name), getattr(again, name)
        assert (actual is None) if expected is None else np.array_equal(actual, expected)
    for name in ("code_bytes", "bits", "metric", "dim", "lists", "rotate", "by_residual"):
        if name != "by_residual" or quantiser.lists:
            assert getattr(again, name) == getattr(quantiser, name)
    assert faiss_bytes(to_faiss(again, found)).tobytes() == faiss_bytes(to_faiss(quantiser, codes)).tobytes()


def test_given_codes_are_kept_even_where_encoding_would_choose_others(vectors):
    quantiser = ProductQuantiser(code_bytes=4, lists=9).fit(vectors, seed=0)
    rng = np.random.default_rng(0)
    codes = Codes(rng.integers(256, size=(50, 4)).astype(np.uint8), rng.integers(9, size=50))
    found = from_faiss(to_faiss(quantiser, codes))[1]
    assert np.array_equal(found.codes, codes.codes)
    assert np.array_equal(found.lists, codes.lists)


def test_l2_tables_follow_taught_parts_and_may_be_left_out(vectors, queries, monkeypatch):
    quantiser = ProductQuantiser(code_bytes=4, lists=9, metric="l2").fit(vectors, seed=0)
    codes, quantiser = quantiser.encode(vectors), taught(quantiser)
    expected = quantiser.score(queries, codes)
    with_table = to_faiss(quantiser, codes)
    assert with_table.use_precomputed_table == 1
    monkeypatch.setattr(faiss_io, "LARGEST_L2_TABLE", 0)
    without = to_faiss(quantiser, codes)
    assert without.use_precomputed_table <= 0
    for index in (with_table, without):
        assert np.allclose(scores_of(index, queries, "l2", len(vectors)), expected, rtol=0, atol=1e-4)


# Indexes that faiss built


@pytest.mark.parametrize("metric", ["ip", "l2"])
@pytest.mark.parametrize(
    "factory",
    [
        "PQ8np",
        "PQ8x4np",
        "OPQ8,PQ8np",
        "IVF16,PQ8np",
        "IVF16,PQ8x4np",
        "OPQ8,IVF16,PQ8np",
        "OPQ8_32,IVF16,PQ8np",
    ],
)
def test_indexes_built_by_faiss_come_in_with_their_scores(factory, metric):
    vectors, queries = clustered(700, 48 if "_32" in factory else 32, seed=2), clustered(5, 48, seed=3)
    index = small_faiss_index(factory, vectors, metric)
    queries = queries[:, : index.d]
    quantiser, codes, ids = from_faiss(index)
    assert quantiser.dim == index.d
    assert np.array_equal(ids, np.arange(len(vectors)))
    ours = quantiser.score(queries, codes)
    assert np.allclose(
        ours, scores_of(index, queries, metric, len(vectors)), rtol=0, atol=1e-4 * np.abs(ours).max()
    )
    back = to_faiss(quantiser, codes)
    assert np.allclose(
        scores_of(back, queries, metric, len(vectors)),
        scores_of(index, queries, metric, len(vectors)),
        atol=1e-4,
    )


@pytest.mark.parametrize(("metric", "by_residual"), list(product(["ip", "l2"], [True, False])))
def test_ivf_indexes_built_by_hand_come_in_with_and_without_residuals(vectors, queries, metric, by_residual):
    kind = faiss.METRIC_INNER_PRODUCT if metric == "ip" else faiss.METRIC_L2
    coarse = faiss.IndexFlat(16, kind)
    index = faiss.IndexIVFPQ(coarse, 16, 8, 4, 8, kind)
    index.by_residual = by_residual
    index.cp.min_points_per_centroid = index.pq.cp.min_points_per_centroid = 1
    index.train(vectors)
    index.add(vectors)
    quantiser, codes, _ = from_faiss(index)
    assert quantiser.by_residual == by_residual
    assert np.allclose(
        quantiser.score(queries, codes), scores_of(index, queries, metric, len(vectors)), rtol=0, atol=1e-4
    )


def test_ids_come_back_in_ascending_order_with_their_codes(vectors):
    ids = np.random.default_rng(0).permutation(10_000)[: len(vectors)].astype(np.int64)
    plain = ProductQuantiser(code_bytes=4, lists=5).fit(vectors, seed=0)
    codes = plain.encode(vectors)
    index = to_faiss(plain, Codes(codes.codes[:0], codes.lists[:0]))
    index.add_with_ids(vectors, ids)
    _, found, found_ids = from_faiss(index)
    assert np.array_equal(found_ids, np.sort(ids))
    mapped = faiss.IndexIDMap(
        to_faiss(ProductQuantiser(code_bytes=4).fit(vectors, seed=0), Codes(codes.codes[:0]))
    )
    mapped.add_with_ids(vectors, ids)
    _, flat, flat_ids = from_faiss(mapped)
    assert np.array_equal(flat_ids, np.sort(ids))
    again = ProductQuantiser(code_bytes=4).fit(vectors, seed=0).encode(vectors[np.argsort(ids)])
    assert np.array_equal(flat.codes, again.codes)
    assert len(found) == len(flat)


def test_an_index_without_documents_goes_there_and_back(vectors):
    for lists in (None, 5):
        quantiser = ProductQuantiser(code_bytes=4, lists=lists).fit(vectors, seed=0)
        _, codes, ids = from_faiss(to_faiss(quantiser, quantiser.encode(vectors[:0])))
        assert len(codes) == len(ids) == 0


def test_several_linear_transforms_become_one(vectors, queries):
    index = small_faiss_index("OPQ4,PQ4np", vectors, "ip")
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(16, 16)))[0].astype(np.float32)
    extra = faiss.LinearTransform(16, 16, False)
    faiss.copy_array_to_vector(turn.ravel(), extra.A)
    extra.is_trained = True
    index.prepend_transform(extra)
    extra.this.disown()  # the factory made the index own its transforms
    quantiser, codes, _ = from_faiss(index)
    expected = scores_of(index, queries, "ip", len(vectors))
    assert np.allclose(quantiser.score(queries, codes), expected, atol=1e-4)


@pytest.mark.parametrize(
    ("factory", "text"),
    [
        ("Flat", "IndexFlat"),
        ("HNSW8", "IndexHNSWFlat"),
        ("IVF4,Flat", "IndexIVFFlat"),
        ("L2norm,PQ4np", "only linear"),
        ("PQ4x6np", "4 x 6 bits"),
        ("PQ8x4fs", "IndexPQFastScan"),
    ],
)
def test_other_faiss_indexes_are_refused_by_name(vectors, factory, text):
    with pytest.raises(ConfigError, match=text):
        from_faiss(small_faiss_index(factory, vectors, "l2"))


def test_an_untrained_faiss_index_and_an_odd_metric_are_refused():
    with pytest.raises(ConfigError, match="not trained"):
        from_faiss(faiss.IndexPQ(16, 4, 8))
    odd = faiss.IndexPQ(16, 4, 8, faiss.METRIC_L1)
    odd.is_trained = True
    with pytest.raises(ConfigError, match="metric"):
        from_faiss(odd)


# What plain faiss cannot hold


def test_routing_of_its_own_is_refused_or_dropped_on_request(vectors, queries):
    quantiser = ProductQuantiser(code_bytes=4, lists=9).fit(vectors, seed=0)
    codes = quantiser.encode(vectors)
    quantiser = quantiser.with_parts({"routing": quantiser.routing + 1})
    with pytest.raises(ConfigError, match="routing='base'"):
        to_faiss(quantiser, codes)
    index = to_faiss(quantiser, codes, routing="base")
    assert np.allclose(
        scores_of(index, queries, "ip", len(vectors)), quantiser.score(queries, codes), atol=1e-4
    )


def test_codewords_that_only_assign_are_lost_with_a_warning(vectors, caplog):
    quantiser = ProductQuantiser(code_bytes=4).fit(vectors, seed=0)
    codes = quantiser.encode(vectors)
    with caplog.at_level(logging.WARNING):
        to_faiss(quantiser, codes)
        assert not caplog.records
        to_faiss(taught(quantiser), codes)
    assert "do not add documents" in caplog.text


@pytest.mark.parametrize("rotate", [False, True])
def test_a_query_map_is_folded_into_the_rotation(vectors, queries, rotate):
    quantiser = ProductQuantiser(code_bytes=4, rotate=rotate).fit(vectors, seed=0)
    codes = quantiser.encode(vectors)
    query_map = np.random.default_rng(0).normal(size=(16, 16)).astype(np.float32)
    index = to_faiss(quantiser, codes, query_map=query_map)
    expected = quantiser.score(queries @ query_map.T, codes)
    assert np.allclose(
        scores_of(index, queries, "ip", len(vectors)), expected, rtol=0, atol=1e-4 * np.abs(expected).max()
    )


# Reading


def test_lists_out_of_range_are_refused(vectors):
    quantiser = ProductQuantiser(code_bytes=4, lists=9).fit(vectors, seed=0)
    codes = quantiser.encode(vectors[:10])
    for number in (-1, 9):
        lists = codes.lists.copy()
        lists[3] = number
        with pytest.raises(DataError, match=r"0\.\.8"):
            to_faiss(quantiser, Codes(codes.codes, lists))


def test_an_untrained_quantiser_makes_no_index():
    with pytest.raises(ConfigError, match="not trained"):
        to_faiss(ProductQuantiser(code_bytes=4), Codes(np.zeros((1, 4), np.uint8)))


@pytest.mark.parametrize("nprobe", [2**40, 2**60 + 8])
def test_a_wild_nprobe_in_a_file_is_clamped(vectors, nprobe):
    quantiser = ProductQuantiser(code_bytes=4, lists=9).fit(vectors, seed=0)
    index = to_faiss(quantiser, quantiser.encode(vectors))
    index.nprobe = nprobe
    assert read_faiss(faiss_bytes(index)).nprobe == 9


def test_files_that_faiss_cannot_read_are_corrupt_artefacts(vectors, tmp_path):
    quantiser = ProductQuantiser(code_bytes=4).fit(vectors, seed=0)
    data = faiss_bytes(to_faiss(quantiser, quantiser.encode(vectors))).tobytes()
    limits = faiss.get_deserialization_vector_byte_limit()
    for cut in (0, 1, 20, len(data) // 2, len(data) - 1):
        with pytest.raises(CorruptArtefact, match="cannot read"):
            read_faiss(data[:cut])
    assert faiss.get_deserialization_vector_byte_limit() == limits
    with pytest.raises(DataError, match="nowhere"):
        read_faiss(tmp_path / "nowhere.faiss")
    (tmp_path / "index.faiss").write_bytes(data)
    assert from_faiss(str(tmp_path / "index.faiss"))[0].code_bytes == 4


def test_a_quantiser_with_settings_of_its_own_keeps_them(vectors):
    quantiser = replace(ProductQuantiser(code_bytes=4, lists=5), by_residual=False).fit(vectors, seed=0)
    assert not from_faiss(to_faiss(quantiser, quantiser.encode(vectors)))[0].by_residual


def small_faiss_index(factory, vectors, metric):
    """An index by faiss's own factory, trained on so few vectors without a warning on stderr."""
    kind = faiss.METRIC_INNER_PRODUCT if metric == "ip" else faiss.METRIC_L2
    index = faiss.index_factory(vectors.shape[1], factory, kind)
    inner = index
    if isinstance(index, faiss.IndexPreTransform):
        first = faiss.downcast_VectorTransform(index.chain.at(0))
        if isinstance(first, faiss.OPQMatrix):
            first.niter, first.niter_pq_0 = 2, 4
            coder = faiss.ProductQuantizer(first.d_out, first.M, 4)
            coder.cp.min_points_per_centroid = 1
            first.pq = coder
            index.referenced_objects = [coder]
        inner = faiss.downcast_index(index.index)
    if hasattr(inner, "pq"):
        inner.pq.cp.min_points_per_centroid = 1
    if isinstance(inner, faiss.IndexIVF):
        inner.cp.min_points_per_centroid = 1
    index.train(vectors)
    index.add(vectors)
    return index
