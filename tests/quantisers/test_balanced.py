"""Balanced assignment: every document once, every codeword equally often, the nearest one without the constraint."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.errors import ConfigError, ShapeError
from limbeck.quantisers.balanced import balanced_numbers, balanced_plan, centred, squared_distances


def distances(documents: int, codewords: int, *, parts: int = 2, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    vectors = generator.normal(size=(documents, parts * 3)).astype(np.float32) ** 3  # crowded in the middle
    return squared_distances(vectors, generator.normal(size=(parts, codewords, 3)).astype(np.float32))


def by_the_published_loop(given: np.ndarray, *, epsilon: float, iterations: int) -> np.ndarray:
    """RepCONC's sinkhorn_algorithm, line by line in numpy."""
    plan = np.exp(-given.astype(np.float64) / epsilon).transpose(0, 2, 1)  # M, K, B
    _, codewords, documents = plan.shape
    plan /= plan.sum(axis=(1, 2), keepdims=True)
    for _ in range(iterations):
        plan /= plan.sum(axis=2, keepdims=True)
        plan /= codewords
        plan /= plan.sum(axis=1, keepdims=True)
        plan /= documents
    plan *= documents
    return plan.transpose(0, 2, 1)


@pytest.mark.parametrize("iterations", [1, 7, 8, 9, 100])
@pytest.mark.parametrize("epsilon", [0.003, 0.1])
def test_the_plan_is_the_published_loops(iterations, epsilon):
    given = centred(distances(60, 8))
    found = balanced_plan(given, epsilon=epsilon, iterations=iterations)
    np.testing.assert_allclose(
        found, by_the_published_loop(given, epsilon=epsilon, iterations=iterations), rtol=1e-7, atol=1e-12
    )


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 8), st.integers(2, 12), st.integers(0, 10**6))
def test_documents_sum_to_one_and_codewords_to_the_same(codewords, each, seed):
    given = centred(distances(codewords * each, codewords, seed=seed))
    plan = balanced_plan(given, epsilon=0.05, iterations=2000)
    np.testing.assert_allclose(plan.sum(axis=2), 1, atol=1e-9)
    np.testing.assert_allclose(plan.sum(axis=1), each, rtol=0.01)


def test_at_the_published_constants_codewords_are_used_within_a_percent():
    plan = balanced_plan(centred(distances(2048, 16)), epsilon=0.003, iterations=100)
    np.testing.assert_allclose(plan.sum(axis=2), 1, atol=1e-9)
    np.testing.assert_allclose(plan.sum(axis=1), 128, rtol=0.01)


def test_balanced_codes_are_used_far_more_evenly_than_the_nearest_ones():
    given = distances(2048, 16)
    used = np.stack([np.bincount(line, minlength=16) for line in balanced_numbers(given)])
    nearest = np.stack([np.bincount(line, minlength=16) for line in given.argmin(axis=2)])
    # the plan is balanced to a percent; its maxima are so as far as documents are not divided between codewords
    assert used.std() < 0.7 * nearest.std()
    assert used.max() < 0.7 * nearest.max()


def test_without_iterations_it_is_the_nearest_codeword():
    given = distances(300, 16)
    assert np.array_equal(balanced_numbers(given, iterations=0), given.argmin(axis=2))


def test_where_the_nearest_codewords_are_balanced_already_they_are_kept():
    given = np.ones((1, 12, 4)) - np.eye(4)[np.arange(12) % 4][None]
    assert np.array_equal(balanced_numbers(given), given.argmin(axis=2))


def test_a_large_epsilon_tends_to_the_uniform_plan():
    plan = balanced_plan(centred(distances(64, 8)), epsilon=1e4, iterations=100)
    np.testing.assert_allclose(plan, 1 / 8, rtol=1e-3)


def test_distances_are_centred_part_by_part_whatever_their_scale():
    given = distances(50, 8)
    given[1] *= 100
    found = centred(given)
    np.testing.assert_allclose(found.max(axis=(1, 2)), 1)
    np.testing.assert_allclose(found.min(axis=(1, 2)), -1)
    np.testing.assert_allclose(centred(given * 1e-6), found, rtol=1e-5, atol=1e-6)


def test_equal_distances_are_no_division_by_zero():
    assert np.isfinite(balanced_plan(centred(np.ones((1, 8, 4))), epsilon=0.003, iterations=10)).all()


def test_squared_distances_are_those_of_a_loop():
    generator = np.random.default_rng(1)
    vectors, words = generator.normal(size=(9, 6)), generator.normal(size=(2, 5, 3))
    found = squared_distances(vectors.astype(np.float32), words.astype(np.float32))
    expected = [
        [[((v[3 * m : 3 * m + 3] - c) ** 2).sum() for c in words[m]] for v in vectors] for m in range(2)
    ]
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize(("epsilon", "iterations"), [(0.001, 10), (0.0, 10), (0.1, -1)])
def test_what_float64_cannot_hold_is_refused(epsilon, iterations):
    with pytest.raises(ConfigError, match="epsilon"):
        balanced_plan(np.ones((1, 4, 4)), epsilon=epsilon, iterations=iterations)


def test_distances_without_parts_are_refused():
    with pytest.raises(ShapeError, match="M, N, K"):
        balanced_plan(np.ones((4, 4)), epsilon=0.1, iterations=1)
