"""At what temperature a teacher's soft-max says something: drawn from its scores, so that scaling changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from limbeck.types import Floats

if TYPE_CHECKING:
    from torch import Tensor


def draw_temperature(ranked_scores: Floats) -> float:
    """The mean, over queries, of the standard deviation of the teacher's scores in its own top list.

    ranked_scores  [Q, K] the teacher's scores of each query's top K; scores past the end are -inf and left out
    """
    scores = np.where(np.isfinite(ranked_scores), ranked_scores, np.nan)
    spread = float(np.nanmean(np.nanstd(scores, axis=1)))
    return max(spread, 1e-12)


def entropy_share(logits: Tensor, mask: Tensor) -> float:
    """Mean entropy of the soft-max, as a share of the largest possible: 1 = uniform, says nothing."""
    import torch

    log_share = torch.log_softmax(logits.masked_fill(~mask, -torch.inf), dim=-1)
    entropy = -(log_share.exp() * log_share.masked_fill(~mask, 0.0)).sum(dim=-1)
    largest = mask.expand(logits.shape).sum(dim=-1).clamp(min=2).to(entropy.dtype).log()
    return float((entropy / largest).mean())
