"""LambdaRank and the hardest-candidates loss: against loops, and with the gradient only where it belongs."""

from __future__ import annotations

import math

import pytest
import torch

from limbeck.errors import ConfigError
from limbeck.losses.rank import lambda_rank, nce, nce_hardest
from limbeck.types import Candidates

GENERATOR = torch.Generator().manual_seed(3)
SCORES = torch.randn(4, 7, generator=GENERATOR)
GAINS = torch.tensor(
    [[0, 0, 1, 0, 0, 0, 0], [1, 0, 0, 0, 2, 0, 0], [0, 0, 0, 0, 0, 0, 1], [0, 0, 0, 0, 0, 0, 0]],
    dtype=torch.float32,
)
MASK = torch.ones(4, 7, dtype=torch.bool)
MASK[0, 5] = MASK[1, 6] = MASK[2, 5] = False


def listed(*, gains: torch.Tensor = GAINS, mask: torch.Tensor = MASK) -> Candidates:
    return Candidates(torch.arange(7).expand(4, 7), gains, mask)


def by_loop(scores, gains, mask, *, cut: int, temperature: float) -> list[float]:
    found = []
    for row in range(len(scores)):
        costs = []
        for i in range(scores.shape[1]):
            for j in range(scores.shape[1]):
                if not (mask[row, i] and mask[row, j] and gains[row, i] > 0 and gains[row, j] == 0):
                    continue
                worth = [1 / (place + 1) if place + 1 <= cut else 0.0 for place in (i, j)]
                margin = float(scores[row, j] - scores[row, i]) / temperature
                costs.append(math.log1p(math.exp(margin)) * abs(worth[0] - worth[1]))
        found.append(sum(costs) / len(costs) if costs else 0.0)
    return found


@pytest.mark.parametrize("cut", [1, 3, 7])
@pytest.mark.parametrize("temperature", [1.0, 0.2])
def test_lambda_rank_is_the_mean_over_all_pairs_those_without_weight_included(cut, temperature):
    found = lambda_rank(SCORES, listed(), cut=cut, temperature=temperature)
    expected = by_loop(SCORES, GAINS, MASK, cut=cut, temperature=temperature)
    assert found.tolist() == pytest.approx(expected, rel=1e-5)


def test_a_query_without_relevant_or_without_irrelevant_candidates_costs_nothing():
    scores = SCORES.clone().requires_grad_()
    lambda_rank(scores, listed(gains=torch.zeros(4, 7)), cut=7).sum().backward()
    assert not scores.grad.any()
    assert lambda_rank(SCORES, listed(gains=torch.ones(4, 7)), cut=7).tolist() == [0, 0, 0, 0]


def test_pairs_whose_ranks_both_lie_beyond_the_cut_get_no_gradient():
    scores = SCORES.clone().requires_grad_()
    lambda_rank(scores, listed(), cut=2).sum().backward()
    assert scores.grad[2, 2:5].tolist() == [0, 0, 0]  # relevant at 7, these at 3 to 5
    assert (scores.grad[2, :2] > 0).all()


def test_ranks_are_the_places_in_the_list_and_not_the_order_of_the_scores():
    shuffled = SCORES[:, torch.tensor([3, 1, 2, 0, 4, 5, 6])]
    assert lambda_rank(SCORES, listed(), cut=7)[2] != lambda_rank(shuffled, listed(), cut=7)[2]


def test_re_sorted_ranks_do_not_depend_on_the_order_of_the_candidates():
    order = torch.tensor([6, 2, 0, 5, 1, 4, 3])
    moved = listed(gains=GAINS[:, order], mask=MASK[:, order])
    torch.testing.assert_close(
        lambda_rank(SCORES[:, order], moved, cut=5, resort=True),
        lambda_rank(SCORES, listed(), cut=5, resort=True),
    )


def test_re_sorting_lists_that_are_in_order_changes_nothing():
    ordered = SCORES.sort(dim=1, descending=True).values
    everything = listed(mask=torch.ones(4, 7, dtype=torch.bool))
    torch.testing.assert_close(
        lambda_rank(ordered, everything, cut=4, resort=True), lambda_rank(ordered, everything, cut=4)
    )


def test_only_the_hardest_irrelevant_candidates_get_gradient():
    scores = SCORES.clone().requires_grad_()
    nce_hardest(scores, listed(), count=2)[0].backward()
    rivals = SCORES[0].masked_fill((GAINS[0] > 0) | ~MASK[0], -torch.inf)
    expected = {2, *rivals.topk(2).indices.tolist()}
    assert set(scores.grad[0].nonzero().flatten().tolist()) == expected


def test_all_rivals_being_hard_is_plain_nce():
    torch.testing.assert_close(nce_hardest(SCORES, listed(), count=9), nce(SCORES, listed()))


def test_no_rival_at_all_is_refused():
    with pytest.raises(ConfigError, match="1 or more"):
        nce_hardest(SCORES, listed(), count=0)
