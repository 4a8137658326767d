"""Sums of codewords: their exact identities, between residual and product quantisation."""

from __future__ import annotations

import numpy as np
import pytest

from limbeck.errors import ConfigError, DataError, ShapeError
from limbeck.quantisers.product import ProductQuantiser
from limbeck.quantisers.sums import MOST_TABLE_BYTES, SumQuantiser, fewest_slices
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


def test_the_product_form_scores_repeated_queries_as_the_definition_does(fitted):
    codes = fitted.encode(VECTORS)
    product = fitted.as_product()
    repeated = fitted.repeat(fitted.rotate_vectors(QUERIES))
    np.testing.assert_allclose(product.score(repeated, codes), fitted.score(QUERIES, codes), atol=1e-4)
    assert product.parts()["score.codewords"].nbytes == fitted.parts()["score.codewords"].nbytes


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
    parts = {name: quantiser.parts()[name] for name in ("assign.codewords", "score.codewords", "rotation")}
    product = ProductQuantiser(code_bytes=4).with_parts(parts)
    np.testing.assert_array_equal(quantiser.encode(VECTORS).codes, product.encode(VECTORS).codes)


def test_the_beam_search_is_no_worse_than_choosing_one_part_after_the_other(fitted):
    codes = fitted.encode(VECTORS)
    turned = fitted.rotate_vectors(VECTORS)
    words = fitted.parts()["assign.codewords"]
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


def test_slices_are_chosen_so_that_tables_stay_within_their_limit():
    assert [fewest_slices(size, 384) for size in (8, 16, 32, 64)] == [1, 1, 2, 4]
    for size in (8, 16, 32, 64, 96):
        for dim in (384, 768, 1024):
            slices = fewest_slices(size, dim)
            assert dim % slices == 0
            assert size % slices == 0
            assert 4 * size * 256 * dim // slices <= MOST_TABLE_BYTES


def test_settings_that_cannot_work_are_refused():
    with pytest.raises(ConfigError, match="inner product"):
        SumQuantiser(metric="l2")
    with pytest.raises(ConfigError, match="3 slices for 16 bytes"):
        SumQuantiser(code_bytes=16, slices=3)
    with pytest.raises(ConfigError, match="divide the dimension"):
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
