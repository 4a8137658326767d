"""Straight-through choices: forward the hard decode, backward exactly what each paper's gradient is."""

from __future__ import annotations

import pytest
import torch

from limbeck.losses import selection
from limbeck.losses.terms import reconstruction
from limbeck.types import Batch, Candidates, Reps, Step

GENERATOR = torch.Generator().manual_seed(5)


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=GENERATOR, dtype=torch.float64)


PARTS = drawn(6, 3, 4)  # 6 documents, M = 3, w = 4
WORDS = drawn(3, 5, 4)  # K = 5
KEYS = drawn(3, 5, 4)
PULL = drawn(6, 3, 4)  # the gradient of the output


def hard(parts: torch.Tensor, words: torch.Tensor, values: torch.Tensor | None = None) -> torch.Tensor:
    """The nearest codewords, by a loop."""
    values = words if values is None else values
    rows = [
        [values[m, (parts[n, m] - words[m]).square().sum(-1).argmin()] for m in range(len(words))]
        for n in range(len(parts))
    ]
    return torch.stack([torch.stack(row) for row in rows])


CHOICES = {
    "soft": lambda x, c: selection.soft_choice(x, c, temperature=0.3),
    "vector": lambda x, c: selection.pass_to_vector(x, c, selection.nearest_numbers(x, c)),
    "both": lambda x, c: selection.pass_to_both(x, c, selection.nearest_numbers(x, c)),
    "keyed": lambda x, c: selection.keyed_choice(x, c, c, temperature=0.3),
}


def gradients(choice) -> tuple[torch.Tensor, torch.Tensor]:
    x, c = PARTS.clone().requires_grad_(), WORDS.clone().requires_grad_()
    (choice(x, c) * PULL).sum().backward()
    none = torch.zeros_like
    return none(x) if x.grad is None else x.grad, none(c) if c.grad is None else c.grad


@pytest.mark.parametrize("choice", CHOICES.values(), ids=CHOICES)
def test_the_forward_value_is_the_hard_decode(choice):
    torch.testing.assert_close(choice(PARTS, WORDS), hard(PARTS, WORDS))


@pytest.mark.parametrize("temperature", [1.0, 0.25])
def test_the_soft_choice_has_mopqs_exact_gradient(temperature):
    into_x, into_c = gradients(lambda x, c: selection.soft_choice(x, c, temperature=temperature))
    share = torch.softmax(selection.closeness(PARTS, WORDS) / temperature, dim=-1)  # [n, M, K]
    mean = torch.einsum("nmk,mkw->nmw", share, WORDS)
    aside = torch.einsum("nmkw,nmw->nmk", WORDS[None] - mean[:, :, None], PULL)  # <c_k - c̄, g>
    away = PARTS[:, :, None] - WORDS[None]  # x - c_k
    chosen = torch.nn.functional.one_hot(selection.nearest_numbers(PARTS, WORDS), 5).to(PULL)
    soft_part = 2 / temperature * torch.einsum("nmk,nmk,nmkw->mkw", share, aside, away)
    torch.testing.assert_close(into_c, torch.einsum("nmk,nmw->mkw", chosen, PULL) + soft_part)
    torch.testing.assert_close(
        into_x, 2 / temperature * torch.einsum("nmk,nmk,mkw->nmw", share, aside, WORDS)
    )


def test_the_gradient_into_the_vector_is_twice_the_covariance_of_the_codewords():
    into_x, _ = gradients(selection.soft_choice)
    share = torch.softmax(selection.closeness(PARTS, WORDS), dim=-1)
    for n in range(6):
        for m in range(3):
            mean = share[n, m] @ WORDS[m]
            covariance = WORDS[m].T @ torch.diag(share[n, m]) @ WORDS[m] - torch.outer(mean, mean)
            torch.testing.assert_close(into_x[n, m], 2 * covariance @ PULL[n, m])


