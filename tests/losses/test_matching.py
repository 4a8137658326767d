"""Matching a teacher's query vectors: exact values, and what leaves them as they are."""

from __future__ import annotations

import pytest
import torch

from limbeck.losses.vectors import match_queries
from limbeck.types import Batch, Reps, Step

GENERATOR = torch.Generator().manual_seed(0)
TEACHER = torch.randn(5, 8, generator=GENERATOR)
STUDENT = torch.randn(5, 8, generator=GENERATOR)


def step(student: torch.Tensor, teacher: torch.Tensor = TEACHER) -> Step:
    batch = Batch(rows=torch.arange(len(student)))
    return Step(batch, Reps.single(student), {}, None, {}, targets={"query": Reps.single(teacher)})


def test_it_is_the_length_of_the_difference_or_its_square():
    expected = torch.linalg.vector_norm(TEACHER - STUDENT, dim=1)
    torch.testing.assert_close(match_queries()(step(STUDENT)), expected)
    torch.testing.assert_close(match_queries(squared=True)(step(STUDENT)), expected**2)


def test_a_student_that_is_the_teacher_has_no_loss_and_no_gradient():
    student = TEACHER.clone().requires_grad_()
    loss = match_queries()(step(student))
    assert float(loss.detach().max()) <= 1e-5
    loss.sum().backward()
    assert float(student.grad.abs().max()) == 0


def test_the_gradient_of_the_norm_has_length_one_everywhere_else():
    student = STUDENT.clone().requires_grad_()
    match_queries()(step(student)).sum().backward()
    torch.testing.assert_close(torch.linalg.vector_norm(student.grad, dim=1), torch.ones(5))


@pytest.mark.parametrize("squared", [False, True])
def test_turning_both_spaces_changes_nothing_and_turning_one_does(squared):
    turn = torch.linalg.qr(torch.randn(8, 8, generator=GENERATOR))[0]
    term = match_queries(squared=squared)
    before = term(step(STUDENT))
    torch.testing.assert_close(term(step(STUDENT @ turn, TEACHER @ turn)), before, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(term(step(STUDENT @ turn)), before, atol=0.1)
