from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.contracts import Quantiser
from limbeck.errors import ConfigError, DataError, LimbeckError, ShapeError
from limbeck.quantisers import ProductQuantiser, default_lists, unpack
from limbeck.quantisers.engine import finite_floats, kmeans, nearest
from limbeck.testing import check_quantiser, clustered
from limbeck.types import Codes

KINDS = list(product([4, 8], [False, True], [None, 9], ["ip", "l2"]))


@pytest.fixture(scope="module")
def vectors():
    return clustered(600, 16, seed=0)


@pytest.mark.parametrize(("bits", "rotate", "lists", "metric"), KINDS)
def test_every_kind_keeps_the_contract(bits, rotate, lists, metric):
    quantiser = ProductQuantiser(code_bytes=4, bits=bits, rotate=rotate, lists=lists, metric=metric)
    assert isinstance(quantiser, Quantiser)
    check_quantiser(quantiser)


def test_residuals_may_be_left_alone():
    check_quantiser(ProductQuantiser(code_bytes=4, lists=9, by_residual=False))


# Identities of product quantisation


@pytest.mark.parametrize("sub_vectors", [1, 2, 4])
def test_as_many_codewords_as_vectors_lose_nothing(sub_vectors):
    vectors = clustered(256, 8, seed=1)
    quantiser = ProductQuantiser(code_bytes=sub_vectors).fit(vectors, seed=0)
    assert np.allclose(quantiser.decode(quantiser.encode(vectors)), vectors, atol=1e-6)


def test_look_up_tables_add_up_to_the_score(vectors):
    queries = clustered(5, 16, seed=9)
    for bits, metric in product([4, 8], ["ip", "l2"]):
        quantiser = ProductQuantiser(code_bytes=4, bits=bits, metric=metric, rotate=True).fit(vectors, seed=0)
        codes = quantiser.encode(vectors)
        tables, numbers = quantiser.lookup_tables(queries), unpack(codes.codes, bits=bits)
        looked_up = sum(tables[:, m, numbers[:, m]] for m in range(quantiser.sub_vectors))
        assert np.allclose(looked_up, quantiser.score(queries, codes), atol=1e-4)  # float32 against float64


def test_tables_of_residuals_are_for_one_list(vectors):
    quantiser = ProductQuantiser(code_bytes=4, metric="l2", lists=5).fit(vectors, seed=0)
    codes, queries = quantiser.encode(vectors), vectors[:3]
    with pytest.raises(ConfigError, match="give `lists`"):
        quantiser.lookup_tables(queries)
    for number in range(5):
        tables = quantiser.lookup_tables(queries, lists=np.full(3, number))
        rows = np.flatnonzero(codes.lists == number)
        looked_up = sum(tables[:, m, codes.codes[rows, m]] for m in range(4))
        assert np.allclose(looked_up, quantiser.score(queries, codes)[:, rows], atol=1e-4)


def test_distortion_splits_over_the_sub_spaces(vectors):
    quantiser = ProductQuantiser(code_bytes=4).fit(vectors, seed=0)
    errors = np.square(vectors - quantiser.decode(quantiser.encode(vectors)))
    words = quantiser.assign_codewords
    apart = 0.0
    for m in range(4):
        part = vectors[:, 4 * m : 4 * m + 4]
        apart += np.square(part[:, None] - words[m][None]).sum(2).min(1).sum()
    assert errors.sum() == pytest.approx(apart, rel=1e-5)


def test_one_sub_vector_is_plain_k_means(vectors):
    quantiser = ProductQuantiser(code_bytes=1).fit(vectors, seed=3)
    centroids = kmeans(vectors, 256, seed=3)
    assert np.array_equal(quantiser.score_codewords[0], centroids)
    assert np.array_equal(quantiser.encode(vectors).codes[:, 0], nearest(vectors, centroids))


def test_no_rotation_is_the_identity_rotation(vectors):
    plain = ProductQuantiser(code_bytes=4).fit(vectors, seed=0)
    turned = plain.with_parts({"rotation": np.eye(16)})
    assert turned.rotate
    assert np.array_equal(plain.encode(vectors).codes, turned.encode(vectors).codes)


def test_a_rotation_preserves_the_scores_of_rotated_queries(vectors):
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(16, 16)))[0].astype(np.float32)
    plain = ProductQuantiser(code_bytes=4).fit(vectors @ rotation.T, seed=0)
    turned = plain.with_parts({"rotation": rotation})
    codes = turned.encode(vectors)
    assert np.allclose(
        turned.score(vectors[:4], codes), plain.score(vectors[:4] @ rotation.T, codes), atol=1e-4
    )
    assert np.allclose(turned.decode(codes), plain.decode(codes) @ rotation, atol=1e-5)


