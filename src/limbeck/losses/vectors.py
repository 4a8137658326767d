"""Terms over vectors: how far a student's vectors are from its teacher's (EmbedDistill, Kim et al., 2023)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from limbeck.losses.distil import only

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
        return _distance(step.query.flat, step.targets["query"].flat, squared=squared)

    return term


def match_documents(*, squared: bool = False) -> Term:
    """||e_t - e_s|| of each candidate document (eq. 8), or its square: the mean over a pool, for each of its queries.

    Reads the views "docs" and "exact"; the mean estimates R_Emb,D, which is 0 where documents are inherited.
    """

    def term(step: Step) -> Tensor:
        assert step.candidates is not None
        off = _distance(step.docs["docs"].flat, step.docs["exact"].flat, squared=squared)  # [1 | B, C]
        mask = step.candidates.mask[: len(off)]
        mean: Tensor = only(off, mask, 0.0).sum(dim=-1) / mask.sum(dim=-1).clamp(min=1)
        return mean.expand(len(step.candidates.mask))

    return term


def _distance(one: Tensor, other: Tensor, *, squared: bool) -> Tensor:
    off: Tensor = (one - other).square().sum(dim=-1)
    return off if squared else (off + EPSILON).sqrt()
