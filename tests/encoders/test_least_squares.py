"""Maps by least squares: exact where they can be, and without blown-up weights where they cannot."""

from __future__ import annotations

import numpy as np

from limbeck.encoders.least_squares import affine_map, linear_map


def test_a_linear_map_is_recovered():
    rng = np.random.default_rng(0)
    inputs, exact = rng.normal(size=(200, 8)), rng.normal(size=(8, 5))
    np.testing.assert_allclose(linear_map(inputs, inputs @ exact, ridge=0), exact, atol=1e-9)


def test_a_direction_without_spread_gets_no_weight():
    """As a layer norm leaves one: noise of float32 there would be blown up to fit what is left over."""
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(200, 8))
    inputs[:, 0] = 1e-7 * rng.normal(size=200)
    targets = inputs[:, 1:] @ rng.normal(size=(7, 5)) + 0.1 * rng.normal(size=(200, 5))
    assert np.abs(linear_map(inputs, targets, ridge=0)[0]).max() > 1e3
    assert np.abs(linear_map(inputs, targets)[0]).max() < 1e-3


def test_an_affine_map_is_recovered():
    rng = np.random.default_rng(0)
    inputs, exact = rng.normal(size=(50, 6)).astype(np.float32), rng.normal(size=(7, 3)).astype(np.float32)
    found = affine_map(inputs, inputs @ exact[:-1] + exact[-1], ridge=0)
    np.testing.assert_allclose(found, exact, atol=1e-4)