def test_the_score_of_residual_codes_is_that_of_the_base_plus_that_of_the_residual(vectors):
    quantiser = ProductQuantiser(code_bytes=4, lists=7).fit(vectors, seed=0)
    codes, queries = quantiser.encode(vectors), vectors[:6]
    residual = quantiser.with_parts({"base": np.zeros_like(quantiser.base)})
    expected = queries @ quantiser.base.T[:, codes.lists] + residual.score(queries, codes)
    assert np.allclose(quantiser.score(queries, codes), expected, atol=1e-4)


def test_one_list_at_the_origin_is_no_list(vectors):
    plain = ProductQuantiser(code_bytes=4).fit(vectors, seed=0)
    listed = ProductQuantiser(code_bytes=4).with_parts({**plain.parts(), "base": np.zeros((1, 16))})
    assert listed.lists == 1
    codes = listed.encode(vectors)
    assert np.array_equal(codes.codes, plain.encode(vectors).codes)
    assert np.array_equal(listed.score(vectors[:3], codes), plain.score(vectors[:3], plain.encode(vectors)))


def test_residual_codes_lose_less_than_codes_of_the_vectors(vectors):
    errors = []
    for by_residual in (False, True):
        quantiser = ProductQuantiser(code_bytes=2, bits=4, lists=12, by_residual=by_residual).fit(
            vectors, seed=0
        )
        errors.append(np.square(vectors - quantiser.decode(quantiser.encode(vectors))).sum())
    assert errors[1] < errors[0]


def test_documents_join_the_list_of_the_nearest_base_centroid(vectors):
    for metric in ("ip", "l2"):
        quantiser = ProductQuantiser(code_bytes=4, lists=9, metric=metric, rotate=True).fit(vectors, seed=0)
        distances = np.square(quantiser.rotate_vectors(vectors)[:, None] - quantiser.base[None]).sum(2)
        assert np.array_equal(quantiser.encode(vectors).lists, distances.argmin(1))
        assert np.array_equal(quantiser.nearest_lists(vectors), distances.argmin(1))


# Parts


def test_taught_parts_leave_the_coding_of_later_documents_alone(vectors):
    quantiser = ProductQuantiser(code_bytes=4, lists=9, rotate=True).fit(vectors, seed=0)
    taught = quantiser.with_parts(
        {
            "base": quantiser.base + 0.1,
            "routing": quantiser.routing * 2,
            "score.codewords": quantiser.score_codewords * 1.1,
        }
    )
    before, after = quantiser.encode(vectors), taught.encode(vectors)
    assert np.array_equal(before.codes, after.codes)
    assert np.array_equal(before.lists, after.lists)
    assert set(taught.parts()) == {
        *("rotation", "base", "routing", "assign.base", "assign.codewords", "score.codewords")
    }


def test_with_parts_copies(vectors):
    quantiser = ProductQuantiser(code_bytes=4).fit(vectors, seed=0)
    words = quantiser.score_codewords.copy()
    taught = quantiser.with_parts({"score.codewords": words})
    words[:] = 0
    assert np.array_equal(taught.score_codewords, quantiser.score_codewords)


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        ({"codebook": np.zeros((4, 256, 4))}, "unknown parts"),
        ({"score.codewords": np.zeros((4, 16, 4))}, "score.codewords"),
        ({"score.codewords": np.full((4, 256, 4), np.nan)}, "NaN"),
        ({"rotation": np.eye(8)}, "rotation"),
        ({"base": np.zeros((3, 8))}, "base"),
        ({"base": np.zeros((3, 16)), "routing": np.zeros((2, 16))}, "routing"),
    ],
)
def test_parts_that_do_not_fit_are_refused(vectors, parts, text):
    quantiser = ProductQuantiser(code_bytes=4).fit(vectors, seed=0)
    with pytest.raises(LimbeckError, match=text):
        quantiser.with_parts(parts)


def test_codewords_come_in_two_parts():
    with pytest.raises(ShapeError, match="two parts"):
        ProductQuantiser(code_bytes=4).with_parts({"score.codewords": np.zeros((4, 256, 4))})


# Refusals


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"bits": 6}, "4 or 8"),
        ({"metric": "cosine"}, "normalise"),
        ({"code_bytes": 0}, "at least 1"),
        ({"lists": 0}, "None for no lists"),
    ],
)
def test_settings_that_cannot_work_are_refused(arguments, text):
    with pytest.raises(ConfigError, match=text):
        ProductQuantiser(**arguments)


def test_a_dimension_that_does_not_divide_names_the_nearest_that_do():
    with pytest.raises(ConfigError, match=r"768 % 50 = 18\. Nearest `code_bytes` that do: \[32, 48, 64\]"):
        ProductQuantiser(code_bytes=50).fit(np.zeros((300, 768), np.float32), seed=0)


@pytest.mark.parametrize("rows", [0, 1, 2, 10, 63, 64, 255])
def test_too_few_vectors_are_refused_with_a_way_out(rows):
    with pytest.raises(ConfigError, match=f"(?s)found {rows}.*Hint") as caught:
        ProductQuantiser(code_bytes=4).fit(clustered(255, 16, seed=0)[:rows], seed=0)
    assert ("bits=4" in str(caught.value)) == (rows >= 16)


