"""Anisotropic codes: plain k-means where all errors weigh alike, and else the minimum that they claim to be."""

from __future__ import annotations

from itertools import pairwise, product

import numpy as np
import pytest

from limbeck.errors import ConfigError, DataError
from limbeck.quantisers import anisotropic
from limbeck.quantisers.anisotropic import (
    Targets,
    assign,
    encode_anisotropic,
    fit_anisotropic,
    fitted_codewords,
    loss,
    numbers_of,
    parallel_weight,
    targets_of,
)
from limbeck.quantisers.product import ProductQuantiser

GENERATOR = np.random.default_rng(0)
VECTORS = GENERATOR.normal(size=(900, 16)).astype(np.float32)
VECTORS /= np.linalg.norm(VECTORS, axis=1, keepdims=True)
EVEN = 1 / np.sqrt(16)  # the threshold at which both errors weigh alike


def fitted(**settings) -> ProductQuantiser:
    return ProductQuantiser(**{"code_bytes": 4, "bits": 4, **settings}).fit(VECTORS, seed=0)


def loss_by_hand(vectors: np.ndarray, decoded: np.ndarray, weight: float) -> np.ndarray:
    found = []
    for x, y in zip(vectors.astype(np.float64), decoded.astype(np.float64), strict=True):
        direction = x / np.linalg.norm(x)
        parallel = (x - y) @ direction * direction
        across = (x - y) - parallel
        found.append(weight * parallel @ parallel + across @ across)
    return np.array(found)


@pytest.mark.parametrize("settings", [{}, {"rotate": True}, {"lists": 5}, {"bits": 8}], ids=str)
@pytest.mark.parametrize("threshold", [None, EVEN])
def test_equal_weights_give_the_codes_of_plain_k_means(settings, threshold):
    quantiser = fitted(**settings)
    codes = encode_anisotropic(quantiser, VECTORS, threshold=threshold)
    plain = quantiser.encode(VECTORS)
    # 1e-7 off weight 1, and sums in another order: ties may fall either way
    assert (codes.codes == plain.codes).all(axis=1).mean() > 0.99
    if threshold is None and settings != {"lists": 5}:
        distances, exact = (np.square(VECTORS - quantiser.decode(c)).sum(axis=1) for c in (codes, plain))
        np.testing.assert_allclose(distances, exact, atol=1e-6)
    if plain.lists is not None:
        assert np.array_equal(codes.lists, plain.lists)


def test_equal_weights_make_each_codeword_the_mean_of_its_members():
    quantiser = fitted()
    targets, _ = targets_of(quantiser, VECTORS, threshold=None)
    words = quantiser.parts()["assign.codewords"]
    numbers = assign(targets, words)
    moved = fitted_codewords(targets, numbers, words)
    width = words.shape[2]
    for m in range(len(words)):
        for k in set(numbers[:, m].tolist()):
            members = VECTORS[numbers[:, m] == k, m * width : (m + 1) * width]
            np.testing.assert_allclose(moved[m, k], members.mean(axis=0), atol=1e-5)


def test_the_loss_is_the_weighted_sum_of_parallel_and_perpendicular_error():
    quantiser = fitted(rotate=True)
    targets, _ = targets_of(quantiser, VECTORS, threshold=0.4)
    numbers = assign(targets, quantiser.parts()["assign.codewords"])
    weight = float(parallel_weight(0.4, np.ones(1, dtype=np.float32), 16)[0])
    words = quantiser.parts()["assign.codewords"]
    decoded = words[np.arange(len(words)), numbers].reshape(len(numbers), -1)
    found = loss(targets, numbers, words)
    np.testing.assert_allclose(found, loss_by_hand(targets.vectors, decoded, weight), rtol=1e-4)


def test_the_weight_follows_from_the_threshold():
    one = np.ones(1, dtype=np.float32)
    assert parallel_weight(0.2, one, 100)[0] == pytest.approx(0.04 * 99 / 0.96)
    assert parallel_weight(0.1, one, 100)[0] == pytest.approx(1.0)  # T² = 1/d
    # ComputeParallelCostMultiplier: t² over (1 - t²)/(d - 1), with t relative to the length
    assert parallel_weight(0.6, 3 * one, 50)[0] == pytest.approx(parallel_weight(0.2, one, 50)[0], rel=1e-5)


def small(seed: int, *, excess: float) -> tuple[Targets, np.ndarray]:
    generator = np.random.default_rng(seed)
    vectors = generator.normal(size=(40, 4)).astype(np.float32)
    directions = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    words = generator.normal(size=(2, 4, 2)).astype(np.float32)
    return Targets(vectors, directions, np.full(40, excess, dtype=np.float32)), words


