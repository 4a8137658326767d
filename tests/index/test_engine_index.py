import json
import threading

import faiss
import numpy as np
import pytest

from limbeck.contracts import Index
from limbeck.errors import ConfigError, CorruptArtefact, DataError, VersionMismatch
from limbeck.index import Flat
from limbeck.index.compressed import CodeIndex
from limbeck.index.engine import EngineIndex
from limbeck.index.engine_search import share_of
from limbeck.index.leaving_out import only_allowed
from limbeck.index.opening import KINDS, kind_of, open_index
from limbeck.quantisers.faiss_build import (
    bits_of,
    filled,
    graph,
    on_graph,
    random_rotation,
    refined,
    through,
    whole_vectors,
    with_lists,
)
from limbeck.testing import check_index, clustered
from limbeck.types import Reps

ROWS, DIM = 400, 24


@pytest.fixture(scope="module")
def vectors():
    return clustered(ROWS, DIM, seed=0)


@pytest.fixture(scope="module")
def queries():
    return Reps.single(clustered(20, DIM, seed=5))


def exact(vectors, metric):
    def scores(asked):
        left, right = asked.astype(np.float64), vectors.astype(np.float64)
        return left @ right.T if metric == "ip" else -np.square(left[:, None] - right[None]).sum(2)

    return scores


def ivf(vectors, metric="ip", lists=20):
    engine = with_lists(faiss.IndexIVFFlat, vectors, lists=lists, metric=metric, seed=0)
    return EngineIndex(engine, metric=metric, default_effort=0.2)


def hnsw(vectors, metric="ip", **settings):
    kind = faiss.METRIC_INNER_PRODUCT if metric == "ip" else faiss.METRIC_L2
    engine = faiss.IndexHNSWFlat(vectors.shape[1], 16, kind)
    filled(faiss.downcast_index(engine.storage), vectors)
    built = graph(vectors, links=16, ef_construction=60, metric=metric, seed=0)
    return EngineIndex(on_graph(engine, built), metric=metric, default_effort=0.2, **settings)


def two_looks(vectors, metric="ip", factor=400.0, store="float"):
    engine = through([random_rotation(DIM, seed=0)], bits_of(DIM, code_bytes=3, seed=None))
    engine = filled(engine, vectors)
    return EngineIndex(refined(engine, vectors, store=store, factor=factor, metric=metric), metric=metric)


def flat(vectors, metric="ip"):
    return EngineIndex(whole_vectors(vectors, store="float", metric=metric), metric=metric)


@pytest.mark.parametrize("metric", ["ip", "l2"])
@pytest.mark.parametrize("make", [flat, ivf, hnsw, two_looks])
def test_the_contract_holds_for_every_kind_of_engine(make, metric, vectors, tmp_path):
    index = make(vectors, metric)
    assert isinstance(index, Index)
    check_index(index, exact(vectors, metric), reopen=EngineIndex.open, folder=tmp_path)


@pytest.mark.parametrize("metric", ["ip", "l2"])
@pytest.mark.parametrize("make", [ivf, hnsw])
def test_effort_one_is_a_flat_search(make, metric, vectors, queries):
    found = make(vectors, metric).search(queries, 10, effort=1.0)
    expected = Flat(vectors, metric=metric).search(queries, 10)
    assert np.array_equal(found.ids, expected.ids)
    assert np.allclose(found.scores, expected.scores, atol=1e-4)  # float32 sums in another order


@pytest.mark.parametrize("metric", ["ip", "l2"])
def test_a_graph_with_all_documents_in_sight_equals_a_flat_search(metric, vectors, queries):
    nearly_all = (ROWS - 0.5) / ROWS  # efSearch = N, still through the graph
    assert share_of(nearly_all, ROWS) == ROWS
    found = hnsw(vectors, metric).search(queries, 10, effort=nearly_all)
    assert np.array_equal(found.ids, Flat(vectors, metric=metric).search(queries, 10).ids)


def test_short_vectors_are_reached_by_inner_product(queries):
    rng = np.random.default_rng(1)
    vectors = clustered(ROWS, DIM, seed=3) * rng.uniform(0.05, 3, size=(ROWS, 1)).astype(np.float32)
    found = hnsw(vectors).search(queries, ROWS, effort=(ROWS - 0.5) / ROWS)
    assert (np.sort(found.ids, axis=1) == np.arange(ROWS)).all()


def test_effort_is_the_share_of_the_lists():
    assert [share_of(effort, 20) for effort in (0.001, 0.05, 0.051, 0.5, 1.0)] == [1, 1, 2, 10, 20]


def test_recall_rises_with_effort(vectors, queries):
    expected = Flat(vectors).search(queries, 10).ids
    for make in (ivf, hnsw):
        index = make(vectors)
        hits = [index.search(queries, 10, effort=effort).ids for effort in (0.025, 0.2, 0.999)]
        shares = [np.mean([np.isin(a, b).mean() for a, b in zip(h, expected, strict=True)]) for h in hits]
        assert shares == sorted(shares)
        assert shares[-1] > 0.99


