"""Each loss against a loop over explicit candidates or pairs, and the identities of systems that use it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from limbeck.errors import ShapeError
from limbeck.losses.distil import LOSSES, listnet, margin_mse, mse, ranknet, reverse_kl

SHAPE = (5, 9)


@pytest.fixture
def scores() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    student = torch.randn(SHAPE, generator=generator, dtype=torch.float64)
    teacher = torch.randn(SHAPE, generator=generator, dtype=torch.float64)
    mask = torch.rand(SHAPE, generator=generator) > 0.3
    mask[:, 0] = True
    return student, teacher, mask


def softmax(values: list[float]) -> list[float]:
    exponentials = [math.exp(v) for v in values]
    return [e / sum(exponentials) for e in exponentials]


def naive_listnet(student: list[float], teacher: list[float]) -> float:
    return -sum(t * math.log(s) for s, t in zip(softmax(student), softmax(teacher), strict=True))


def naive_reverse_kl(student: list[float], teacher: list[float]) -> float:
    return sum(s * math.log(s / t) for s, t in zip(softmax(student), softmax(teacher), strict=True))


def naive_mse(student: list[float], teacher: list[float]) -> float:
    return sum((s - t) ** 2 for s, t in zip(student, teacher, strict=True)) / len(student)


def naive_margin_mse(student: list[float], teacher: list[float]) -> float:
    n = range(len(student))
    pairs = [((teacher[i] - teacher[j]) - (student[i] - student[j])) ** 2 for i in n for j in n]
    return sum(pairs) / len(pairs)


def naive_ranknet(student: list[float], teacher: list[float]) -> float:
    n = range(len(student))
    pairs = [(i, j) for i in n for j in n if teacher[i] > teacher[j]]
    total = sum((teacher[i] - teacher[j]) * math.log1p(math.exp(student[j] - student[i])) for i, j in pairs)
    return total / max(1, len(pairs))


NAIVE = {
    "listnet": naive_listnet,
    "reverse_kl": naive_reverse_kl,
    "mse": naive_mse,
    "margin_mse": naive_margin_mse,
    "ranknet": naive_ranknet,
}


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_equals_a_loop_over_the_candidates_that_the_mask_keeps(name, scores):
    student, teacher, mask = scores
    found = LOSSES[name](student, teacher, mask)
    for row in range(SHAPE[0]):
        kept = mask[row]
        expected = NAIVE[name](student[row][kept].tolist(), teacher[row][kept].tolist())
        assert found[row].item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", LOSSES)
def test_what_the_mask_leaves_out_changes_nothing_and_gets_no_gradient(name, scores):
    student, teacher, mask = scores
    loud = torch.where(mask, student, torch.full_like(student, 1e4)).requires_grad_()
    found = LOSSES[name](loud, teacher, mask)
    torch.testing.assert_close(found.detach(), LOSSES[name](student, teacher, mask))
    found.sum().backward()
    assert not loud.grad[~mask].any()


@pytest.mark.parametrize("name", LOSSES)
def test_the_gradient_matches_finite_differences(name, scores):
    student, teacher, mask = scores
    assert torch.autograd.gradcheck(lambda s: LOSSES[name](s, teacher, mask), student.requires_grad_())


@pytest.mark.parametrize("loss", [listnet, margin_mse, ranknet, reverse_kl])
def test_a_shift_of_all_student_scores_changes_nothing(loss, scores):
    student, teacher, mask = scores
    torch.testing.assert_close(loss(student + 7, teacher, mask), loss(student, teacher, mask))


def test_mse_minds_a_shift_of_the_student(scores):
    student, teacher, mask = scores
    assert (mse(student + 7, teacher, mask) - mse(student, teacher, mask)).abs().min() > 1


def test_the_gradient_of_listnet_is_student_softmax_less_teacher_softmax(scores):
    student, teacher, _ = scores
    student.requires_grad_()
    listnet(student, teacher, torch.ones(SHAPE, dtype=torch.bool)).sum().backward()
    torch.testing.assert_close(student.grad, student.softmax(-1).detach() - teacher.softmax(-1))


def test_listnet_of_a_perfect_student_is_the_teachers_entropy_and_reverse_kl_is_zero(scores):
    _, teacher, _ = scores
    everything = torch.ones(SHAPE, dtype=torch.bool)
    entropy = -(teacher.softmax(-1) * teacher.log_softmax(-1)).sum(-1)
    torch.testing.assert_close(listnet(teacher, teacher, everything), entropy)
    torch.testing.assert_close(
        reverse_kl(teacher + 3, teacher, everything), torch.zeros(5, dtype=torch.float64)
    )


def test_margin_mse_is_twice_the_variance_of_the_difference(scores):
    student, teacher, _ = scores
    everything = torch.ones(SHAPE, dtype=torch.bool)
    variance = (student - teacher).var(dim=-1, correction=0)
    torch.testing.assert_close(margin_mse(student, teacher, everything), 2 * variance)


def test_ranknet_is_bounded_below_where_the_sum_over_all_ordered_pairs_is_not():
    teacher = torch.tensor([[2.0, 1.0, 0.0]])
    everything = torch.ones(1, 3, dtype=torch.bool)
    for scale in (1.0, 1e3, 1e6):
        assert ranknet(teacher * scale, teacher, everything).item() >= 0


def test_ranknet_falls_when_a_misordered_pair_is_swapped():
    teacher = torch.tensor([[2.0, 1.0, 0.0]])
    everything = torch.ones(1, 3, dtype=torch.bool)
    wrong, right = torch.tensor([[0.0, 1.0, -1.0]]), torch.tensor([[1.0, 0.0, -1.0]])
    assert ranknet(right, teacher, everything) < ranknet(wrong, teacher, everything)


@pytest.mark.parametrize("name", LOSSES)
def test_scores_of_different_candidates_are_refused(name):
    with pytest.raises(ShapeError, match=r"`teacher` \(2, 4\)"):
        LOSSES[name](torch.zeros(2, 3), torch.zeros(2, 4), torch.ones(2, 3, dtype=torch.bool))


@pytest.mark.parametrize("name", LOSSES)
def test_permuting_the_candidates_changes_no_loss(name, scores):
    student, teacher, mask = scores
    order = torch.from_numpy(np.random.default_rng(3).permutation(SHAPE[1]))
    found = LOSSES[name](student[:, order], teacher[:, order], mask[:, order])
    torch.testing.assert_close(found, LOSSES[name](student, teacher, mask))
