"""Scores against loops; a pool and lists of the same documents score alike."""

from __future__ import annotations

import pytest
import torch

from limbeck.errors import ShapeError
from limbeck.scores import dot, for_metric, negative_squared_distance
from limbeck.types import Reps, Sums


@pytest.fixture
def sides() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(3, 5, generator=generator), torch.randn(7, 5, generator=generator)


@pytest.mark.parametrize(
    ("metric", "naive"),
    [("ip", lambda q, d: float(q @ d)), ("l2", lambda q, d: -float((q - d).square().sum()))],
)
def test_a_score_is_its_definition_for_every_pair(metric, naive, sides):
    query, docs = sides
    found = for_metric(metric)(Reps.single(query), Reps.single(docs[None]))
    for b in range(3):
        for c in range(7):
            assert found[b, c].item() == pytest.approx(naive(query[b], docs[c]), abs=1e-5)  # float32, d = 5


@pytest.mark.parametrize("score", [dot, negative_squared_distance])
def test_a_shared_pool_scores_as_the_same_list_for_each_query(score, sides):
    query, docs = sides
    shared = score(Reps.single(query), Reps.single(docs[None]))
    own = score(Reps.single(query), Reps.single(docs[None].expand(3, -1, -1)))
    torch.testing.assert_close(shared, own)


def test_shapes_that_do_not_fit_are_refused_with_both_shapes(sides):
    query, docs = sides
    with pytest.raises(ShapeError, match=r"\[B, 1, d\]"):
        dot(Reps.single(query), Reps.single(docs))
    with pytest.raises(ShapeError, match="same B and d"):
        dot(Reps.single(query), Reps.single(docs[None, :, :4]))


def test_reps_with_several_vectors_are_not_flattened_silently():
    with pytest.raises(ShapeError, match="found 2"):
        _ = Reps(torch.zeros(3, 2, 5)).flat


@pytest.mark.parametrize("lists", [1, 4])  # a shared pool, a list for each query
@pytest.mark.parametrize("with_base", [False, True])
@pytest.mark.parametrize("slices", [1, 2, 4])
def test_look_ups_give_the_products_with_the_decoded_sums_and_their_gradients(slices, with_base, lists):
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(4, 8, generator=generator, requires_grad=True)
    codewords = torch.randn(4, 5, 8 // slices, generator=generator, requires_grad=True)
    base = torch.randn(lists, 9, 8, generator=generator, requires_grad=True)
    choice = torch.randint(0, 5, (lists, 9, 4), generator=generator)
    docs = Sums(codewords, choice, slices=slices, base=base if with_base else None)
    weights = torch.randn(4, 9, generator=generator)  # any gradient of the scores

    def scores_and_gradients(scores: torch.Tensor) -> list[torch.Tensor]:
        sources = [query, codewords, *([base] if with_base else [])]
        return [scores, *torch.autograd.grad((scores * weights).sum(), sources)]

    looked_up = scores_and_gradients(dot(Reps.single(query), docs))
    decoded = scores_and_gradients(dot(Reps.single(query), Reps.single(docs.flat)))
    for found, expected in zip(looked_up, decoded, strict=True):
        torch.testing.assert_close(found, expected)


def test_sums_in_lists_of_their_own_score_as_in_a_pool():
    generator = torch.Generator().manual_seed(0)
    query = Reps.single(torch.randn(4, 6, generator=generator))
    codewords = torch.randn(3, 5, 2, generator=generator)
    choice = torch.randint(0, 5, (1, 9, 3), generator=generator)
    pool = Sums(codewords, choice, slices=3)
    own = Sums(codewords, choice.expand(4, -1, -1), slices=3)
    for score in (dot, negative_squared_distance):
        torch.testing.assert_close(score(query, pool), score(query, own))
