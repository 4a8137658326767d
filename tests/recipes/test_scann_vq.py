"""ScaNN's loss as a recipe: an ordinary product quantiser comes out, and an ordinary search."""

from __future__ import annotations

import numpy as np
import pytest

from limbeck.index.compressed import CodeIndex
from limbeck.recipes.anisotropic import ScaNNVQ
from limbeck.recipes.compress import OPQ, PQ
from limbeck.types import Reps


@pytest.mark.parametrize("settings", [{}, {"rotate": True}, {"lists": 12}, {"bits": 4}], ids=str)
def test_it_is_built_saved_and_searched_like_any_product_code(settings, data, tmp_path):
    system = ScaNNVQ(code_bytes=4, **settings).run(data)
    index = system.build()
    index.save(tmp_path)
    queries = Reps.single(data.dev_queries)
    np.testing.assert_array_equal(
        index.search(queries, 10).ids, CodeIndex.open(tmp_path).search(queries, 10).ids
    )
    by_definition = system.documents.quantiser.score(data.dev_queries[:5], system.documents.codes)
    hits = index.search(Reps.single(data.dev_queries[:5]), 10, effort=1.0)
    np.testing.assert_allclose(np.take_along_axis(by_definition, hits.ids, axis=1), hits.scores, atol=1e-5)


@pytest.mark.parametrize(("settings", "plain"), [({}, PQ), ({"rotate": True}, OPQ)], ids=["PQ", "OPQ"])
def test_equal_weights_and_no_rounds_are_the_plain_codes(settings, plain, data):
    found = ScaNNVQ(code_bytes=4, threshold=None, rounds=0, **settings).run(data)
    expected = plain(code_bytes=4).run(data)
    assert (found.documents.codes.codes == expected.documents.codes.codes).mean() > 0.999  # ties


def test_the_scores_of_the_best_documents_are_nearer_to_the_exact_ones(data):
    def error(system) -> float:
        exact = data.dev_queries @ data.documents.T
        best = np.argsort(-exact, axis=1)[:, :10]
        found = system.documents.quantiser.score(data.dev_queries, system.documents.codes)
        return float(np.square(np.take_along_axis(found - exact, best, axis=1)).mean())

    assert error(ScaNNVQ(code_bytes=4, threshold=0.5).run(data)) < 0.9 * error(PQ(code_bytes=4).run(data))


def test_a_given_start_is_refined(data):
    start = OPQ(code_bytes=4).run(data)
    system = ScaNNVQ(code_bytes=4).run(data, start)
    assert np.array_equal(system.documents.quantiser.rotation, start.documents.quantiser.rotation)