def test_no_change_of_a_single_part_lowers_a_documents_loss():
    targets, words = small(0, excess=5.0)
    numbers = assign(targets, words)
    found = loss(targets, numbers, words)
    for m, k in product(range(2), range(4)):
        other = numbers.copy()
        other[:, m] = k
        assert (loss(targets, other, words) >= found - 1e-5).all()


def test_the_assignment_is_mostly_the_best_of_all():
    targets, words = small(1, excess=5.0)
    every = np.stack([loss(targets, np.tile(pair, (40, 1)), words) for pair in product(range(4), repeat=2)])
    found = loss(targets, assign(targets, words), words)
    assert (found <= every.min(axis=0) + 1e-5).mean() > 0.8
    nearest = assign(Targets(targets.vectors, targets.directions, np.zeros(40, np.float32)), words)
    assert (found <= loss(targets, nearest, words) + 1e-5).all()


def test_codewords_in_closed_form_are_a_minimum():
    targets, words = small(2, excess=3.0)
    numbers = assign(targets, words)
    moved = words
    for _ in range(200):  # part by part, until they settle on the joint minimum
        moved = fitted_codewords(targets, numbers, moved)
    least = loss(targets, numbers, moved).sum()
    generator = np.random.default_rng(9)
    for _ in range(50):
        near = moved + generator.normal(scale=1e-2, size=moved.shape).astype(np.float32)
        assert loss(targets, numbers, near).sum() >= least - 1e-4


def test_the_loss_never_rises_over_the_rounds():
    quantiser = fitted()
    targets, _ = targets_of(quantiser, VECTORS, threshold=0.5)
    words = quantiser.parts()["assign.codewords"]
    numbers = assign(targets, words)
    losses = [float(loss(targets, numbers, words).mean())]
    for _ in range(6):
        words = fitted_codewords(targets, numbers, words)
        losses.append(float(loss(targets, numbers, words).mean()))
        numbers = assign(targets, words, start=numbers)
        losses.append(float(loss(targets, numbers, words).mean()))
    assert all(after <= before + 1e-6 for before, after in pairwise(losses))
    assert losses[-1] < 0.95 * losses[0]


@pytest.mark.parametrize("settings", [{}, {"rotate": True}, {"lists": 5}], ids=str)
def test_parallel_error_falls_at_the_price_of_perpendicular_error(settings, monkeypatch):
    monkeypatch.setattr(anisotropic, "BLOCK", 256)
    start = fitted(**settings)
    quantiser, codes = fit_anisotropic(start, VECTORS, threshold=0.5, rounds=4)

    def errors(of: ProductQuantiser, given) -> tuple[float, float]:
        error = VECTORS - of.decode(given)
        parallel = np.square((error * VECTORS).sum(axis=1))
        return float(parallel.mean()), float((np.square(error).sum(axis=1) - parallel).mean())

    before, after = errors(start, start.encode(VECTORS)), errors(quantiser, codes)
    assert after[0] < 0.7 * before[0]
    assert after[1] > before[1]


def test_codewords_without_members_stay_where_they_are():
    targets, words = small(3, excess=2.0)
    words[1, 3] = 99.0
    numbers = assign(targets, words)
    assert not (numbers[:, 1] == 3).any()
    assert (fitted_codewords(targets, numbers, words)[1, 3] == 99.0).all()


def test_numbers_of_codes_are_what_was_packed():
    quantiser = fitted()
    codes = encode_anisotropic(quantiser, VECTORS[:20], threshold=0.4)
    targets, _ = targets_of(quantiser, VECTORS[:20], threshold=0.4)
    assert np.array_equal(
        numbers_of(quantiser, codes), assign(targets, quantiser.parts()["assign.codewords"])
    )


def test_lists_without_residuals_code_the_whole_vector():
    quantiser = fitted(lists=5, by_residual=False)
    codes = encode_anisotropic(quantiser, VECTORS, threshold=None)
    plain = quantiser.encode(VECTORS)
    assert np.array_equal(codes.lists, plain.lists)
    assert (codes.codes == plain.codes).mean() > 0.999


def test_no_vectors_give_no_codes():
    assert encode_anisotropic(fitted(), VECTORS[:0], threshold=0.4).codes.shape == (0, 4)


@pytest.mark.parametrize("threshold", [0.0, 1.0, 2.0, -0.5])
def test_a_threshold_beyond_the_documents_is_refused(threshold):
    with pytest.raises(ConfigError, match="shortest"):
        encode_anisotropic(fitted(), VECTORS, threshold=threshold)


def test_the_zero_vector_is_refused_by_its_row():
    vectors = VECTORS.copy()
    vectors[7] = 0
    with pytest.raises(DataError, match="document 7"):
        encode_anisotropic(fitted(), vectors, threshold=0.4)
