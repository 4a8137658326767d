"""The floor of query matching: exact where the median is known, and below every single vector."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.errors import ShapeError
from limbeck.evaluate.irreducible import geometric_median, irreducible


def spent(points, place):
    return float(np.linalg.norm(points - place, axis=1).sum())


def test_on_a_line_it_is_the_middle_point():
    line = np.array([[0.0], [1.0], [2.0], [50.0], [90.0]])
    np.testing.assert_allclose(geometric_median(line), [2.0], atol=1e-9)


def test_of_a_triangle_with_a_wide_angle_it_is_that_corner():
    np.testing.assert_allclose(geometric_median(np.array([[-1.0, 0], [0, 0.1], [1, 0]])), [0, 0.1], atol=1e-9)


def test_of_a_quadrangle_it_is_where_the_diagonals_cross():
    corners = np.array([[0.0, 0], [4, 4], [0, 2], [2, 0]])  # diagonals: y = x and x + y = 2
    np.testing.assert_allclose(geometric_median(corners), [1, 1], atol=1e-5)


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 9), st.integers(1, 5))
def test_no_other_place_is_nearer(seed, count, dim):
    generator = np.random.default_rng(seed)
    points = generator.normal(size=(count, dim))
    found = geometric_median(points)
    least = spent(points, found)
    others = np.concatenate(
        [points, points.mean(axis=0)[None], found + 0.01 * generator.normal(size=(50, dim))]
    )
    assert all(least <= spent(points, other) + 1e-7 for other in others)


def test_a_query_that_ignores_its_document_has_no_floor():
    vectors = np.repeat(np.random.default_rng(0).normal(size=(4, 1, 8)), 5, axis=1)
    assert irreducible(vectors) == pytest.approx(0, abs=1e-9)


def test_no_choice_of_one_vector_a_query_matches_better():
    generator = np.random.default_rng(1)
    vectors = generator.normal(size=(6, 5, 8))
    floor = irreducible(vectors)
    for student in (vectors.mean(axis=1), vectors[:, 0], generator.normal(size=(6, 8))):
        assert floor <= np.linalg.norm(vectors - student[:, None], axis=2).mean()


def test_vectors_without_an_axis_of_documents_are_refused():
    with pytest.raises(ShapeError, match=r"\[Q, C, d\]"):
        irreducible(np.zeros((3, 4)))