def test_more_lists_than_vectors_are_refused():
    with pytest.raises(ConfigError, match="lists=16"):
        ProductQuantiser(code_bytes=4, lists=300).fit(clustered(256, 16, seed=0), seed=0)


def test_an_untrained_quantiser_says_what_to_call(vectors):
    quantiser = ProductQuantiser(code_bytes=4)
    assert not quantiser.is_fitted
    for call in (
        lambda: quantiser.encode(vectors),
        lambda: quantiser.decode(Codes(np.zeros((1, 4), np.uint8))),
        lambda: quantiser.rotate_vectors(vectors),
    ):
        with pytest.raises(ConfigError, match=r"quantiser\.fit"):
            call()


def test_codes_of_another_quantiser_are_refused(vectors):
    quantiser = ProductQuantiser(code_bytes=4, lists=9).fit(vectors, seed=0)
    codes = quantiser.encode(vectors)
    for wrong in (
        Codes(codes.codes),
        Codes(codes.codes[:, :3], codes.lists),
        Codes(codes.codes.astype(np.int32), codes.lists),
        Codes(codes.codes, codes.lists[:-1]),
    ):
        with pytest.raises(ShapeError):
            quantiser.decode(wrong)


def test_vectors_of_integers_lists_and_infinities_are_refused():
    for bad in (np.zeros((2, 3), np.int64), [["a", "b"]], np.zeros(3, np.float32), np.full((2, 3), 1e300)):
        with pytest.raises(DataError):
            finite_floats(bad, name="vectors")
    opposite = np.array([[np.inf, -np.inf, 0.0]], np.float32)
    with pytest.raises(DataError, match="row 7 "):
        finite_floats(opposite, name="vectors", first=7)


@pytest.mark.parametrize("dtype", [np.float16, np.float64, ">f4"])
def test_other_floats_and_layouts_give_the_same_codes(vectors, dtype):
    coarse = vectors.astype(np.float16)
    quantiser = ProductQuantiser(code_bytes=4).fit(coarse, seed=0)
    expected = quantiser.encode(coarse.astype(np.float32)).codes
    assert np.array_equal(quantiser.encode(coarse.astype(dtype)).codes, expected)
    assert np.array_equal(quantiser.encode(np.asfortranarray(coarse.astype(dtype))).codes, expected)
    assert np.array_equal(quantiser.encode(coarse[::-1].astype(dtype)).codes, expected[::-1])


def test_memory_maps_are_coded_block_by_block(vectors, tmp_path, monkeypatch):
    np.save(tmp_path / "vectors.npy", vectors)
    mapped = np.load(tmp_path / "vectors.npy", mmap_mode="r")
    quantiser = ProductQuantiser(code_bytes=4, lists=6, rotate=True).fit(vectors, seed=0)
    whole = quantiser.encode(vectors)
    monkeypatch.setattr("limbeck.quantisers.product.BLOCK_ROWS", 70)
    parts = quantiser.encode(mapped)
    assert np.array_equal(whole.codes, parts.codes)
    assert np.array_equal(whole.lists, parts.lists)
    assert np.allclose(quantiser.score(vectors[:3], whole), quantiser.score(vectors[:3], parts), atol=1e-6)


def test_training_draws_a_sample_of_large_collections(vectors, monkeypatch):
    monkeypatch.setattr("limbeck.quantisers.product.SAMPLE_ROWS", 300)
    first, second = (ProductQuantiser(code_bytes=4).fit(vectors, seed=5) for _ in range(2))
    whole = ProductQuantiser(code_bytes=4).fit(vectors[:300], seed=5)
    assert np.array_equal(first.score_codewords, second.score_codewords)
    assert not np.array_equal(first.score_codewords, whole.score_codewords)


@settings(max_examples=25, deadline=None)
@given(
    rows=st.integers(16, 90),
    width=st.integers(1, 5),
    sub_vectors=st.sampled_from([2, 4, 6]),
    lists=st.sampled_from([None, 1, 5]),
    rotate=st.booleans(),
    scale=st.sampled_from([1e-3, 1.0, 1e3]),
    seed=st.integers(0, 20),
)
def test_decoding_and_scoring_agree_at_any_size(rows, width, sub_vectors, lists, rotate, scale, seed):
    vectors = scale * clustered(rows, sub_vectors * width, seed=seed)
    quantiser = ProductQuantiser(code_bytes=sub_vectors // 2, bits=4, lists=lists, rotate=rotate)
    trained = quantiser.fit(vectors, seed=seed)
    codes = trained.encode(vectors)
    decoded = trained.decode(codes).astype(np.float64)
    expected = vectors.astype(np.float64) @ decoded.T
    assert np.allclose(trained.score(vectors, codes), expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize(("documents", "lists"), [(0, 1), (1, 1), (100, 10), (50_000, 224)])
def test_the_default_number_of_lists_is_the_square_root(documents, lists):
    assert default_lists(documents) == lists
