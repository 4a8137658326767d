"""Tokens of many texts in one array: text i has numbers[starts[i]:starts[i + 1]]. What students read in training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from limbeck.encoders.texts import Texts, in_slices
from limbeck.types import Rows

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

SLICE = 4096  # texts tokenised at once


class Tokens(Protocol):
    """As much of a tokenizer of `tokenizers` as is needed here."""

    def encode_batch_fast(self, texts: list[str]) -> list[Encoding]:
        """One encoding a text, without the places of its tokens."""
        ...


@dataclass(frozen=True, slots=True)
class TokenLists:
    """4 bytes a token. No text is empty where the tokenizer adds special tokens."""

    numbers: NDArray[np.int32]  # [T]
    starts: Rows  # [N + 1]

    @classmethod
    def of(cls, tokenizer: Tokens, texts: Texts) -> Self:
        """All texts, slice by slice, as the tokenizer cuts them."""
        parts = [joined(tokenizer.encode_batch_fast(list(part))) for _, part in in_slices(texts, SLICE)]
        return cls.concatenated([cls(*part) for part in parts])

    @classmethod
    def concatenated(cls, lists: Sequence[TokenLists]) -> Self:
        """One list after the other."""
        lengths = [np.diff(one.starts) for one in lists]
        numbers = [one.numbers for one in lists]
        return cls(
            np.concatenate([np.empty(0, np.int32), *numbers]),
            np.concatenate([[0], np.cumsum(np.concatenate([np.empty(0, np.int64), *lengths]))]),
        )

    def __len__(self) -> int:
        return len(self.starts) - 1

    def take(self, rows: Rows) -> Self:
        """The lists of these rows, in this order."""
        starts, lengths = self.starts[rows], self.starts[rows + 1] - self.starts[rows]
        ends = np.cumsum(lengths)
        places = np.arange(int(ends[-1]) if len(ends) else 0) + np.repeat(starts - (ends - lengths), lengths)
        return type(self)(self.numbers[places], np.concatenate([[0], ends]))


def padded(texts: TokenLists, pad: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Token numbers and mask [B, longest], int64; what is missing at the end is `pad` and 0."""
    lengths = np.diff(texts.starts)
    mask = np.arange(int(lengths.max(initial=1))) < lengths[:, None]
    ids = np.full(mask.shape, pad, dtype=np.int64)
    ids[mask] = texts.numbers
    return ids, mask.astype(np.int64)


def vocabulary_size(tokenizer: Tokenizer) -> int:
    """The largest number of a token, and 1: numbers need not be without gaps."""
    return 1 + max(tokenizer.get_vocab().values(), default=-1)


def joined(encodings: Sequence[Encoding]) -> tuple[NDArray[np.int32], Rows]:
    """The numbers of all encodings behind each other [T], and where each begins [N + 1]."""
    if len(encodings) == 1:
        numbers = np.array(encodings[0].ids, dtype=np.int32)
        return numbers, np.array([0, len(numbers)])
    lists = [encoding.ids for encoding in encodings]
    starts = np.concatenate([[0], np.cumsum([len(ids) for ids in lists], dtype=np.int64)])
    return np.array([number for ids in lists for number in ids], dtype=np.int32), starts
