"""Two stages: 4-bit codes in lists choose, codes of what they leave decide."""

import hashlib
import json
import pickle

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from limbeck.errors import ConfigError, CorruptArtefact
from limbeck.evaluate import overlap
from limbeck.index import Flat
from limbeck.index.fast_scan import FastScanIndex
from limbeck.index.opening import kind_of, open_index
from limbeck.index.two_stage import TwoStageIndex
from limbeck.quantisers import ProductQuantiser
from limbeck.testing import clustered
from limbeck.types import Codes, Reps

ROWS, DIM = 1500, 32


@pytest.fixture(scope="module")
def vectors():
    return clustered(ROWS, DIM, seed=0)


@pytest.fixture(scope="module")
def queries():
    return Reps.single(clustered(60, DIM, seed=1))


def parts_of(vectors, *, lists=20, second_bytes=8):
    first = ProductQuantiser(code_bytes=DIM // 8, bits=4, rotate=True, lists=lists).fit(vectors, seed=0)
    codes = first.encode(vectors)
    left = first.rotate_vectors(vectors) - first.decode_rotated(codes)
    second = ProductQuantiser(code_bytes=second_bytes).fit(left, seed=0)
    return first, codes, second, second.encode(left)


def two_stages(vectors, *, factor=4.0, **settings):
    first, codes, second, second_codes = parts_of(vectors, **settings)
    return TwoStageIndex(first, codes, second=second, second_codes=second_codes, factor=factor)


@pytest.fixture(scope="module")
def index(vectors):
    return two_stages(vectors)


def test_a_score_is_the_product_with_the_decoded_vector_but_for_the_rounding_of_the_scan(index, queries):
    found = index.search(queries, 10, effort=1.0)
    decoded = index.decode(np.arange(ROWS)).astype(np.float64)
    truth = queries.flat.astype(np.float64) @ decoded.T
    exact = np.take_along_axis(truth, found.ids, axis=1)
    plain = FastScanIndex(index.first.quantiser, index.first.codes).search(queries, ROWS, effort=1.0)
    first = index.first.quantiser.score(queries.flat, index.first.codes)
    rounding = np.abs(plain.scores - np.take_along_axis(first, plain.ids, axis=1)).max()
    assert np.abs(found.scores - exact).max() <= rounding + 1e-5
    assert rounding < 0.05 * truth.std()


def test_with_all_as_candidates_the_order_is_that_of_first_scores_plus_second_ones(index, queries):
    index = two_stages(index.decode(np.arange(ROWS)).astype(np.float32), factor=ROWS)
    found = index.search(queries, 10, effort=1.0)
    plain = FastScanIndex(index.first.quantiser, index.first.codes).search(queries, ROWS, effort=1.0)
    turned = queries.flat @ index.first.quantiser.rotation.T
    second = turned @ index.second.decode(index.second_codes).T
    sums = plain.scores + np.take_along_axis(second, plain.ids, axis=1)
    best = np.take_along_axis(sums, np.argsort(-sums, axis=1)[:, :10], axis=1)
    np.testing.assert_allclose(found.scores, best, atol=1e-5)


def test_the_second_look_finds_more_of_the_exact_top_and_more_candidates_find_no_less(
    index, vectors, queries
):
    exact = Flat(vectors).search(queries, 10)
    first = FastScanIndex(index.first.quantiser, index.first.codes).search(queries, 10, effort=1.0)
    kept = [overlap(first, exact, k=10).mean()]
    for factor in (1.0, 2.0, 8.0):
        index.factor = factor
        kept.append(overlap(index.search(queries, 10, effort=1.0), exact, k=10).mean())
    index.factor = 4.0
    assert kept == sorted(kept)
    assert kept[-1] > kept[0] + 0.1


def test_one_query_at_a_time_finds_what_a_batch_finds(index, queries):
    batch = index.search(queries, 10, effort=0.3)
    for row, query in enumerate(queries.flat):
        alone = index.search(Reps.single(query[None]), 10, effort=0.3)
        np.testing.assert_array_equal(alone.ids[0], batch.ids[row])
        np.testing.assert_allclose(alone.scores[0], batch.scores[row], atol=1e-5)


def test_only_allowed_rows_are_found_and_as_many_as_there_are(index, queries):
    allowed = np.zeros(ROWS, dtype=bool)
    allowed[::300] = True
    found = index.search(queries, 10, effort=1.0, allowed=allowed)
    assert set(found.ids.ravel().tolist()) == {-1, *range(0, ROWS, 300)}
    assert (np.sort(found.ids, axis=1)[:, -5:] >= 0).all()
    assert np.isneginf(found.scores[found.ids < 0]).all()


def test_it_is_saved_and_opened_by_kind(index, queries, tmp_path):
    index.save(tmp_path)
    assert kind_of(index) == "stages"
    opened = open_index(tmp_path, kind="stages")
    before, after = (one.search(queries, 10) for one in (index, opened))
    np.testing.assert_array_equal(after.ids, before.ids)
    np.testing.assert_array_equal(after.scores, before.scores)
    assert opened.factor == index.factor
    assert opened.nbytes == index.nbytes


def test_damaged_second_codes_are_refused(index, tmp_path):
    index.save(tmp_path)
    codes = np.load(tmp_path / "second.npy")
    codes[7, 3] ^= 1
    np.save(tmp_path / "second.npy", codes)
    with pytest.raises(CorruptArtefact, match="checksum"):
        TwoStageIndex.open(tmp_path)
    (tmp_path / "second.npy").unlink()
    with pytest.raises(CorruptArtefact, match="missing"):
        TwoStageIndex.open(tmp_path)


def test_parts_that_do_not_fit_together_are_refused(vectors):
    first, codes, second, second_codes = parts_of(vectors)
    with pytest.raises(ConfigError, match="must be equal"):
        TwoStageIndex(first, codes, second=second, second_codes=Codes(second_codes.codes[:-1]))
    with pytest.raises(ConfigError, match="factor"):
        TwoStageIndex(first, codes, second=second, second_codes=second_codes, factor=0.5)
    plain = ProductQuantiser(code_bytes=DIM // 8, bits=4).fit(vectors, seed=0)
    with pytest.raises(ConfigError, match="in lists"):
        TwoStageIndex(plain, plain.encode(vectors), second=second, second_codes=second_codes)


def test_every_byte_is_counted(index, tmp_path):
    index.save(tmp_path)
    ids = 8 * ROWS
    kept = sum(
        (tmp_path / name).stat().st_size
        for name in ("index.faiss", "quantiser.safetensors", "second.npy", "second.safetensors")
    )
    assert (
        ROWS * index.code_bytes + ids < index.nbytes < kept
    )  # files hold codewords twice: once for plain faiss


def test_codes_of_another_save_are_refused(index, vectors, tmp_path):
    index.save(tmp_path / "one")
    two_stages(vectors[::-1].copy()).save(tmp_path / "other")
    for name in ("second.npy", "second.safetensors"):
        (tmp_path / "one" / name).write_bytes((tmp_path / "other" / name).read_bytes())
    with pytest.raises(CorruptArtefact, match="another save"):
        TwoStageIndex.open(tmp_path / "one")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", pickle.dumps([1]), "objects"])
def test_second_codes_that_are_no_plain_array_are_refused_even_where_the_hash_is_theirs(
    index, tmp_path, content
):
    index.save(tmp_path)
    if content == "objects":
        np.save(tmp_path / "second.npy", np.array([[print]], dtype=object), allow_pickle=True)
    else:
        (tmp_path / "second.npy").write_bytes(content)
    digest = hashlib.sha256((tmp_path / "second.npy").read_bytes()).hexdigest()
    redescribed(tmp_path, second_sha256=digest)
    with pytest.raises(CorruptArtefact, match="no plain array"):
        TwoStageIndex.open(tmp_path)


@pytest.mark.parametrize("factor", [0, "4", None, float("inf")])
def test_a_factor_that_cannot_be_is_a_corrupt_artefact(index, tmp_path, factor):
    index.save(tmp_path)
    redescribed(tmp_path, factor=factor)
    with pytest.raises(CorruptArtefact, match="factor"):
        TwoStageIndex.open(tmp_path)


def redescribed(folder, **changes):
    """The header of the second codebook with other values."""
    path = folder / "second.safetensors"
    with safe_open(path, framework="numpy") as stored:
        described = json.loads(stored.metadata()["limbeck"])
    arrays = load_file(path)
    save_file(arrays, path, metadata={"limbeck": json.dumps({**described, **changes})})
