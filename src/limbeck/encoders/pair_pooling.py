"""From the token states of a pair to its score: the first token, or one vector for the query and one for the document.

Both come from one reading of "[CLS] q [SEP] d [SEP]", so each has seen the other text (EmbedDistill, Kim et al., 2023,
section 4.2). Every pooling is an inner product: for "cls" the second vector is learned and the same for all pairs.

Letters: P pairs, T tokens, d width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from torch import Tensor

Pooling: TypeAlias = Literal["cls", "dual-special", "dual-mean"]
Separator: TypeAlias = Literal["query", "document"]  # which [SEP]: the one that closes this text
QUERY, DOCUMENT, NEITHER = 0, 1, -1  # segments; special tokens and padding belong to neither text


@dataclass(frozen=True, slots=True)
class PairTokens:
    """Tokenised pairs, padded behind to the longest of them."""

    ids: Tensor  # [P, T] int64
    mask: Tensor  # [P, T] bool, False = padding
    types: Tensor  # [P, T] int64, what the model is told of segments; RoBERTa is told nothing
    segments: Tensor  # [P, T] int64: QUERY, DOCUMENT or NEITHER, as the tokenizer counted them


def first_token(states: Tensor) -> Tensor:
    """[P, T, d] to [P, d]."""
    return states[:, 0]


def separator(states: Tensor, tokens: PairTokens, which: Separator) -> Tensor:
    """The state of one special token [P, d]: the second, which closes the query, or the last one of all."""
    import torch

    is_special = (tokens.segments == NEITHER) & tokens.mask  # [CLS] is the first
    count = is_special.cumsum(dim=1)
    wanted = torch.full_like(count[:, :1], 2) if which == "query" else count[:, -1:]
    places = (is_special & (count == wanted)).float().argmax(dim=1)
    return states[torch.arange(len(states)), places]


def segment_mean(states: Tensor, logits: Tensor, is_member: Tensor) -> Tensor:
    """Mean of a segment's states, weighted by the soft-max of its logits; equal logits give the plain mean.

    states     [P, T, d]
    logits     [P, T], of which only those of members are read
    is_member  [P, T] bool; a segment without any gives zeros
    """
    import torch

    lowest = torch.finfo(logits.dtype).min  # not -inf, which makes an empty segment nan
    weights = torch.softmax(logits.masked_fill(~is_member, lowest), dim=1) * is_member
    return (weights[:, None, :] @ states)[:, 0]
