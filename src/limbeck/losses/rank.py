"""Losses that read labels. Every loss: [B, C] scores and the candidates' gains -> [B].

Letters: B queries, C candidates, P most relevant candidates that a query has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from limbeck.errors import ConfigError

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


def nce_hardest(scores: Tensor, candidates: Candidates, *, count: int) -> Tensor:
    """`nce` against the `count` irrelevant candidates that score highest, query by query; the others get no gradient.

    returns  [B] nats; equals `nce` where count >= C
    source   RepCONC's dynamic_topk_hard_negative (jingtaozhan/RepCONC, finetune_repconc.py)
    """
    from dataclasses import replace

    import torch

    if count < 1:
        raise ConfigError(f"`count` of hard candidates must be 1 or more; found {count}.")
    is_relevant = (candidates.gains > 0) & candidates.mask
    rivals = scores.detach().masked_fill(is_relevant | ~candidates.mask, -torch.inf)
    hardest = rivals.topk(min(count, scores.shape[1]), dim=-1).indices
    kept = is_relevant.scatter(1, hardest, value=True) & candidates.mask
    return nce(scores, replace(candidates, mask=kept))


def lambda_rank(
    scores: Tensor, candidates: Candidates, *, cut: int, temperature: float = 1.0, resort: bool = False
) -> Tensor:
    """Soft-plus of each relevant-irrelevant margin, weighted by what swapping the two would change in 1/rank.

    The weight is |1/rank_i - 1/rank_j|, with 1/rank = 0 beyond `cut`. Ranks are the places of the candidates in their
    list, 1 for the first column: the order of the search that found them; `resort` ranks by the present scores instead.
    The mean runs over all relevant-irrelevant pairs, those of weight 0 included.

    candidates  lists of their own [B, C], best first; relevant ones that the search missed stand at the end
    returns     [B]; a query without relevant or without irrelevant candidates gives 0; O(B·P·C)
    source      Zhan et al., CIKM 2021; jingtaozhan/JPQ run_train.py (`lambda_cut`), with a temperature added
    """
    import torch

    mask = candidates.mask.expand(scores.shape)
    is_relevant = (candidates.gains > 0) & mask
    most = max(1, int(is_relevant.sum(dim=-1).max()))
    found, places = is_relevant.float().topk(most, dim=-1)  # [B, P]
    worth = _reciprocal_ranks(scores, mask, cut=cut, resort=resort)  # [B, C]
    margin = torch.gather(scores, 1, places)[:, :, None] - scores[:, None, :]  # [B, P, C]
    weight = (torch.gather(worth, 1, places)[:, :, None] - worth[:, None, :]).abs()
    is_pair = (found[:, :, None] > 0) & (mask & ~is_relevant)[:, None, :]
    cost = torch.nn.functional.softplus(-margin / temperature) * weight * is_pair
    mean: Tensor = cost.sum(dim=(1, 2)) / is_pair.sum(dim=(1, 2)).clamp(min=1)
    return mean


def _reciprocal_ranks(scores: Tensor, mask: Tensor, *, cut: int, resort: bool) -> Tensor:
    import torch

    ranks = torch.arange(1, scores.shape[1] + 1).expand(scores.shape)
    if resort:
        order = scores.detach().masked_fill(~mask, -torch.inf).argsort(dim=-1, descending=True, stable=True)
        ranks = torch.empty_like(order).scatter_(1, order, ranks)
    worth = 1.0 / ranks.to(scores.dtype)
    return worth.masked_fill(ranks > cut, 0.0)
