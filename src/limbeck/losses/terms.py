"""Terms: losses bound to what they read of a training step. A term takes a `Step` and gives [B]."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from limbeck.losses.distil import only

if TYPE_CHECKING:
    from torch import Tensor

    from limbeck.contracts import DistilLoss, RankLoss
    from limbeck.types import Step, Term


def distil(
    loss: DistilLoss, *, scores: str = "docs", teacher: str = "docs", temperature: float = 1.0
) -> Term:
    """`loss` between the student's `scores` and the teacher's, both divided by the same temperature."""

    def term(step: Step) -> Tensor:
        assert step.candidates is not None
        student = step.scores[scores]
        mask = step.candidates.mask.expand(student.shape)
        return loss(student / temperature, step.teacher[teacher] / temperature, mask)

    return term


def rank(loss: RankLoss, *, scores: str = "docs", temperature: float = 1.0) -> Term:
    """A labelled `loss` on the student's `scores` divided by a temperature."""

    def term(step: Step) -> Tensor:
        assert step.candidates is not None
        return loss(step.scores[scores] / temperature, step.candidates)

    return term


def route(list_of: Tensor, *, temperature: float) -> Term:
    """Cross-entropy from where the teacher's documents lie to the soft-max over all coarse lists.

    The teacher's soft-max over the candidates is summed list by list; the routing scores must put their mass there.
    This is list-level ListNet: it trains routing vectors without touching a single assignment.

    list_of  [N] the coarse list of each document; the step needs scores "lists" [B, L]
    source   in the manner of Vecchiato et al., SIGIR 2024 (learning to rank for routing), with soft teacher mass
    """

    def term(step: Step) -> Tensor:
        import torch

        assert step.candidates is not None
        routing = step.scores["lists"]
        teacher = step.teacher["docs"]
        mask = step.candidates.mask.expand(teacher.shape)
        share = torch.softmax(only(teacher / temperature, mask, -torch.inf), dim=-1)
        lists = list_of[step.candidates.ids].expand(teacher.shape)
        mass = torch.zeros_like(routing).scatter_add_(1, lists, share)
        return -(mass * torch.log_softmax(routing / temperature, dim=-1)).sum(dim=-1)

    return term


def reconstruction(
    *, view: str = "decoded", exact: str = "exact", pooled: Literal["mean", "sum"] = "mean"
) -> Term:
    """‖decoded - exact‖² of the candidate documents, their mean or their sum; the step needs both views.

    returns  [B]; every query of a shared pool gives the same number
    source   mean: RepCONC (MSE), DPQ-VQ (alpha); sum: Poeem (embedding.py)
    """

    def term(step: Step) -> Tensor:
        assert step.candidates is not None
        error = (step.docs[view].flat - step.docs[exact].flat).square().sum(dim=-1)  # [1 | B, C]
        mask = step.candidates.mask[: len(error)]
        total = only(error, mask, 0.0).sum(dim=-1)
        each = total / mask.sum(dim=-1).clamp(min=1) if pooled == "mean" else total
        return each.expand(len(step.candidates.mask))

    return term


def teacher_entropy(*, temperature: float) -> Term:
    """The entropy of the teacher's soft-max in nats: logged with weight 0, it shows a temperature that says nothing."""

    def term(step: Step) -> Tensor:
        import torch

        assert step.candidates is not None
        teacher = step.teacher["docs"]
        mask = step.candidates.mask.expand(teacher.shape)
        log_share = torch.log_softmax(only(teacher / temperature, mask, -torch.inf), dim=-1)
        return -(log_share.exp() * only(log_share, mask, 0.0)).sum(dim=-1)

    return term
