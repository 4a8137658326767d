"""Which tokens of a text are left out, and what stands in their place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from limbeck.encoders.tokens import TokenLists
from limbeck.errors import ConfigError
from limbeck.types import Rows


def masked(
    tokens: TokenLists,
    share: float,
    draws: Sequence[np.random.Generator],
    *,
    marks: Rows,
    special: NDArray[np.integer[Any]],
) -> TokenLists:
    """The tokens, each replaced with probability `share`; the k-th of a text by the k-th mark, or the last there is.

    Each token is drawn alone, not a rounded share of all: of a short query that would mask nothing.
    special  tokens that stay
    """
    if not 0 <= share <= 1:
        raise ConfigError(f"the share of masked tokens must be in [0, 1]; found {share}.")
    lengths = np.diff(tokens.starts)
    drawn = [draw.random(length) for draw, length in zip(draws, lengths, strict=True)]
    hit = np.concatenate([np.empty(0), *drawn]) < share
    hit &= ~np.isin(tokens.numbers, special)
    before = np.concatenate([[0], np.cumsum(hit)])
    place = before[1:] - np.repeat(before[tokens.starts[:-1]], lengths) - 1
    chosen = marks[np.clip(place, 0, len(marks) - 1)]
    return TokenLists(np.where(hit, chosen, tokens.numbers).astype(np.int32), tokens.starts)


def marks_of(tokenizer: Any) -> Rows:
    """The numbers of the tokens that stand for what is left out: one mask, or T5's sentinels in their order."""
    if tokenizer.mask_token_id is not None:
        return np.array([tokenizer.mask_token_id])
    known = tokenizer.get_vocab()
    sentinels = [known[name] for name in (f"<extra_id_{place}>" for place in range(100)) if name in known]
    if not sentinels:
        raise ConfigError(
            "this tokenizer has neither a mask token nor sentinels (<extra_id_0>, ...); one of the two must stand for "
            "the tokens that are left out."
        )
    return np.array(sentinels)
