"""Terms read a step and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from limbeck.losses.distil import listnet
from limbeck.losses.rank import nce
from limbeck.losses.temperature import draw_temperature, entropy_share
from limbeck.losses.terms import distil, rank, route, teacher_entropy
from limbeck.types import Batch, Candidates, Step

EVERYTHING = torch.ones(2, 4, dtype=torch.bool)


def step(
    student: torch.Tensor, teacher: torch.Tensor, *, gains: torch.Tensor | None = None, **scores
) -> Step:
    candidates = Candidates(
        torch.tensor([[0, 1, 2, 3]]), gains if gains is not None else student * 0, EVERYTHING
    )
    batch = Batch(rows=torch.arange(2))
    return Step(batch, None, {}, candidates, {"docs": student, **scores}, {"docs": teacher})


@pytest.fixture
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, 4, generator=generator), torch.randn(2, 4, generator=generator)


def test_distil_divides_student_and_teacher_by_the_same_temperature(pair):
    student, teacher = pair
    found = distil(listnet, temperature=0.25)(step(student, teacher))
    torch.testing.assert_close(found, listnet(student * 4, teacher * 4, EVERYTHING))


def test_nce_with_one_relevant_candidate_is_cross_entropy(pair):
    student, teacher = pair
    gains = torch.tensor([[0.0, 0, 1, 0], [1, 0, 0, 0]])
    found = rank(nce, temperature=0.5)(step(student, teacher, gains=gains))
    expected = torch.nn.functional.cross_entropy(student * 2, torch.tensor([2, 0]), reduction="none")
    torch.testing.assert_close(found, expected)


def test_nce_of_a_query_without_relevant_candidates_is_zero_and_has_no_gradient(pair):
    student = pair[0].requires_grad_()
    found = rank(nce)(step(student, pair[1]))
    found.sum().backward()
    assert found.tolist() == [0, 0]
    assert not student.grad.any()


def test_routing_asks_for_the_teachers_mass_list_by_list(pair):
    _, teacher = pair
    routing = torch.randn(2, 3, generator=torch.Generator().manual_seed(2))
    list_of = torch.tensor([2, 0, 2, 1])
    found = route(list_of, temperature=0.5)(step(teacher, teacher, lists=routing))
    for row in range(2):
        share = (teacher[row] / 0.5).softmax(-1)
        log_routing = (routing[row] / 0.5).log_softmax(-1)
        expected = -sum(share[c] * log_routing[list_of[c]] for c in range(4))
        assert found[row].item() == pytest.approx(float(expected), rel=1e-5)


def test_the_logged_entropy_is_log_of_the_candidates_when_the_teacher_says_nothing():
    found = teacher_entropy(temperature=1.0)(step(torch.zeros(2, 4), torch.zeros(2, 4)))
    assert found.tolist() == pytest.approx([np.log(4)] * 2)
    assert entropy_share(torch.zeros(2, 4), EVERYTHING) == pytest.approx(1.0)


def test_a_certain_teacher_has_no_entropy():
    assert entropy_share(torch.tensor([[100.0, 0, 0, 0]] * 2), EVERYTHING) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("scale", [0.01, 1.0, 900.0])
def test_the_drawn_temperature_scales_with_the_scores(scale):
    scores = np.random.default_rng(0).normal(size=(50, 20)).astype(np.float32)
    assert draw_temperature(scores * scale) == pytest.approx(scale * draw_temperature(scores), rel=1e-4)


def test_scores_past_the_end_of_a_list_do_not_count_for_the_temperature():
    scores = np.array([[3.0, 1.0, -np.inf]], dtype=np.float32)
    assert draw_temperature(scores) == pytest.approx(1.0)
