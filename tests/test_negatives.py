"""Candidates: what stands in a list, once, and what a resumed run draws."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from limbeck.data.labels import Labels
from limbeck.errors import ConfigError
from limbeck.negatives import InBatch, Positives, Together, TopK
from limbeck.types import Batch, Candidates

RANKED = np.array([[4, 2, 9, 7], [1, 2, 3, -1], [9, 8, 7, 6]])
LABELS = Labels(np.array([0, 1, 3, 3]), np.array([2, 5, 1]), np.array([1.0, 1.0, 2.0], dtype=np.float32))
BATCH = Batch(rows=torch.tensor([0, 1, 2]))


def kept(candidates: Candidates) -> list[set[int]]:
    rows = candidates.ids.expand(candidates.mask.shape)
    return [set(ids[mask].tolist()) for ids, mask in zip(rows, candidates.mask, strict=True)]


def test_top_k_gives_each_query_its_own_list_without_the_padding():
    assert kept(TopK(RANKED)(BATCH)) == [{4, 2, 9, 7}, {1, 2, 3}, {9, 8, 7, 6}]


def test_positives_carry_their_gains():
    found = Positives(LABELS)(BATCH)
    assert kept(found) == [{2}, {5, 1}, set()]
    assert sorted(found.gains[1].tolist()) == [1.0, 2.0]


def test_together_keeps_a_document_once_with_its_highest_gain():
    found = Together(TopK(RANKED), Positives(LABELS))(BATCH)
    assert kept(found)[0] == {4, 2, 9, 7}
    rows, gains = found.ids[0][found.mask[0]], found.gains[0][found.mask[0]]
    assert dict(zip(rows.tolist(), gains.tolist(), strict=True))[2] == 1.0
    assert len(rows) == 4


def test_in_batch_is_the_union_of_all_lists_shared_by_every_query():
    found = InBatch(TopK(RANKED))(BATCH)
    assert found.ids.tolist() == [[1, 2, 3, 4, 6, 7, 8, 9]]
    assert found.mask.all()


def test_in_batch_gives_gains_to_the_query_that_they_belong_to_only():
    found = InBatch(Together(TopK(RANKED), Positives(LABELS)))(BATCH)
    column = {row: place for place, row in enumerate(found.ids[0].tolist())}
    assert found.gains[:, column[1]].tolist() == [0, 2, 0]
    assert found.gains[:, column[2]].tolist() == [1, 0, 0]


def test_queries_without_a_row_of_labels_have_no_positives():
    found = Positives(LABELS)(Batch(rows=torch.tensor([3, 17])))
    assert kept(found) == [set(), set()]


def test_a_sample_is_drawn_without_repetition_and_depends_on_the_step_alone():
    ranked = np.arange(3 * 50).reshape(3, 50)
    source = TopK(ranked, sample=8, seed=5)
    source.refresh(lambda texts, k: None, 3)
    third = source(BATCH)
    assert [len(rows) for rows in kept(third)] == [8, 8, 8]
    resumed = TopK(ranked, sample=8, seed=5)
    resumed.refresh(lambda texts, k: None, 3)
    assert kept(resumed(BATCH)) == kept(third)
    source.refresh(lambda texts, k: None, 4)
    assert kept(source(BATCH)) != kept(third)


def test_refresh_reaches_the_sources_inside():
    ranked = np.arange(3 * 50).reshape(3, 50)
    whole = InBatch(Together(TopK(ranked, sample=4), Positives(LABELS)))
    first = whole(BATCH)
    whole.refresh(lambda texts, k: None, 1)
    assert kept(whole(BATCH)) != kept(first)


@pytest.mark.parametrize("sample", [0, 5])
def test_a_sample_larger_than_the_list_is_refused(sample):
    with pytest.raises(ConfigError, match=r"1\.\.4"):
        TopK(RANKED, sample=sample)
