"""Learned routing: other lists are visited, nothing else changes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from limbeck.errors import ConfigError
from limbeck.evaluate import overlap
from limbeck.index import Flat
from limbeck.index.opening import open_index
from limbeck.index.routing import centroids, lists_of
from limbeck.recipes.bit_codes import RaBitQ
from limbeck.recipes.routed import RoutedRaBitQ
from limbeck.types import Reps

ROUTED = RoutedRaBitQ(lists=32, bits=4, refine="float", epochs=2, least_steps=200, batch_size=64)
PLAIN = RaBitQ(lists=32, bits=4, refine="float")


@pytest.fixture(scope="module")
def both(data):
    return ROUTED.run(data).build(), PLAIN.run(data).build()


def test_all_lists_together_give_the_same_hits_as_without_routing(both, data):
    queries = Reps.single(data.dev_queries)
    routed, plain = (index.search(queries, 10, effort=1.0) for index in both)
    np.testing.assert_array_equal(routed.ids, plain.ids)
    np.testing.assert_allclose(routed.scores, plain.scores, atol=1e-5)


def test_documents_stay_in_their_lists_and_lists_keep_their_centroids(both, data):
    routed, plain = (index.engine for index in both)
    np.testing.assert_array_equal(lists_of(routed, 1500), lists_of(plain, 1500))
    np.testing.assert_allclose(centroids(plain), centroids(routed), atol=1e-6)


def test_few_lists_hold_more_of_the_exact_top_when_routing_is_learnt(both, data):
    queries = Reps.single(data.dev_queries)
    exact = Flat(data.documents).search(queries, 10)
    for probes in (1, 2, 4):
        routed, plain = (
            float(overlap(index.search(queries, 10, effort=probes / 32), exact, k=10).mean())
            for index in both
        )
        assert routed > plain


def test_a_routed_index_is_saved_and_opened(both, data, tmp_path):
    queries = Reps.single(data.dev_queries)
    both[0].save(tmp_path)
    opened = open_index(tmp_path, kind="engine")
    np.testing.assert_array_equal(opened.search(queries, 10).ids, both[0].search(queries, 10).ids)


def test_distances_are_refused(data):
    with pytest.raises(ConfigError, match="inner products"):
        ROUTED.run(replace(data, metric="l2")).build()
