"""Search over sums of codewords is the definition of their score, sorted."""

from __future__ import annotations

import numpy as np
import pytest

from limbeck.errors import CorruptArtefact, ShapeError
from limbeck.index.sums import SumIndex
from limbeck.quantisers.sums import SumQuantiser
from limbeck.types import Reps

GENERATOR = np.random.default_rng(0)
VECTORS = GENERATOR.normal(size=(900, 24)).astype(np.float32)
QUERIES = Reps.single(GENERATOR.normal(size=(11, 24)).astype(np.float32))


@pytest.fixture(scope="module", params=[1, 2], ids="{} slices".format)
def index(request) -> SumIndex:
    quantiser = SumQuantiser(code_bytes=4, slices=request.param).fit(VECTORS, seed=0)
    words = quantiser.parts()["score.codewords"]
    taught = quantiser.with_parts({"score.codewords": words + np.float32(0.01)})
    return SumIndex(taught, quantiser.encode(VECTORS))


def test_hits_are_the_best_by_definition(index):
    scores = index.quantiser.score(QUERIES.flat, index.codes)
    hits = index.search(QUERIES, 20)
    np.testing.assert_allclose(hits.scores, -np.sort(-scores, axis=1)[:, :20], atol=1e-4)
    np.testing.assert_allclose(np.take_along_axis(scores, hits.ids, axis=1), hits.scores, atol=1e-4)


def test_a_query_map_is_a_change_of_the_queries(index, tmp_path):
    learned = np.eye(24, dtype=np.float32) + 0.1 * GENERATOR.normal(size=(24, 24)).astype(np.float32)
    mapped = SumIndex(index.quantiser, index.codes, query_map=learned)
    expected = index.search(Reps.single(QUERIES.flat @ learned.T), 20)
    np.testing.assert_array_equal(mapped.search(QUERIES, 20).ids, expected.ids)
    assert mapped.nbytes == index.nbytes + learned.nbytes
    mapped.save(tmp_path)
    np.testing.assert_array_equal(SumIndex.open(tmp_path).search(QUERIES, 20).ids, expected.ids)
    with pytest.raises(ShapeError, match="query_map"):
        SumIndex(index.quantiser, index.codes, query_map=learned[:3])


def test_rows_that_are_not_allowed_are_left_out(index):
    allowed = np.zeros(len(VECTORS), dtype=bool)
    allowed[::7] = True
    hits = index.search(QUERIES, 10, allowed=allowed)
    scores = np.where(allowed, index.quantiser.score(QUERIES.flat, index.codes), -np.inf)
    np.testing.assert_allclose(hits.scores, -np.sort(-scores, axis=1)[:, :10], atol=1e-4)
    assert allowed[hits.ids].all()


def test_a_saved_index_opens_with_the_same_hits(index, tmp_path):
    index.save(tmp_path)
    opened = SumIndex.open(tmp_path, threads=1)
    for name in ("ids", "scores"):
        found, expected = (getattr(i.search(QUERIES, 15), name) for i in (opened, index))
        np.testing.assert_array_equal(found, expected)
    assert opened.nbytes == index.nbytes
    coder = index.quantiser.parts()["assign.codewords"]
    np.testing.assert_array_equal(opened.quantiser.encode(VECTORS).codes, index.codes.codes)
    assert isinstance(
        opened.quantiser.parts()["assign.codewords"], np.memmap
    )  # on disk until documents are added
    written = sum(path.stat().st_size for path in tmp_path.iterdir())
    assert written == pytest.approx(index.nbytes + coder.nbytes, abs=2000)


@pytest.mark.parametrize("name", ["codes.npy", "coder.npy", "quantiser.safetensors"])
def test_a_damaged_or_missing_file_is_refused(index, name, tmp_path):
    index.save(tmp_path)
    data = bytearray((tmp_path / name).read_bytes())
    data[len(data) // 2 if name.endswith(".npy") else 4] ^= 255
    (tmp_path / name).write_bytes(data)
    with pytest.raises(CorruptArtefact):
        SumIndex.open(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(CorruptArtefact, match="missing"):
        SumIndex.open(tmp_path)
