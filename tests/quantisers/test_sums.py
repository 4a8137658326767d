"""Sums of codewords: their exact identities, between residual and product quantisation."""

from __future__ import annotations

import numpy as np
import pytest

from limbeck.errors import ConfigError, DataError, ShapeError
from limbeck.quantisers import sums
from limbeck.quantisers.product import ProductQuantiser
from limbeck.quantisers.sums import MOST_TABLE_BYTES, SumQuantiser, usual_shape
from limbeck.types import Codes

GENERATOR = np.random.default_rng(0)
VECTORS = (GENERATOR.normal(size=(1200, 24)) / (1 + np.arange(24))).astype(np.float32)
QUERIES = GENERATOR.normal(size=(9, 24)).astype(np.float32)


@pytest.fixture(scope="module", params=[1, 2, 4], ids="{} slices".format)
def fitted(request) -> SumQuantiser:
    return SumQuantiser(code_bytes=4, slices=request.param).fit(VECTORS, seed=0)


def error(quantiser: SumQuantiser | ProductQuantiser, codes: Codes) -> float:
    return float(np.square(VECTORS - quantiser.decode(codes)).sum(axis=1).mean())


def test_a_decoded_document_is_the_sum_of_its_codewords_in_each_slice(fitted):
    codes = fitted.encode(VECTORS[:5])
    parts = fitted.parts()
    each = fitted.code_bytes // fitted.cut
    for row in range(5):
        slices = [
            sum(parts["score.codewords"][m][codes.codes[row, m]] for m in range(s * each, (s + 1) * each))
            for s in range(fitted.cut)
        ]
        turned = np.concatenate(slices)
        expected = turned if fitted.rotation is None else turned @ fitted.rotation
        np.testing.assert_allclose(fitted.decode(codes)[row], expected, atol=1e-5)


@pytest.mark.parametrize("form", ["floats", "bytes"])
def test_sums_of_table_entries_are_the_scores_of_the_definition(fitted, form):
    quantiser = fitted.rounded() if form == "bytes" else fitted
    codes = quantiser.encode(VECTORS)
    tables = quantiser.tables(quantiser.rotate_vectors(QUERIES))
    added = sum(tables[:, part][:, codes.codes[:, part]] for part in range(quantiser.code_bytes))
    np.testing.assert_allclose(added, quantiser.score(QUERIES, codes), atol=1e-4)


def test_codewords_rounded_to_bytes_are_a_quarter_of_the_size_and_within_half_a_step(fitted):
    small = fitted.rounded()
    words, scales = small.parts()["score.codewords"], small.parts()["score.scales"]
    assert words.dtype == np.int8
    assert words.nbytes * 4 == fitted.parts()["score.codewords"].nbytes
    off = np.abs(small.scoring_codewords() - fitted.scoring_codewords())
    assert (off <= scales[:, None] * 0.5001).all()
    codes = fitted.encode(VECTORS)
    added = error(small, codes) - error(fitted, codes)
    assert added < 1.5 * float(np.square(scales).sum() / 12)  # uniform noise of a step's width


def test_rounded_codewords_stay_what_they_are_when_they_are_rounded_again(fitted):
    small = fitted.rounded()
    assert small.rounded() is small
    again = fitted.with_parts({"score.codewords": small.scoring_codewords()}).rounded()
    np.testing.assert_array_equal(again.parts()["score.codewords"], small.parts()["score.codewords"])
    opened = fitted.with_parts(small.parts())
    np.testing.assert_array_equal(opened.decode(fitted.encode(VECTORS)), small.decode(fitted.encode(VECTORS)))


def test_bytes_without_scales_and_scales_without_bytes_are_refused(fitted):
    small = fitted.rounded().parts()
    with pytest.raises(ShapeError, match="belong to"):
        fitted.with_parts({"score.codewords": small["score.codewords"]})
    with pytest.raises(ShapeError, match="belong to"):
        fitted.with_parts({"score.scales": small["score.scales"]})
    with pytest.raises(ShapeError, match=r"score\.scales"):
        fitted.with_parts({**small, "score.scales": small["score.scales"][:, :5]})


def test_refitting_in_blocks_comes_near_to_solving_all_parts_at_once(monkeypatch):
    quantiser = SumQuantiser(code_bytes=6, slices=1).fit(VECTORS, seed=0)
    codes = quantiser.encode(VECTORS)
    at_once = error(quantiser, codes)
    monkeypatch.setattr(sums, "SOLVED_PARTS", 2)
    words = sums.refitted(VECTORS, codes.codes, quantiser.parts()["assign.codewords"].astype(np.float32))
    in_blocks = error(quantiser.with_parts({"score.codewords": words}), codes)
    start = error(quantiser.with_parts({"score.codewords": quantiser.parts()["assign.codewords"]}), codes)
    assert at_once <= in_blocks < at_once + 0.1 * (start - at_once)


def test_each_part_and_fewer_slices_lower_the_error():
    by_bytes = []
    for size in (1, 2, 4):
        quantiser = SumQuantiser(code_bytes=size, slices=1).fit(VECTORS, seed=0)
        by_bytes.append(error(quantiser, quantiser.encode(VECTORS)))
    assert by_bytes[0] > by_bytes[1] > by_bytes[2]
    product = ProductQuantiser(code_bytes=4, rotate=True).fit(VECTORS, seed=0)
    assert by_bytes[2] < error(product, product.encode(VECTORS))


