"""Pooling by itself: where it is a single token, where it is a mean, and what swapping the texts does."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from limbeck.encoders.pair_pooling import PairTokens, first_token, segment_mean, separator

SEGMENTS = torch.tensor([[-1, 0, 0, 0, -1, 1, 1, -1], [-1, 0, -1, 1, -1, -1, -1, -1]])  # the second is padded
MASK = torch.tensor([[True] * 8, [True] * 5 + [False] * 3])
STATES = torch.randn(2, 8, 6, generator=torch.Generator().manual_seed(0))
TOKENS = PairTokens(ids=SEGMENTS, mask=MASK, types=SEGMENTS, segments=SEGMENTS)


def logits(seed=3):
    return torch.randn(2, 8, generator=torch.Generator().manual_seed(seed))


def test_a_segment_of_one_token_is_that_token():
    found = segment_mean(STATES, logits(), SEGMENTS == 0)
    torch.testing.assert_close(found[1], STATES[1, 1])
    torch.testing.assert_close(segment_mean(STATES, logits(), SEGMENTS == 1)[1], STATES[1, 3])


def test_equal_logits_give_the_plain_mean():
    found = segment_mean(STATES, torch.full((2, 8), 1.7), SEGMENTS == 0)
    torch.testing.assert_close(found[0], STATES[0, 1:4].mean(dim=0))


@given(st.integers(0, 10_000))
def test_the_weights_are_a_soft_max_over_the_segment_alone(seed):
    chosen = logits(seed)
    found = segment_mean(STATES, chosen, SEGMENTS == 0)[0]
    weights = np.exp(chosen[0, 1:4].double().numpy())
    expected = (weights / weights.sum()) @ STATES[0, 1:4].double().numpy()
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)  # float32


def test_swapping_the_segments_swaps_the_two_vectors():
    swapped = torch.where(SEGMENTS >= 0, 1 - SEGMENTS, SEGMENTS)
    for segment in (0, 1):
        before = segment_mean(STATES, logits(), segment == SEGMENTS)
        after = segment_mean(STATES, logits(), swapped == 1 - segment)
        torch.testing.assert_close(before, after, rtol=0, atol=0)


def test_what_stands_outside_a_segment_gets_no_gradient():
    states = STATES.clone().requires_grad_()
    segment_mean(states, logits(), SEGMENTS == 1).sum().backward()
    reached = states.grad.abs().sum(dim=2) > 0
    assert torch.equal(reached, SEGMENTS == 1)


def test_an_empty_segment_gives_zeros():
    nothing = torch.zeros(2, 8, dtype=torch.bool)
    assert torch.equal(segment_mean(STATES, logits(), nothing), torch.zeros(2, 6))


def test_special_tokens_are_found_before_padding():
    torch.testing.assert_close(first_token(STATES), STATES[:, 0])
    torch.testing.assert_close(separator(STATES, TOKENS, "query"), torch.stack([STATES[0, 4], STATES[1, 2]]))
    torch.testing.assert_close(
        separator(STATES, TOKENS, "document"), torch.stack([STATES[0, 7], STATES[1, 4]])
    )
