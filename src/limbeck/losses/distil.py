"""How far a student's scores are from a teacher's. Every loss: [B, C] student, teacher, mask -> [B].

`student` and `teacher` are scores over the same candidates, higher = better, finite where `mask` is True.
`mask` is bool; a row needs at least one True; what it leaves out gets no gradient.
Printed forms and their slips: Distill-VQ (Xiao et al., SIGIR 2022), eq. 7 to 12; its eq. 6 has the sign turned round.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from limbeck.errors import ShapeError

if TYPE_CHECKING:
    from torch import Tensor


def listnet(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """Cross-entropy from the teacher's to the student's soft-max over each query's candidates.

    Shift-invariant in both arguments. Its gradient in `student` is softmax(student) - softmax(teacher).
    Equals the teacher's entropy, not 0, when both agree; `reverse_kl` reaches 0.

    returns  [B] nats; O(B·C)
    source   Cao et al., ICML 2007, eq. 4; Distill-VQ eq. 12
    """
    import torch

    check_shapes(student, teacher, mask)
    log_student = torch.log_softmax(only(student, mask, -torch.inf), dim=-1)
    teacher_share = torch.softmax(only(teacher, mask, -torch.inf), dim=-1)
    # 0 · -inf is nan: candidates that are left out have no share in the sum
    return -(teacher_share * only(log_student, mask, 0.0)).sum(dim=-1)


def reverse_kl(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """KL(student ‖ teacher) between the two soft-maxes: seeks the teacher's modes. 0 when both agree up to a shift.

    returns  [B] nats, at least 0; O(B·C)
    source   Distill-VQ eq. 11 ("KL-Div": the student stands first)
    """
    import torch

    check_shapes(student, teacher, mask)
    log_student = only(torch.log_softmax(only(student, mask, -torch.inf), dim=-1), mask, 0.0)
    log_teacher = only(torch.log_softmax(only(teacher, mask, -torch.inf), dim=-1), mask, 0.0)
    share = only(log_student.exp(), mask, 0.0)
    return (share * (log_student - log_teacher)).sum(dim=-1)


def mse(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """Mean squared difference of the scores: scale and offset both matter.

    returns  [B]; O(B·C)
    source   Distill-VQ eq. 7, squared as in its code
    """
    check_shapes(student, teacher, mask)
    return ((student - teacher).square() * mask).sum(dim=-1) / mask.sum(dim=-1)


def margin_mse(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """Mean squared difference of all score margins, which is twice the variance of student - teacher.

    returns  [B]; O(B·C), not C²
    source   Hofstätter et al., 2020; Distill-VQ eq. 8; closed form: mean over pairs of (x_i - x_j)² = 2·Var(x)
    """
    check_shapes(student, teacher, mask)
    count = mask.sum(dim=-1, keepdim=True)
    difference = (student - teacher) * mask
    centred = (difference - difference.sum(dim=-1, keepdim=True) / count) * mask
    return 2 * centred.square().sum(dim=-1) / count[:, 0]


def ranknet(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """Soft-plus of every mis-ordered margin, weighted by how sure the teacher is of the order.

    Over ordered pairs t_i > t_j only: summed over both orders it would be linear in the scores and unbounded below.

    returns  [B], mean over the pairs that the teacher orders; O(B·C²) time, O(C²) memory for one query at a time
    source   Burges et al., ICML 2005; Distill-VQ eq. 9
    """
    import torch

    check_shapes(student, teacher, mask)

    def one_query(student_C: Tensor, teacher_C: Tensor) -> Tensor:
        surer = (teacher_C[:, None] - teacher_C[None, :]).clamp(min=0)
        margin = student_C[:, None] - student_C[None, :]
        pairs = (surer > 0).sum().clamp(min=1)
        return (surer * torch.nn.functional.softplus(-margin)).sum() / pairs

    return torch.stack([one_query(s[m], t[m]) for s, t, m in zip(student, teacher, mask, strict=True)])


def only(values: Tensor, mask: Tensor, otherwise: float) -> Tensor:
    """`values` where the mask is True; no copy where it is True throughout, as in a shared pool."""
    is_one_value = set(mask.stride()) == {0}  # how a pool says that it leaves nothing out
    is_full = mask.flatten()[0] if is_one_value else mask.all()
    return values if bool(is_full) else values.masked_fill(~mask, otherwise)


def check_shapes(student: Tensor, teacher: Tensor, mask: Tensor) -> None:
    """Refuse scores of different candidates."""
    if student.shape == teacher.shape == mask.shape and student.ndim == 2:
        return
    raise ShapeError(
        f"`student` has shape {tuple(student.shape)}, `teacher` {tuple(teacher.shape)} and `mask` {tuple(mask.shape)}; "
        "all must be [B, C] over the same candidates.\n\n"
        "Hint: call the teacher with the step's candidates, not with the raw batch."
    )


LOSSES = {
    "listnet": listnet,
    "mse": mse,
    "margin_mse": margin_mse,
    "ranknet": ranknet,
    "reverse_kl": reverse_kl,
}
