"""Terms over vectors: how far a student's vectors are from its teacher's (EmbedDistill, Kim et al., 2023)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from limbeck.types import Step, Term

EPSILON = 1e-12  # under the root, so that the gradient stays finite where both vectors are equal


def match_queries(*, squared: bool = False) -> Term:
    """||e_t - e_s|| of each query (eq. 7), or its square; the batch's mean of it estimates R_Emb,Q.

    The norm as printed has a gradient of length 1 wherever it is not 0: far and near queries pull alike.
    """

    def term(step: Step) -> Tensor:
        assert step.query is not None
        off: Tensor = (step.query.flat - step.targets["query"].flat).square().sum(dim=-1)
        return off if squared else (off + EPSILON).sqrt()

    return term
