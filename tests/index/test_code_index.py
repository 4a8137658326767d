import json
import logging
from itertools import product

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.contracts import Index
from limbeck.errors import CorruptArtefact, DataError, ShapeError
from limbeck.index import CodeIndex, compressed
from limbeck.index.compressed import probed_lists
from limbeck.quantisers import ProductQuantiser
from limbeck.testing import check_index, clustered
from limbeck.types import Reps

KINDS = list(product([4, 8], [False, True], [None, 9], ["ip", "l2"]))


@pytest.fixture(scope="module")
def vectors():
    return clustered(600, 16, seed=0)


def built(vectors, **settings):
    quantiser = ProductQuantiser(**{"code_bytes": 4, **settings}).fit(vectors, seed=0)
    return quantiser, quantiser.encode(vectors)


@pytest.mark.parametrize(("bits", "rotate", "lists", "metric"), KINDS)
def test_every_kind_keeps_the_contract(vectors, bits, rotate, lists, metric, tmp_path):
    quantiser, codes = built(vectors, bits=bits, rotate=rotate, lists=lists, metric=metric)
    index = CodeIndex(quantiser, codes)
    assert isinstance(index, Index)
    check_index(
        index, lambda queries: quantiser.score(queries, codes), reopen=CodeIndex.open, folder=tmp_path
    )


@pytest.mark.parametrize("metric", ["ip", "l2"])
@pytest.mark.parametrize("by_residual", [False, True])
def test_taught_parts_with_routing_of_their_own_are_kept(vectors, metric, by_residual, tmp_path):
    quantiser, codes = built(vectors, lists=9, rotate=True, metric=metric, by_residual=by_residual)
    rng = np.random.default_rng(0)
    taught = quantiser.with_parts(
        {
            "base": quantiser.base * rng.uniform(0.8, 1.2, quantiser.base.shape),
            "routing": quantiser.routing + rng.normal(size=quantiser.routing.shape),
            "score.codewords": quantiser.score_codewords * 1.1,
        }
    )
    index = CodeIndex(taught, codes)
    check_index(index, lambda queries: taught.score(queries, codes), reopen=CodeIndex.open, folder=tmp_path)
    opened = CodeIndex.open(tmp_path)
    for name, part in taught.parts().items():
        assert np.array_equal(opened.quantiser.parts()[name], part)
    assert np.array_equal(opened.codes.codes, codes.codes)
    assert np.array_equal(opened.codes.lists, codes.lists)
    assert opened.nbytes == index.nbytes


@pytest.mark.parametrize("metric", ["ip", "l2"])
def test_lists_are_chosen_by_routing_and_scored_by_base(vectors, metric):
    quantiser, codes = built(vectors, lists=9, metric=metric)
    routing = np.random.default_rng(1).normal(size=quantiser.base.shape).astype(np.float32)
    index = CodeIndex(quantiser.with_parts({"routing": routing}), codes)
    queries = clustered(20, 16, seed=5)
    hits = index.search(Reps.single(queries), 600, effort=2 / 9)
    near = queries @ routing.T if metric == "ip" else -np.square(queries[:, None] - routing[None]).sum(2)
    scores = quantiser.score(queries, codes)
    for number in range(20):
        visited = np.argsort(-near[number])[:2]
        members = np.flatnonzero(np.isin(codes.lists, visited))
        found = hits.ids[number][hits.ids[number] >= 0]
        assert sorted(found.tolist()) == members.tolist()
        assert np.allclose(hits.scores[number, : len(found)], scores[number, found], rtol=0, atol=1e-4)


