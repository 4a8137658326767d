"""Mined candidates are what the index of this moment finds, in its order, and never stale."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from limbeck.data.labels import Labels
from limbeck.documents import CodeBank
from limbeck.encoders.given import GivenQueries
from limbeck.errors import ConfigError
from limbeck.index.compressed import CodeIndex
from limbeck.mining import Drawn, Mined, ranked_candidates
from limbeck.quantisers.product import ProductQuantiser
from limbeck.types import Batch, Reps

GENERATOR = np.random.default_rng(0)
VECTORS = GENERATOR.normal(size=(500, 16)).astype(np.float32)
QUERIES = GENERATOR.normal(size=(6, 16)).astype(np.float32)
LABELS = Labels(np.arange(6), np.array([3, 9, 27, 81, 243]), np.array([1, 1, 2, 1, 0], dtype=np.float32))
BATCH = Batch(rows=torch.arange(6), vectors=torch.from_numpy(QUERIES))


def parts(metric: str = "ip") -> tuple[GivenQueries, CodeBank]:
    quantiser = ProductQuantiser(code_bytes=4, rotate=True, metric=metric).fit(VECTORS, seed=0)
    queries = GivenQueries(16, rotation=quantiser.rotation, learn_map=True)
    return queries, CodeBank(quantiser, quantiser.encode(VECTORS))


def no_search(texts, k):
    raise AssertionError("vectors are searched, not texts")


def searched(queries: GivenQueries, documents: CodeBank, k: int) -> np.ndarray:
    index = CodeIndex(documents.learned(), documents.stored(), query_map=queries.query_map())
    return index.search(Reps.single(QUERIES), k).ids


def moved(queries: GivenQueries, documents: CodeBank) -> None:
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        documents.codewords.add_(torch.randn(documents.codewords.shape, generator=generator) * 0.3)
        queries.shift.add_(torch.randn(16, 16, generator=generator) * 0.1)


@pytest.mark.parametrize("metric", ["ip", "l2"])
def test_at_first_the_index_of_the_start_is_searched(metric):
    queries, documents = parts(metric)
    found = Mined(queries, documents, LABELS, top=20)(BATCH)
    assert np.array_equal(found.ids[:, :20].numpy(), searched(queries, documents, 20))


@pytest.mark.parametrize("metric", ["ip", "l2"])
def test_after_every_refresh_the_index_is_the_one_that_would_be_built_now(metric):
    queries, documents = parts(metric)
    source = Mined(queries, documents, LABELS, top=20)
    moved(queries, documents)
    source.refresh(no_search, 1)
    assert np.array_equal(source(BATCH).ids[:, :20].numpy(), searched(queries, documents, 20))


def test_static_negatives_are_those_of_the_start_for_ever():
    queries, documents = parts()
    source = Mined(queries, documents, LABELS, top=20, live=False)
    before = source(BATCH).ids
    moved(queries, documents)
    source.refresh(no_search, 1)
    assert torch.equal(source(BATCH).ids, before)


def test_a_refresh_overwrites_the_index_and_builds_none():
    queries, documents = parts()
    source = Mined(queries, documents, LABELS, top=20)
    index = source._index
    source.refresh(no_search, 1)
    assert source._index is index


def test_relevant_documents_that_were_missed_stand_behind_the_found_ones():
    found = ranked_candidates(np.array([[5, 9, 4], [9, 5, 27], [1, 2, 3]]), LABELS, np.array([0, 1, 2]))
    assert found.ids.tolist() == [[5, 9, 4, 3], [9, 5, 27, 0], [1, 2, 3, 27]]
    assert found.mask.tolist() == [[True] * 4, [True, True, True, False], [True] * 4]
    assert found.gains.tolist() == [[0, 0, 0, 1], [1, 0, 0, 0], [0, 0, 0, 1]]


def test_documents_judged_irrelevant_and_queries_without_labels_add_nothing():
    found = ranked_candidates(np.array([[5, 9], [5, 9]]), LABELS, np.array([4, 99]))
    assert found.ids.shape == (2, 2)
    assert not found.gains.any()


def test_nothing_found_and_repetitions_are_left_out():
    found = ranked_candidates(np.array([[7, 7, 3, -1]]), LABELS, np.array([0]))
    assert found.mask.tolist() == [[True, False, True, False]]
    assert found.gains.tolist() == [[0, 0, 1, 0]]


def test_drawn_documents_depend_on_seed_and_step_alone():
    def at(step: int, seed: int = 0) -> list[list[int]]:
        source = Drawn(500, LABELS, count=30, seed=seed)
        source.refresh(no_search, step)
        return source(BATCH).ids.tolist()

    assert at(3) == at(3)
    assert at(3) != at(4)
    assert at(3) != at(3, seed=1)


def test_every_relevant_document_is_among_the_drawn_candidates():
    found = Drawn(500, LABELS, count=30)(BATCH)
    assert (found.gains > 0).any(dim=1).tolist() == [True, True, True, True, False, False]
    assert not (found.gains[~found.mask]).any()


def test_more_than_all_documents_are_mined_at_most():
    queries, documents = parts()
    assert Mined(queries, documents, LABELS, top=10**6)(BATCH).ids.shape[1] == 500


def test_lists_and_empty_tops_are_refused():
    queries, documents = parts()
    with pytest.raises(ConfigError, match="top"):
        Mined(queries, documents, LABELS, top=0)
    with pytest.raises(ConfigError, match=r"1\.\.500"):
        Drawn(500, LABELS, count=501)
    ivf = ProductQuantiser(code_bytes=4, lists=5).fit(VECTORS, seed=0)
    with pytest.raises(ConfigError, match="lists"):
        Mined(queries, CodeBank(ivf, ivf.encode(VECTORS)), LABELS)
