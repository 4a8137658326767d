"""Losses that read labels. Every loss: [B, C] scores and the candidates' gains -> [B]."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from limbeck.types import Candidates


def nce(scores: Tensor, candidates: Candidates) -> Tensor:
    """-log of the share that the relevant candidates get in the soft-max; several relevant ones share the credit.

    Equals InfoNCE, and DPR's likelihood, when each query has one relevant candidate. A query without any gives 0.

    returns  [B] nats; O(B·C)
    source   van den Oord et al., 2018; Karpukhin et al., EMNLP 2020, eq. 2
    """
    import torch

    everything = scores.masked_fill(~candidates.mask, -torch.inf)
    is_relevant = (candidates.gains > 0) & candidates.mask
    relevant = scores.masked_fill(~is_relevant, -torch.inf)
    has_any = is_relevant.any(dim=-1)
    loss = torch.logsumexp(everything, dim=-1) - torch.logsumexp(relevant, dim=-1)
    return torch.where(has_any, loss, torch.zeros_like(loss))