@pytest.mark.parametrize("rotate", [False, True])
@pytest.mark.parametrize("lists", [None, 9])
def test_queries_pass_the_learned_map_before_the_rotation(vectors, rotate, lists, tmp_path, caplog):
    quantiser, codes = built(vectors, rotate=rotate, lists=lists)
    query_map = np.eye(16) + 0.3 * np.random.default_rng(2).normal(size=(16, 16))
    index = CodeIndex(quantiser, codes, query_map=query_map)

    def mapped_scores(queries):
        return quantiser.score(queries @ index.query_map.T, codes)

    with caplog.at_level(logging.WARNING):
        check_index(index, mapped_scores, reopen=CodeIndex.open, folder=tmp_path)
    assert not caplog.records
    assert np.array_equal(CodeIndex.open(tmp_path).query_map, index.query_map)
    queries = clustered(5, 16, seed=5)
    plain = index.to_faiss()
    options = None
    if lists:
        options = faiss.SearchParametersIVF(nprobe=9)
        options = faiss.SearchParametersPreTransform(index_params=options)
    distances, _ = plain.search(queries, 10, params=options)
    assert np.allclose(distances, index.search(Reps.single(queries), 10, effort=1).scores, atol=1e-4)


@pytest.mark.parametrize("shape", [(16, 15), (8, 8), (16,)])
def test_a_query_map_of_another_shape_is_refused(vectors, shape):
    with pytest.raises(ShapeError, match="query_map"):
        CodeIndex(*built(vectors), query_map=np.zeros(shape, np.float32))
    with pytest.raises(DataError, match="NaN"):
        CodeIndex(*built(vectors), query_map=np.full((16, 16), np.nan))


def test_equal_codes_come_by_row(vectors):
    few = vectors[:5][np.random.default_rng(0).integers(5, size=900)]
    for lists in (None, 3):
        quantiser = ProductQuantiser(code_bytes=4, lists=lists).fit(vectors, seed=0)
        index = CodeIndex(quantiser, quantiser.encode(few))
        hits = index.search(Reps.single(vectors[:20]), 50, effort=1)
        scores = quantiser.score(vectors[:20], quantiser.encode(few))
        for line, ids in zip(scores, hits.ids, strict=True):
            best = np.flatnonzero(line == line.max())
            assert ids[: min(50, len(best))].tolist() == best[:50].tolist()


def test_more_effort_never_lowers_what_is_found(vectors):
    quantiser, codes = built(vectors, lists=20)
    index = CodeIndex(quantiser, codes)
    queries = Reps.single(clustered(30, 16, seed=8))
    scores = [index.search(queries, 10, effort=effort).scores.sum() for effort in (0.05, 0.2, 0.5, 1.0)]
    assert scores == sorted(scores)
    assert index.default_effort == 0.4
    assert CodeIndex(*built(vectors)).default_effort == 1.0
    assert CodeIndex(*built(vectors, lists=4)).default_effort == 1.0


@pytest.mark.parametrize(
    ("effort", "lists", "visited"),
    [(1e-9, 10, 1), (0.1, 10, 1), (0.11, 10, 2), (0.3, 10, 3), (1.0, 10, 10), (0.5, 1, 1)],
)
def test_effort_is_the_share_of_lists_rounded_up(effort, lists, visited):
    assert probed_lists(effort, lists) == visited


@settings(max_examples=20, deadline=None)
@given(share=st.floats(0, 1), lists=st.sampled_from([None, 6]), k=st.integers(1, 40), seed=st.integers(0, 99))
def test_filters_are_exact(share, lists, k, seed):
    vectors = clustered(300, 8, seed=1)
    quantiser, codes = built(vectors, lists=lists, bits=4)
    allowed = np.random.default_rng(seed).random(300) < share
    hits = CodeIndex(quantiser, codes).search(Reps.single(vectors[:4]), k, effort=1, allowed=allowed)
    found = hits.ids[hits.ids >= 0]
    assert allowed[found].all()
    assert (np.sum(hits.ids >= 0, axis=1) == min(k, allowed.sum())).all()
    scores = np.where(allowed, quantiser.score(vectors[:4], codes), -np.inf)
    best = -np.sort(-scores, axis=1)[:, :k]
    assert np.allclose(best, hits.scores[:, : best.shape[1]], rtol=0, atol=1e-4)


