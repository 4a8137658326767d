import json
import threading

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.contracts import Index
from limbeck.errors import ConfigError, CorruptArtefact, DataError, ShapeError
from limbeck.index import Flat, flat
from limbeck.testing import check_index, clustered
from limbeck.types import Reps


def exact(vectors, metric):
    def scores(queries):
        left, right = queries.astype(np.float64), vectors.astype(np.float64)
        return left @ right.T if metric == "ip" else -np.square(left[:, None] - right[None]).sum(2)

    return scores


@pytest.fixture(scope="module")
def vectors():
    return clustered(400, 24, seed=0)


@pytest.mark.parametrize("metric", ["ip", "l2"])
@pytest.mark.parametrize("block_bytes", [2**28, 24 * 4 * 37])
def test_the_contract_holds_in_one_block_and_in_many(vectors, metric, block_bytes, tmp_path, monkeypatch):
    monkeypatch.setattr(flat, "BLOCK_BYTES", block_bytes)
    index = Flat(vectors, metric=metric)
    assert isinstance(index, Index)
    assert index.nbytes == vectors.nbytes
    check_index(index, exact(vectors, metric), reopen=Flat.open, folder=tmp_path)


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(1, 50),
    dim=st.integers(1, 9),
    k=st.integers(1, 60),
    metric=st.sampled_from(["ip", "l2"]),
    copies=st.booleans(),
    seed=st.integers(0, 99),
)
def test_it_ranks_as_a_naive_scan_does(rows, dim, k, metric, copies, seed):
    rng = np.random.default_rng(seed)
    vectors = rng.integers(-2, 3, size=(rows, dim)).astype(np.float32)  # sums are exact, ties are many
    if copies:
        vectors[rows // 2 :] = vectors[: rows - rows // 2]
    queries = rng.integers(-2, 3, size=(3, dim)).astype(np.float32)
    hits = Flat(vectors, metric=metric).search(Reps.single(queries), k)
    scores = exact(vectors, metric)(queries)
    for line, ids in zip(scores, hits.ids, strict=True):
        order = sorted(range(rows), key=lambda row: (-line[row], row))[:k]
        assert ids[: len(order)].tolist() == order
        assert (ids[len(order) :] == -1).all()


def test_equal_vectors_tie_whatever_the_batch_the_block_and_the_threads(monkeypatch):
    rng = np.random.default_rng(0)
    different = rng.normal(size=(40, 101)).astype(np.float32)
    vectors = different[rng.integers(40, size=3000)]
    queries = rng.normal(size=(50, 101)).astype(np.float32)
    found = Flat(vectors).search(Reps.single(queries), 100)
    left, right = found.scores[:, :-1], found.scores[:, 1:]
    groups = [len(set(line.tolist())) for line in found.scores]
    assert max(groups) <= 3  # 75 copies of each vector
    assert ((left > right) | (found.ids[:, :-1] < found.ids[:, 1:])).all()
    for number in (0, 17):
        alone = Flat(vectors, threads=1).search(Reps.single(queries[number : number + 1]), 100)
        assert np.array_equal(alone.ids[0], found.ids[number])
    monkeypatch.setattr(flat, "BLOCK_BYTES", 101 * 4 * 500)
    assert np.array_equal(Flat(vectors, threads=2).search(Reps.single(queries), 100).ids, found.ids)


def test_large_collections_of_queries_are_searched_in_parts(vectors, monkeypatch):
    whole = Flat(vectors).search(Reps.single(vectors), 5)
    monkeypatch.setattr(flat, "QUERY_BLOCK", 33)
    parts = Flat(vectors).search(Reps.single(vectors), 5)
    assert np.array_equal(whole.ids, parts.ids)


def test_memory_maps_of_half_precision_are_searched(vectors, tmp_path):
    np.save(tmp_path / "half.npy", vectors.astype(np.float16))
    mapped = np.load(tmp_path / "half.npy", mmap_mode="r")
    found = Flat(mapped).search(Reps.single(vectors[:9]), 10)
    expected = Flat(vectors.astype(np.float16)).search(Reps.single(vectors[:9]), 10)
    assert np.array_equal(found.ids, expected.ids)


def test_an_empty_index_finds_nothing():
    hits = Flat(np.empty((0, 4), np.float32)).search(Reps.single(np.ones((2, 4), np.float32)), 3)
    assert (hits.ids == -1).all()
    assert np.isneginf(hits.scores).all()


def test_documents_with_nan_are_refused_by_row(vectors):
    broken = vectors.copy()
    broken[17, 3] = np.nan
    with pytest.raises(DataError, match="row 17"):
        Flat(broken)


def test_rows_of_later_blocks_are_named_by_their_own_number(vectors, tmp_path, monkeypatch):
    monkeypatch.setattr(flat, "BLOCK_BYTES", 24 * 4 * 50)
    broken = vectors.copy()
    broken[123, 3] = np.inf
    np.save(tmp_path / "broken.npy", broken)
    with pytest.raises(DataError, match="row 123"):
        Flat(np.load(tmp_path / "broken.npy", mmap_mode="r"))


def test_arguments_that_faiss_would_take_wrongly_are_refused(vectors):
    index = Flat(vectors)
    query = Reps.single(vectors[:2])
    for k in (0, -1, 1.0, "3", None, 10**9):
        with pytest.raises(ConfigError, match="`k`"):
            index.search(query, k)
    assert index.search(query, np.int64(3)).ids.shape == (2, 3)
    for effort in (0, -0.5, 1.5, float("nan"), "all"):
        with pytest.raises(ConfigError, match="effort"):
            index.search(query, 3, effort=effort)
    for bad in (np.full((1, 24), np.nan), np.full((1, 24), np.inf), np.full((1, 24), 1e300)):
        with pytest.raises(DataError, match="NaN or Inf"):
            index.search(Reps.single(bad), 3)
    for shape in ((2, 23), (24,), (1, 2, 24)):
        with pytest.raises(ShapeError):
            index.search(Reps.single(np.zeros(shape, np.float32)), 3)
    with pytest.raises(DataError, match="int64"):
        index.search(Reps.single(np.zeros((1, 24), np.int64)), 3)
    with pytest.raises(DataError, match=r"Reps\.single"):
        index.search(vectors[:2], 3)
    with pytest.raises(ShapeError, match="allowed"):
        index.search(query, 3, allowed=np.ones(400))
    with pytest.raises(ConfigError, match="cosine"):
        Flat(vectors, metric="cosine")
    with pytest.raises(ShapeError, match=r"\[N, d\]"):
        Flat(vectors[0])
    with pytest.raises(ConfigError, match="threads"):
        Flat(vectors, threads=0).search(query, 3)


def test_odd_layouts_of_queries_do_not_matter(vectors):
    index = Flat(vectors)
    expected = index.search(Reps.single(vectors[:8]), 5).ids
    for queries in (np.asfortranarray(vectors[:8]), vectors[:8].astype(np.float64), vectors[7::-1][::-1]):
        assert np.array_equal(index.search(Reps.single(queries), 5).ids, expected)


def test_the_number_of_threads_is_a_matter_of_the_call_alone(vectors):
    before = faiss.omp_get_max_threads()
    Flat(vectors, threads=before + 3).search(Reps.single(vectors[:3]), 3)
    assert faiss.omp_get_max_threads() == before


def test_many_threads_search_one_index(vectors):
    index = Flat(vectors)
    expected = index.search(Reps.single(vectors[:40]), 7)
    results = []
    threads = [
        threading.Thread(target=lambda: results.append(index.search(Reps.single(vectors[:40]), 7)))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(result.ids, expected.ids) for result in results)
    assert len(results) == 6


def test_folders_without_a_readable_index_are_corrupt(vectors, tmp_path):
    with pytest.raises(CorruptArtefact):
        Flat.open(tmp_path)
    Flat(vectors).save(tmp_path)
    (tmp_path / "flat.json").write_text(json.dumps({"kind": 1}))
    with pytest.raises(CorruptArtefact):
        Flat.open(tmp_path)
    (tmp_path / "flat.json").write_text(json.dumps({"metric": "ip"}))
    (tmp_path / "vectors.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(CorruptArtefact):
        Flat.open(tmp_path)


@pytest.mark.parametrize("metric", ["ip", "l2"])
@pytest.mark.parametrize("block_bytes", [2**28, 24 * 4 * 37])
def test_the_fast_candidates_are_those_of_the_settled_search(vectors, metric, block_bytes, monkeypatch):
    monkeypatch.setattr(flat, "BLOCK_BYTES", block_bytes)
    index, queries = Flat(vectors, metric=metric), vectors[:50] + 0.01
    fast, settled = index.nearest(queries, 20), index.search(Reps.single(queries), 20)
    np.testing.assert_allclose(fast.scores, settled.scores, atol=1e-4)  # float32, d = 24
    assert (np.sort(fast.ids, axis=1) == np.sort(settled.ids, axis=1)).mean() > 0.99