def test_the_soft_part_vanishes_for_short_vectors_at_the_published_temperature():
    def soft_part(scale: float, temperature: float) -> float:
        x, c = scale * PARTS, (scale * WORDS).requires_grad_()
        (selection.soft_choice(x, c, temperature=temperature) * PULL).sum().backward()
        chosen = torch.nn.functional.one_hot(selection.nearest_numbers(x, c), 5).to(PULL)
        return float((c.grad - torch.einsum("nmk,nmw->mkw", chosen, PULL)).norm())

    assert soft_part(0.01, 1.0) < 1e-3 * soft_part(1.0, 1.0)
    assert soft_part(0.01, 0.01**2) == pytest.approx(soft_part(1.0, 1.0), rel=1e-6)


def test_through_the_vector_codewords_get_nothing_and_vectors_everything():
    into_x, into_c = gradients(CHOICES["vector"])
    torch.testing.assert_close(into_x, PULL)
    assert not into_c.any()


def test_through_both_vectors_get_the_gradient_and_chosen_codewords_the_sum_of_theirs():
    into_x, into_c = gradients(CHOICES["both"])
    torch.testing.assert_close(into_x, PULL)
    expected = torch.zeros_like(WORDS)
    numbers = selection.nearest_numbers(PARTS, WORDS)
    for n in range(6):
        for m in range(3):
            expected[m, numbers[n, m]] += PULL[n, m]
    torch.testing.assert_close(into_c, expected)


@pytest.mark.parametrize("response", ["euclid", "dot"])
def test_keys_choose_and_values_are_chosen(response):
    keys, values = KEYS.clone().requires_grad_(), WORDS.clone().requires_grad_()
    found = selection.keyed_choice(PARTS, keys, values, temperature=0.5, response=response)
    scores = (
        selection.closeness(PARTS, KEYS)
        if response == "euclid"
        else torch.einsum("nmw,mkw->nmk", PARTS, KEYS)
    )
    chosen = torch.nn.functional.one_hot(scores.argmax(-1), 5).to(PULL)
    torch.testing.assert_close(found, torch.einsum("nmk,mkw->nmw", chosen, WORDS))
    (found * PULL).sum().backward()
    torch.testing.assert_close(values.grad, torch.einsum("nmk,nmw->mkw", chosen, PULL))  # only those chosen
    share = torch.softmax(scores / 0.5, dim=-1)
    worth = torch.einsum("mkw,nmw->nmk", WORDS, PULL)
    into_scores = share * (worth - (share * worth).sum(-1, keepdim=True)) / 0.5
    towards = (
        2 * (PARTS[:, :, None] - KEYS[None]) if response == "euclid" else PARTS[:, :, None].expand(6, 3, 5, 4)
    )
    torch.testing.assert_close(keys.grad, torch.einsum("nmk,nmkw->mkw", into_scores, towards))


def test_one_set_of_codewords_as_keys_and_values_is_the_soft_choice():
    torch.testing.assert_close(gradients(CHOICES["keyed"]), gradients(CHOICES["soft"]))


def test_reconstruction_is_the_mean_or_the_sum_of_squared_errors_of_real_candidates():
    docs, exact = drawn(2, 3, 4), drawn(2, 3, 4)
    mask = torch.tensor([[True, True, False], [True, True, True]])
    candidates = Candidates(torch.arange(6).reshape(2, 3), torch.zeros(2, 3), mask)
    views = {"decoded": Reps.single(docs), "exact": Reps.single(exact)}
    step = Step(Batch(rows=torch.arange(2)), None, views, candidates, {})
    errors = (docs - exact).square().sum(-1)
    torch.testing.assert_close(reconstruction()(step), torch.stack([errors[0, :2].mean(), errors[1].mean()]))
    torch.testing.assert_close(
        reconstruction(pooled="sum")(step), torch.stack([errors[0, :2].sum(), errors[1].sum()])
    )


def test_reconstruction_of_a_pool_is_the_same_for_every_query():
    docs, exact = drawn(1, 3, 4), drawn(1, 3, 4)
    everything = torch.ones(1, dtype=torch.bool).expand(5, 3)
    candidates = Candidates(torch.arange(3)[None], torch.zeros(1).expand(5, 3), everything)
    step = Step(
        Batch(rows=torch.arange(5)),
        None,
        {"docs": Reps.single(docs), "exact": Reps.single(exact)},
        candidates,
        {},
    )
    found = reconstruction(view="docs")(step)
    torch.testing.assert_close(found, (docs - exact).square().sum(-1).mean().expand(5))