def test_bytes_count_codes_ids_and_every_learned_array(vectors):
    plain, codes = built(vectors)
    words = 4 * 256 * 4 * 4
    assert CodeIndex(plain, codes).nbytes == 600 * 4 + words
    listed, codes = built(vectors, lists=9, rotate=True)
    with_lists = 600 * (4 + 8) + words + 4 * 16 * 16 + 4 * 9 * 16
    assert CodeIndex(listed, codes).nbytes == with_lists
    taught = listed.with_parts({"score.codewords": listed.score_codewords + 1, "routing": listed.routing + 1})
    assert CodeIndex(taught, codes).nbytes == with_lists + words + 4 * 9 * 16
    mapped = CodeIndex(listed, codes, query_map=np.eye(16))
    assert mapped.nbytes == with_lists + 4 * 16 * 16


def test_many_queries_are_searched_in_parts(vectors, monkeypatch):
    index = CodeIndex(*built(vectors, lists=9), threads=1)
    whole = index.search(Reps.single(vectors), 5)
    monkeypatch.setattr(compressed, "QUERY_BLOCK", 77)
    parts = index.search(Reps.single(vectors), 5)
    assert np.array_equal(whole.ids, parts.ids)


def test_an_index_of_one_or_no_document_works(vectors):
    for lists, rows in product([None, 5], [0, 1]):
        quantiser, _ = built(vectors, lists=lists)
        index = CodeIndex(quantiser, quantiser.encode(vectors[:rows]))
        hits = index.search(Reps.single(vectors[:2]), 3, effort=1)
        assert hits.ids.tolist() == [[0 if rows else -1, -1, -1]] * 2


def test_saving_again_replaces_and_foreign_files_are_refused(vectors, tmp_path):
    first, second = CodeIndex(*built(vectors)), CodeIndex(*built(vectors[:300]))
    first.save(tmp_path)
    faiss_file, parts_file = tmp_path / "index.faiss", tmp_path / "quantiser.safetensors"
    old = faiss_file.read_bytes()
    second.save(tmp_path)
    assert len(CodeIndex.open(tmp_path)) == 300
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index.faiss", "quantiser.safetensors"]
    faiss_file.write_bytes(old)
    with pytest.raises(CorruptArtefact, match="checksum"):
        CodeIndex.open(tmp_path)
    parts_file.unlink()
    with pytest.raises(CorruptArtefact, match="missing"):
        CodeIndex.open(tmp_path)


def test_parts_of_another_index_are_refused_even_with_the_right_hash(vectors, tmp_path):
    from safetensors.numpy import load, save

    CodeIndex(*built(vectors)).save(tmp_path)
    path = tmp_path / "quantiser.safetensors"
    raw = path.read_bytes()
    described = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])["__metadata__"]
    parts = load(raw)
    moved = {**parts, "score.codewords": parts["score.codewords"] + 1}
    path.write_bytes(save(moved, metadata=described))
    with pytest.raises(CorruptArtefact, match="different codewords"):
        CodeIndex.open(tmp_path)
    for damaged in (raw[:50], save(parts), save({"rotation": parts["score.codewords"]}, metadata=described)):
        path.write_bytes(damaged)
        with pytest.raises(CorruptArtefact, match="cannot be read"):
            CodeIndex.open(tmp_path)


def test_saved_files_open_in_plain_faiss(vectors, tmp_path):
    index = CodeIndex(*built(vectors, rotate=True))
    index.save(tmp_path)
    distances, ids = faiss.read_index(str(tmp_path / "index.faiss")).search(vectors[:5], 10)
    hits = index.search(Reps.single(vectors[:5]), 10)
    assert np.allclose(distances, hits.scores, atol=1e-4)
    assert (ids == hits.ids).mean() > 0.9  # equal scores may come in another order


def test_equal_indexes_are_saved_in_equal_bytes(vectors, tmp_path):
    for name in ("one", "other"):
        CodeIndex(*built(vectors, lists=4, rotate=True)).save(tmp_path / name)
    for file in ("index.faiss", "quantiser.safetensors"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "other" / file).read_bytes()
