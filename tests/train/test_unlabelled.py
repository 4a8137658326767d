"""The teacher's lists against a full sort; queries made from documents."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.data.vector_data import VectorData
from limbeck.errors import ConfigError, DataError
from limbeck.train import unlabelled
from limbeck.train.unlabelled import teacher_lists, top_products, training_queries
from limbeck.types import Hits

GENERATOR = np.random.default_rng(0)
DOCUMENTS = GENERATOR.normal(size=(701, 24)).astype(np.float32)
QUERIES = GENERATOR.normal(size=(37, 24)).astype(np.float32)


@given(documents=st.integers(2, 200), depth=st.integers(1, 60), seed=st.integers(0, 99))
@settings(deadline=None)
def test_the_top_of_a_block_is_the_top_of_a_full_sort(documents, depth, seed):
    generator = torch.Generator().manual_seed(seed)
    # few distinct integers: bfloat16 holds all products exactly, and there are many ties
    queries = torch.randint(-3, 4, (5, 8), generator=generator).bfloat16()
    vectors = torch.randint(-3, 4, (documents, 8), generator=generator).bfloat16()
    padded = torch.nn.functional.pad(vectors, (0, 0, 0, -documents % unlabelled.GROUP))
    rows, scores = unlabelled._top(queries, padded, depth, size=documents)
    products = (queries @ vectors.T).float().numpy()
    depth = min(depth, documents)
    assert rows.shape == (5, depth)
    assert all(len(set(row)) == depth for row in rows.tolist())
    np.testing.assert_array_equal(scores, -np.sort(-products, axis=1)[:, :depth])
    np.testing.assert_array_equal(scores, np.take_along_axis(products, rows, axis=1))


@pytest.mark.parametrize("block", [97, 701, 10_000])
@pytest.mark.parametrize("offset", [0.0, 30.0])
def test_lists_in_bfloat16_are_nearly_the_exact_ones_wherever_the_documents_lie(offset, block, monkeypatch):
    monkeypatch.setattr(unlabelled, "BLOCK_DOCUMENTS", block)
    documents = DOCUMENTS + np.float32(offset)
    found = top_products(documents, QUERIES, 50)
    products = QUERIES.astype(np.float64) @ documents.T.astype(np.float64)
    exact = np.argsort(-products, axis=1)[:, :50]
    shared = np.mean([len(np.intersect1d(a, b)) for a, b in zip(found.ids, exact, strict=True)]) / 50
    assert shared > 0.97  # two documents of fifty may change places with their neighbours below the cut
    np.testing.assert_allclose(found.scores, np.take_along_axis(products, found.ids, axis=1), atol=0.15)


def test_lists_that_are_known_are_not_searched_again():
    known = Hits(np.zeros((2, 5), dtype=np.int64), np.full((2, 5), 9, dtype=np.float32))
    data = VectorData(documents=DOCUMENTS, queries=QUERIES[:2], top=known)
    found = teacher_lists(data, QUERIES[:4], 3)
    assert (found.ids[:2] == 0).all()
    assert (found.scores[:2] == 9).all()
    fresh = teacher_lists(VectorData(documents=DOCUMENTS, queries=QUERIES[:2]), QUERIES[2:4], 3)
    np.testing.assert_array_equal(found.ids[2:], fresh.ids)


def test_one_document_is_no_corpus_to_distil():
    with pytest.raises(DataError, match="two documents; found 1"):
        teacher_lists(VectorData(documents=DOCUMENTS[:1], queries=QUERIES), QUERIES, 3)


def test_the_share_of_made_queries_is_kept_and_given_ones_come_first():
    data = VectorData(documents=DOCUMENTS, queries=QUERIES)
    all_of_them = training_queries(data, made=0.5, seed=0)
    assert len(all_of_them) == 2 * len(QUERIES)
    np.testing.assert_array_equal(all_of_them[: len(QUERIES)], QUERIES)
    with pytest.raises(ConfigError, match="share"):
        training_queries(data, made=1.0, seed=0)


def test_without_queries_documents_are_all_there_is_to_go_by():
    data = VectorData(documents=DOCUMENTS, queries=QUERIES[:0])
    made = training_queries(data, made=0.0, seed=0)
    np.testing.assert_array_equal(made, DOCUMENTS)