def test_as_many_slices_as_parts_choose_the_nearest_codeword_in_each_as_product_codes_do():
    quantiser = SumQuantiser(code_bytes=4, slices=4).fit(VECTORS, seed=0)
    words = quantiser.parts()["assign.codewords"].astype(np.float32)
    rotation = quantiser.parts()["rotation"]
    product = ProductQuantiser(code_bytes=4).with_parts(
        {"assign.codewords": words, "score.codewords": words, "rotation": rotation}
    )
    np.testing.assert_array_equal(quantiser.encode(VECTORS).codes, product.encode(VECTORS).codes)


def test_the_beam_search_is_no_worse_than_choosing_one_part_after_the_other(fitted):
    codes = fitted.encode(VECTORS)
    turned = fitted.rotate_vectors(VECTORS)
    words = fitted.parts()["assign.codewords"].astype(np.float32)
    fitted = fitted.with_parts({"score.codewords": words})
    each = fitted.code_bytes // fitted.cut
    greedy = np.empty_like(codes.codes)
    for s, residual in enumerate(np.split(turned.copy(), fitted.cut, axis=1)):
        for m in range(s * each, (s + 1) * each):
            greedy[:, m] = np.square(residual[:, None] - words[m][None]).sum(-1).argmin(1)
            residual -= words[m][greedy[:, m]]
    assert error(fitted, codes) <= error(fitted, Codes(greedy)) + 1e-6


def test_codewords_that_score_move_without_making_codes_stale(fitted):
    codes = fitted.encode(VECTORS)
    taught = fitted.with_parts({"score.codewords": fitted.parts()["score.codewords"] * 2})
    np.testing.assert_array_equal(taught.encode(VECTORS).codes, codes.codes)
    np.testing.assert_allclose(taught.decode(codes), 2 * fitted.decode(codes), atol=1e-5)


def test_codewords_that_score_are_the_least_squares_fit_to_the_codes(fitted):
    codes = fitted.encode(VECTORS)
    words = fitted.parts()["score.codewords"]
    best = error(fitted, codes)
    assert best < error(fitted.with_parts({"score.codewords": fitted.parts()["assign.codewords"]}), codes)
    for seed in range(3):
        noise = np.random.default_rng(seed).normal(size=words.shape).astype(np.float32)
        moved = fitted.with_parts({"score.codewords": words + 0.02 * words.std() * noise})
        assert best < error(moved, codes)


def test_codewords_that_assign_are_kept_exactly_in_half_precision(fitted):
    words = fitted.parts()["assign.codewords"]
    assert words.dtype == np.float16
    again = fitted.with_parts({"assign.codewords": words.astype(np.float32)})
    np.testing.assert_array_equal(again.encode(VECTORS).codes, fitted.encode(VECTORS).codes)


def test_axes_that_are_kept_are_the_principal_ones():
    quantiser = SumQuantiser(code_bytes=4, slices=2, axes=8).fit(VECTORS, seed=0)
    rotation = quantiser.parts()["rotation"]
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(8), atol=1e-5)
    kept = np.square(VECTORS @ rotation.T).sum()
    eigenvalues = np.linalg.eigvalsh(VECTORS.T.astype(np.float64) @ VECTORS)
    np.testing.assert_allclose(kept, eigenvalues[-8:].sum(), rtol=0.01)
    halves = np.square(VECTORS @ rotation.T).mean(axis=0).reshape(2, 4)
    assert abs(np.diff(np.log(halves).sum(axis=1))) < np.log(4)


def test_the_usual_shape_stays_within_its_limit_and_keeps_most_axes():
    assert [usual_shape(size, 384) for size in (8, 16, 20, 32, 64)] == [
        (1, 384), (1, 384), (1, 384), (1, 384), (1, 384)
    ]  # fmt: skip
    for size in range(1, 97):
        for dim in (96, 384, 768, 1024):
            slices, axes = usual_shape(size, dim)
            assert size % slices == 0
            assert axes % slices == 0
            rotation = 0 if (slices, axes) == (1, dim) else axes * dim
            assert size * (256 + 4) * axes // slices + 4 * rotation <= MOST_TABLE_BYTES
            assert axes >= 0.58 * dim or size * dim > 64 * 384


def test_settings_that_cannot_work_are_refused():
    with pytest.raises(ConfigError, match="inner product"):
        SumQuantiser(metric="l2")
    with pytest.raises(ConfigError, match="3 slices for 16 bytes"):
        SumQuantiser(code_bytes=16, slices=3)
    with pytest.raises(ConfigError, match="a multiple of `slices`"):
        SumQuantiser(code_bytes=16, slices=16).fit(VECTORS, seed=0)
    with pytest.raises(ConfigError, match="256 vectors"):
        SumQuantiser().fit(VECTORS[:200], seed=0)
    with pytest.raises(ConfigError, match="fit"):
        SumQuantiser().encode(VECTORS)


def test_arrays_that_do_not_fit_together_are_refused(fitted):
    words = fitted.parts()["score.codewords"]
    with pytest.raises(ShapeError, match=r"score\.codewords"):
        fitted.with_parts({"score.codewords": words[:, :, :2]})
    with pytest.raises(DataError, match="NaN"):
        fitted.with_parts({"score.codewords": np.full_like(words, np.nan)})
    with pytest.raises(ConfigError, match="unknown parts"):
        fitted.with_parts({"base": words})
    with pytest.raises(ShapeError, match=r"\[N, 4\]"):
        fitted.decode(Codes(np.zeros((3, 5), dtype=np.uint8)))
