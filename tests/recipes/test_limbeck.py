"""Limbeck's own codes: what is frozen stays, and training lifts what it is chosen by."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from limbeck.data.labels import Labels
from limbeck.errors import ConfigError
from limbeck.evaluate import overlap
from limbeck.index.flat import Flat
from limbeck.recipes.distill_vq import DistillVQ
from limbeck.recipes.limbeck import Limbeck
from limbeck.train.history import History
from limbeck.types import Reps

SMALL = Limbeck(code_bytes=4, top_k=50, sample=10, epochs=2, least_steps=0, batch_size=32)


def kept(system, data) -> float:
    queries = Reps.single(data.dev_queries)
    exact = Flat(data.documents).search(queries, 10)
    return float(overlap(system.build().search(queries, 10), exact, k=10).mean())


def test_training_moves_codewords_that_score_and_nothing_else(data):
    start = SMALL.started(data)
    trained = SMALL.run(data, start)
    before, after = start.documents.learned().parts(), trained.documents.learned().parts()
    assert not np.array_equal(before["score.codewords"], after["score.codewords"])
    np.testing.assert_array_equal(before["assign.codewords"], after["assign.codewords"])
    np.testing.assert_array_equal(start.documents.stored().codes, trained.documents.stored().codes)


def test_it_keeps_more_of_the_exact_ranking_than_its_start_and_than_distilled_product_codes(data):
    start = SMALL.started(data)
    ours = kept(SMALL.run(data, start), data)
    assert ours > kept(start, data)
    rival = DistillVQ(code_bytes=4, top_k=50, sample=10, epochs=2, least_steps=0, batch_size=32)
    assert ours > kept(rival.run(data), data)


def test_the_same_seed_gives_the_same_codewords_and_another_does_not(data):
    words = [
        replace(SMALL, seed=seed).run(data).documents.learned().parts()["score.codewords"]
        for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(words[0], words[1])
    assert not np.array_equal(words[0], words[2])


def test_a_stopped_run_continues_from_its_checkpoint(data, tmp_path):
    histories: list[History] = []
    once = SMALL.run(data, folder=tmp_path, on_history=histories.append)
    again = SMALL.run(data, folder=tmp_path, on_history=histories.append)  # finds the end of the run before
    for name, words in once.documents.learned().parts().items():
        np.testing.assert_array_equal(words, again.documents.learned().parts()[name])
    assert histories[0] == histories[1]


def test_a_query_map_learnt_from_labels_ranks_labelled_documents_higher(data_of_many_queries):
    """Relevant is the document nearest to a query that was moved by a linear map: one to be found."""
    data = data_of_many_queries
    moved = (np.eye(32) + 0.2 * np.random.default_rng(0).normal(size=(32, 32))).astype(np.float32)

    def relevant(queries):
        return Flat(data.documents).search(Reps.single(queries @ moved.T), 1).ids[:, 0]

    labels = Labels(
        np.arange(len(data.queries) + 1),
        relevant(data.queries),
        np.ones(len(data.queries), dtype=np.float32),
    )

    def found(recipe):
        index = recipe.run(replace(data, labels=labels)).build()
        first = index.search(Reps.single(data.dev_queries), 1).ids[:, 0]
        return float((first == relevant(data.dev_queries)).mean())

    assert found(replace(SMALL, learn_query_map=True)) > found(SMALL) + 0.03


def test_a_query_map_without_labels_is_refused(data):
    with pytest.raises(ConfigError, match=r"data\.labels"):
        replace(SMALL, learn_query_map=True).run(replace(data, labels=None))


def test_settings_that_cannot_work_are_refused_before_anything_is_read():
    with pytest.raises(ConfigError, match="256 vectors"):
        Limbeck().check_fits(100, 384)
    with pytest.raises(ConfigError, match="multiple of `slices`"):
        Limbeck(code_bytes=16, slices=16).check_fits(1000, 100)
