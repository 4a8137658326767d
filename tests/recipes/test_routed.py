"""Learned routing: other lists are visited, nothing else changes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from limbeck.errors import ConfigError
from limbeck.evaluate import overlap
from limbeck.index import Flat
from limbeck.index.opening import open_index
from limbeck.recipes.routed import LimbeckLists
from limbeck.types import Reps

ROUTED = LimbeckLists(code_bytes=4 + 16, lists=32, epochs=2, least_steps=200, batch_size=64, factor=20.0)


@pytest.fixture(scope="module")
def both(data):
    return ROUTED.run(data).build(), replace(ROUTED, learn_routing=False).run(data).build()


def test_all_lists_together_give_the_same_hits_as_without_routing(both, data):
    queries = Reps.single(data.dev_queries)
    routed, plain = (index.search(queries, 10, effort=1.0) for index in both)
    np.testing.assert_array_equal(routed.ids, plain.ids)
    np.testing.assert_allclose(routed.scores, plain.scores, atol=1e-5)


def test_documents_stay_in_their_lists_and_lists_keep_their_centroids(both):
    routed, plain = both
    np.testing.assert_array_equal(routed.first.codes.lists, plain.first.codes.lists)
    np.testing.assert_array_equal(routed.first.quantiser.base, plain.first.quantiser.base)
    assert not np.allclose(routed.first.quantiser.routing, plain.first.quantiser.routing, atol=1e-3)


@pytest.mark.parametrize("decided_by", ["both", "vectors_decide"])
def test_few_lists_hold_more_of_the_exact_top_when_routing_is_learnt(request, decided_by, data):
    pair = request.getfixturevalue(decided_by)
    queries = Reps.single(data.dev_queries)
    exact = Flat(data.documents).search(queries, 10)
    for probes in (1, 2, 4):
        routed, plain = (
            float(overlap(index.search(queries, 10, effort=probes / 32), exact, k=10).mean())
            for index in pair
        )
        assert routed > plain


def test_the_second_codes_decide(both, data):
    queries = Reps.single(data.dev_queries)
    exact = Flat(data.documents).search(queries, 10)
    assert float(overlap(both[0].search(queries, 10, effort=1.0), exact, k=10).mean()) > 0.85


def test_a_routed_index_is_saved_and_opened(both, data, tmp_path):
    queries = Reps.single(data.dev_queries)
    both[0].save(tmp_path)
    opened = open_index(tmp_path, kind="stages")
    np.testing.assert_array_equal(opened.search(queries, 10).ids, both[0].search(queries, 10).ids)


def test_distances_are_refused(data):
    with pytest.raises(ConfigError, match="inner products"):
        ROUTED.run(replace(data, metric="l2")).build()


def test_sizes_that_do_not_exist_are_refused_with_those_that_do(data):
    with pytest.raises(ConfigError, match=r"Nearest that fit: \[8, 12, 20\]"):
        LimbeckLists(code_bytes=21).run(data).build()
    with pytest.raises(ConfigError, match="8 divides"):
        LimbeckLists().check_fits(1000, 30)


@pytest.fixture(scope="module")
def vectors_decide(data):
    recipe = replace(ROUTED, code_bytes=None, second="int8")
    return recipe.run(data).build(), replace(recipe, learn_routing=False).run(data).build()


def test_with_int8_vectors_all_lists_give_nearly_the_exact_top_with_and_without_routing(vectors_decide, data):
    queries = Reps.single(data.dev_queries)
    exact = Flat(data.documents).search(queries, 10)
    routed, plain = (index.search(queries, 10, effort=1.0) for index in vectors_decide)
    assert float(overlap(routed, plain, k=10).mean()) > 0.99
    assert float(overlap(routed, exact, k=10).mean()) > 0.97


def test_with_int8_vectors_it_is_a_faiss_file(vectors_decide, data, tmp_path):
    queries = Reps.single(data.dev_queries)
    vectors_decide[0].save(tmp_path)
    opened = open_index(tmp_path, kind="engine")
    np.testing.assert_array_equal(opened.search(queries, 10).ids, vectors_decide[0].search(queries, 10).ids)


def test_with_int8_vectors_there_is_one_size(data):
    with pytest.raises(ConfigError, match=r"Nearest that fit: \[36\]"):
        LimbeckLists(code_bytes=20, second="int8").check_fits(1000, 32)