def test_hits_are_sorted_unique_and_inside_the_corpus(vectors, queries):
    for make in (flat, ivf, hnsw, two_looks):
        hits = make(vectors).search(queries, 30)
        assert all(len({*line.tolist()} - {-1}) == (line >= 0).sum() for line in hits.ids)
        assert ((hits.ids >= -1) & (hits.ids < ROWS)).all()
        assert (np.diff(hits.scores[np.isfinite(hits.scores).all(axis=1)]) <= 0).all()


@pytest.mark.parametrize("store", ["float", "fp16", "sq8"])
def test_the_second_look_scores_candidates_as_its_vectors_say(store, vectors, queries):
    index = two_looks(vectors, factor=3.0, store=store)
    hits = index.search(queries, 10)
    own = whole_vectors(vectors, store=store, metric="ip")
    decoded = own.reconstruct_n(0, ROWS).astype(np.float64)
    expected = np.take_along_axis(queries.flat.astype(np.float64) @ decoded.T, hits.ids, axis=1)
    assert np.allclose(hits.scores, expected, atol=1e-4)


def test_a_second_look_at_float_vectors_is_exact_among_its_candidates(vectors, queries):
    index = two_looks(vectors, factor=3.0)
    bits = filled(through([random_rotation(DIM, seed=0)], bits_of(DIM, code_bytes=3, seed=None)), vectors)
    _, candidates = bits.search(queries.flat, 3 * 10)
    truth = exact(vectors, "ip")(queries.flat)
    for hits, rows, scores in zip(index.search(queries, 10).ids, candidates, truth, strict=True):
        assert hits.tolist() == rows[np.argsort(-scores[rows], kind="stable")][:10].tolist()


def test_hamming_scores_count_the_bits_that_differ(vectors, queries):
    index = EngineIndex(filled(bits_of(DIM, code_bytes=3, seed=None), vectors), metric="ip")
    hits = index.search(queries, 5)
    differ = ((queries.flat[:, None] >= 0) != (vectors[None] >= 0)).sum(axis=2)
    for line, ids, scores in zip(differ, hits.ids, hits.scores, strict=True):
        order = sorted(range(ROWS), key=lambda row: (line[row], row))[:5]
        assert ids.tolist() == order
        assert scores.tolist() == (-line[order]).tolist()


def test_equal_vectors_come_by_row_from_every_scan(queries):
    vectors = np.tile(clustered(40, DIM, seed=2), (5, 1))
    hits = flat(vectors).search(queries, 23)
    left, right = hits.scores[:, :-1], hits.scores[:, 1:]
    assert ((left > right) | (hits.ids[:, :-1] < hits.ids[:, 1:])).all()


@pytest.mark.parametrize("make", [flat, ivf, hnsw, two_looks])
def test_filters_leave_rows_out(make, vectors, queries):
    allowed = np.random.default_rng(0).random(ROWS) < 0.1
    index = make(vectors)
    hits = index.search(queries, 10, allowed=allowed)
    assert allowed[hits.ids[hits.ids >= 0]].all()
    every = index.search(queries, 10, effort=1.0, allowed=allowed)
    truth = np.where(allowed, exact(vectors, "ip")(queries.flat), -np.inf)
    assert np.array_equal(every.ids, np.argsort(-truth, axis=1, kind="stable")[:, :10])


def test_leaving_out_ranks_deeper_until_there_is_enough():
    depths = []

    def rank(asked, depth):
        depths.append(depth)
        return np.tile(-np.arange(depth, dtype=np.float32), (len(asked), 1)), np.tile(
            np.arange(depth), (len(asked), 1)
        )

    allowed = np.arange(1000) >= 900  # the worst tenth, so an even spread is a wrong guess
    scores, rows = only_allowed(rank, np.zeros((2, 3), np.float32), 5, allowed=allowed)
    assert rows.tolist() == [[900, 901, 902, 903, 904]] * 2
    assert scores[0, 0] == -900
    assert depths == [75, 300, 1000]


def test_what_is_saved_is_what_is_counted(vectors, tmp_path):
    for make in (flat, ivf, hnsw, two_looks):
        index = make(vectors)
        index.save(tmp_path / make.__name__)
        assert (tmp_path / make.__name__ / "index.faiss").stat().st_size == index.nbytes
        assert EngineIndex.open(tmp_path / make.__name__).nbytes == index.nbytes


def test_code_bytes_are_those_of_codes_and_second_look(vectors):
    assert flat(vectors).code_bytes == 4 * DIM
    assert hnsw(vectors).code_bytes == 4 * DIM
    assert two_looks(vectors, store="sq8").code_bytes == 3 + DIM


def test_a_saved_file_opens_in_plain_faiss(vectors, queries, tmp_path):
    index = ivf(vectors)
    index.save(tmp_path)
    plain = faiss.read_index(str(tmp_path / "index.faiss"))
    plain.nprobe = 4
    assert np.array_equal(plain.search(queries.flat, 5)[1], index.search(queries, 5, effort=0.2).ids)


