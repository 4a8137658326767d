"""Losses over pairs that a cross-encoder reads: rebuilding its tokens, and vectors of a query in a pair.

Letters: B queries, C candidates, P pairs, T tokens, K tokens that count, V vocabulary, d width.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from limbeck.losses.distil import only
from limbeck.losses.vectors import EPSILON

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from limbeck.types import Step, Term


def reconstruction(states: Tensor, tokens: Tensor, counts: Tensor, vocabulary: Tensor) -> Tensor:
    """-log of the share that each token gets in the soft-max of its own final state, the mean of each text.

    Nothing is masked in the input: it keeps states apart that a score alone would let collapse. log V where all
    logits are equal.

    states      [P, T, d]
    tokens      [P, T] what stood there
    counts      [P, T] bool, real tokens, or some of them; a text without any gives 0
    vocabulary  [V, d] the matrix W of the logits
    returns     [P] nats; K·V·d multiply-adds
    source      EmbedDistill (Kim et al., 2023), section 4.2
    """
    import torch

    logits = states[counts] @ vocabulary.T  # [K, V]
    nats = torch.nn.functional.cross_entropy(logits, tokens[counts], reduction="none")
    owner = counts.nonzero()[:, 0]
    total = torch.zeros(len(states), dtype=nats.dtype).index_add(0, owner, nats)
    return total / counts.sum(dim=1).clamp(min=1)


def reconstruct(vocabulary: Tensor, *, every: int = 1) -> Term:
    """`reconstruction` of the step's view "pairs" [B, C, T, d], the mean over a query's candidates.

    every  of a text's tokens only one in so many is rebuilt, other ones in each step: V·d a token is dear
    """

    def term(step: Step) -> Tensor:
        import torch

        assert step.candidates is not None
        pairs: Any = step.docs["pairs"]
        states, tokens, real = (part.flatten(0, 1) for part in (pairs.vectors, pairs.tokens, pairs.mask))
        shift = int(step.batch.rows.sum()) % every  # of the batch alone: a resumed run draws the same
        places = torch.arange(tokens.shape[1]) + torch.arange(len(tokens))[:, None]
        each = reconstruction(states, tokens, real & (places % every == shift), vocabulary)
        return _mean_of(each.view(step.candidates.mask.shape), step.candidates.mask)

    return term


def match_in_pairs(project: Callable[[Step], Tensor], *, target: str) -> Term:
    """||target - projected|| of each pair of the step, the mean over a query's candidates (eq. 7, un-squared).

    project  the student's side of it [B, C, d] or [B, 1, d]
    target   which of the step's targets [B, C, 1, d]
    returns  [B]; with a target that depends on the document and a student that does not, at least `irreducible`
    """

    def term(step: Step) -> Tensor:
        assert step.candidates is not None
        off = (project(step) - step.targets[target].flat).square().sum(dim=-1)
        return _mean_of((off + EPSILON).sqrt(), step.candidates.mask)

    return term


def _mean_of(values: Tensor, mask: Tensor) -> Tensor:
    """[B, C] to [B], over the candidates that count."""
    mean: Tensor = only(values, mask, 0.0).sum(dim=-1) / mask.sum(dim=-1).clamp(min=1)
    return mean
