"""Losses over pairs: exact at uniform logits, and reaching every token that counts and no other."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from limbeck.losses.pairs import match_in_pairs, reconstruct, reconstruction
from limbeck.types import Batch, Candidates, Reps, Step

B, C, T, D, V = 2, 3, 5, 4, 11
GENERATOR = torch.Generator().manual_seed(0)
STATES = torch.randn(B * C, T, D, generator=GENERATOR)
TOKENS = torch.randint(0, V, (B * C, T), generator=GENERATOR)
REAL = torch.arange(T) < torch.tensor([5, 4, 3, 5, 1, 2])[:, None]
VOCABULARY = torch.randn(V, D, generator=GENERATOR)


def step(*, mask=None, states=STATES, targets=None):
    mask = torch.ones(B, C, dtype=torch.bool) if mask is None else mask
    view = Reps(states.view(B, C, T, D), REAL.view(B, C, T), TOKENS.view(B, C, T))
    candidates = Candidates(ids=torch.arange(B * C).view(B, C), gains=torch.zeros(B, C), mask=mask)
    rows = torch.arange(B)
    return Step(
        batch=Batch(rows=rows),
        query=None,
        docs={"pairs": view},
        candidates=candidates,
        scores={},
        targets=targets or {},
    )


def naive(row):
    nats = []
    for place in range(T):
        if REAL[row, place]:
            logits = VOCABULARY.double().numpy() @ STATES[row, place].double().numpy()
            nats.append(np.log(np.exp(logits).sum()) - logits[TOKENS[row, place]])
    return float(np.mean(nats))


def test_uniform_logits_cost_the_logarithm_of_the_vocabulary():
    found = reconstruction(STATES, TOKENS, REAL, torch.zeros(V, D))
    torch.testing.assert_close(found, torch.full((B * C,), math.log(V)))


def test_it_is_the_mean_over_real_tokens():
    expected = [naive(row) for row in range(B * C)]
    np.testing.assert_allclose(reconstruction(STATES, TOKENS, REAL, VOCABULARY), expected, rtol=1e-5)


def test_certainty_costs_nothing():
    one_hot = torch.nn.functional.one_hot(TOKENS, V).float()
    found = reconstruction(100 * one_hot, TOKENS, REAL, torch.eye(V))
    assert found.abs().max() < 1e-6  # exp(-100) in float32


def test_gradient_reaches_every_real_token_and_no_padding():
    states = STATES.clone().requires_grad_()
    reconstruction(states, TOKENS, REAL, VOCABULARY).sum().backward()
    assert torch.equal(states.grad.abs().sum(dim=2) > 0, REAL)


def test_a_text_of_which_nothing_counts_gives_zero():
    assert torch.equal(reconstruction(STATES, TOKENS, torch.zeros_like(REAL), VOCABULARY), torch.zeros(B * C))


def test_the_term_is_the_mean_over_candidates_that_count():
    mask = torch.tensor([[True, True, False], [True, False, True]])
    found = reconstruct(VOCABULARY)(step(mask=mask))
    expected = [np.mean([naive(0), naive(1)]), np.mean([naive(3), naive(5)])]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("every", [2, 5])
def test_rebuilding_some_tokens_reaches_each_of_them_in_turn(every):
    reached = torch.zeros_like(REAL)
    for shift in range(every):
        states = STATES.clone().requires_grad_()
        one = step(states=states)
        moved = Batch(rows=torch.tensor([shift]))
        reconstruct(VOCABULARY, every=every)(
            Step(batch=moved, query=None, docs=one.docs, candidates=one.candidates, scores={})
        ).sum().backward()
        now = states.grad.abs().sum(dim=2) > 0
        assert not (now & reached).any()
        reached |= now
    assert torch.equal(reached, REAL)


def test_matching_is_the_mean_distance_and_zero_where_both_agree():
    target = torch.randn(B, C, D, generator=GENERATOR)
    student = torch.randn(B, 1, D, generator=GENERATOR)
    targets = {"query in pair": Reps.single(target)}
    found = match_in_pairs(lambda _: student, target="query in pair")(step(targets=targets))
    np.testing.assert_allclose(found, np.linalg.norm(student - target, axis=2).mean(axis=1), rtol=1e-5)
    same = match_in_pairs(lambda _: target, target="query in pair")(step(targets=targets))
    np.testing.assert_allclose(same, 0, atol=1e-5)