def test_damage_is_refused(vectors, tmp_path):
    flat(vectors).save(tmp_path)
    data = bytearray((tmp_path / "index.faiss").read_bytes())
    data[-5] ^= 1
    (tmp_path / "index.faiss").write_bytes(data)
    with pytest.raises(CorruptArtefact, match="checksum"):
        EngineIndex.open(tmp_path)
    (tmp_path / "engine.json").write_text(json.dumps({"metric": "ip"}))
    with pytest.raises(CorruptArtefact, match="default_effort"):
        EngineIndex.open(tmp_path)


def test_a_full_disk_is_an_error_and_leaves_the_old_file(vectors, tmp_path, monkeypatch):
    index = flat(vectors)
    index.save(tmp_path)
    before = (tmp_path / "index.faiss").read_bytes()

    def full(self, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("limbeck.storage.durable.NewFile.write", full)
    with pytest.raises(Exception, match=r"(?i)full|space"):
        index.save(tmp_path)
    assert (tmp_path / "index.faiss").read_bytes() == before


def test_memory_maps_are_indexed_block_by_block(vectors, queries, tmp_path, monkeypatch):
    np.save(tmp_path / "v.npy", vectors)
    mapped = np.load(tmp_path / "v.npy", mmap_mode="r")
    monkeypatch.setattr("limbeck.quantisers.faiss_build.BLOCK_ROWS", 37)
    for make in (flat, ivf, hnsw):
        assert np.array_equal(
            make(mapped).search(queries, 5, effort=1.0).ids, Flat(vectors).search(queries, 5).ids
        )


def test_rows_with_nan_are_refused_by_number(vectors, monkeypatch):
    monkeypatch.setattr("limbeck.quantisers.faiss_build.BLOCK_ROWS", 37)
    broken = vectors.copy()
    broken[123, 2] = np.nan
    with pytest.raises(DataError, match="row 123"):
        flat(broken)


def test_many_threads_search_one_index(vectors, queries):
    index, found = hnsw(vectors), {}
    expected = {effort: index.search(queries, 5, effort=effort).ids for effort in (0.02, 0.1, 0.5, 1.0)}

    def search(effort):
        found[effort] = [index.search(queries, 5, effort=effort).ids for _ in range(5)]

    threads = [threading.Thread(target=search, args=(effort,)) for effort in expected]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for effort, ids in expected.items():
        assert all(np.array_equal(ids, other) for other in found[effort])


def test_many_queries_are_searched_in_parts(vectors, monkeypatch):
    whole = flat(vectors).search(Reps.single(vectors), 5)
    monkeypatch.setattr("limbeck.index.engine.QUERY_BLOCK", 33)
    assert np.array_equal(flat(vectors).search(Reps.single(vectors), 5).ids, whole.ids)


def test_each_kind_opens_as_its_class(vectors, tmp_path):
    index = flat(vectors)
    index.save(tmp_path)
    assert kind_of(index) == "engine"
    opened = open_index(tmp_path, kind="engine", threads=1)
    assert isinstance(opened, EngineIndex)
    assert opened.threads == 1
    assert KINDS["codes"] is CodeIndex
    with pytest.raises(VersionMismatch, match="kind 'tree'"):
        open_index(tmp_path, kind="tree")
    with pytest.raises(ConfigError, match="fast scan"):
        open_index(tmp_path, kind="engine", fast_scan=True)
    with pytest.raises(ConfigError, match="type int"):
        kind_of(3)


def test_settings_that_cannot_work_are_refused(vectors):
    engine = whole_vectors(vectors, store="float", metric="ip")
    with pytest.raises(ConfigError, match="metric"):
        EngineIndex(engine, metric="cosine")
    with pytest.raises(ConfigError, match="effort"):
        EngineIndex(engine, metric="ip", default_effort=0.0)
    with pytest.raises(ConfigError, match="factor"):
        refined(engine, vectors, store="float", factor=0.5, metric="ip")
    with pytest.raises(ConfigError, match="lists"):
        ivf(vectors, lists=ROWS + 1)
    with pytest.raises(ConfigError, match="no documents"):
        whole_vectors(vectors[:0], store="sq8", metric="ip")


def test_searches_at_other_depths_and_efforts_do_not_change_what_a_search_finds(vectors, queries):
    lists = with_lists(faiss.IndexIVFFlat, vectors, lists=20, metric="ip", seed=0)
    engine = refined(lists, vectors, store="sq8", factor=2.0, metric="ip")
    used = EngineIndex(engine, metric="ip", default_effort=0.2)
    for k, effort in [(3, 0.2), (10, 0.5), (10, 0.2), (3, 1.0), (10, 1.0), (390, 0.5), (3, 0.2)] * 2:
        found = used.search(queries, k, effort=effort)
        fresh = EngineIndex(engine, metric="ip").search(queries, k, effort=effort)
        np.testing.assert_array_equal(found.ids, fresh.ids)
        np.testing.assert_array_equal(found.scores, fresh.scores)
