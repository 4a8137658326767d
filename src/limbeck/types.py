"""The values that flow between the parts: frozen, small, with their shapes said once.

Letters: B queries, C candidates, n query vectors, m document vectors, d dimension, N documents, L lists, k results.
Scores: higher is better, everywhere. Documents are rows (int) inside and string ids at the boundary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from limbeck.errors import ShapeError

if TYPE_CHECKING:
    from torch import Tensor

Array: TypeAlias = "NDArray[Any] | Tensor"  # numpy in indexes and in serving, torch inside training
Floats: TypeAlias = NDArray[np.float32]
Rows: TypeAlias = NDArray[np.int64]
Metric: TypeAlias = Literal["ip", "l2"]
Side: TypeAlias = Literal["query", "doc"]


@dataclass(frozen=True, slots=True)
class Reps:
    """What every encoder emits: one vector a text (n = 1) or many."""

    vectors: Any  # [..., n, d] float
    mask: Any | None = None  # [..., n] bool, True = real; None = all real
    tokens: Any | None = None  # [..., n] int64; only exact-match scores read them

    @classmethod
    def single(cls, vectors: Any) -> Reps:
        """One vector a text: [..., d] becomes [..., 1, d], without a copy."""
        return cls(vectors[..., None, :])

    @property
    def flat(self) -> Any:
        """[..., d] when there is one vector a text."""
        if self.vectors.shape[-2] != 1:
            raise ShapeError(
                f"expected one vector a text, found {self.vectors.shape[-2]}: shape {tuple(self.vectors.shape)}, "
                "must be [..., 1, d]."
            )
        return self.vectors[..., 0, :]


@dataclass(frozen=True, slots=True)
class Sums:
    """Documents as codewords that are yet to be added up: their inner products need look-ups, never vectors."""

    codewords: Any  # [M, K, w], w = d/S
    choice: Any  # [1 | B, C, M] integer, which codeword of each part
    slices: int  # S: in each slice of the space M/S parts add up; S = M are product codes
    base: Any | None = None  # [1 | B, C, d], added

    @property
    def flat(self) -> Any:
        """[1 | B, C, d]: the definition. Gathers C·M·w floats."""
        chosen = self.codewords.flatten(0, 1)[self.rows]  # [1 | B, C, M, w]
        total = chosen.unflatten(-2, (self.slices, -1)).sum(dim=-2).flatten(start_dim=-2)
        return total if self.base is None else total + self.base

    @property
    def vectors(self) -> Any:
        """[1 | B, C, 1, d], as in `Reps`."""
        return self.flat[..., None, :]

    @property
    def rows(self) -> Any:
        """[1 | B, C, M]: the choice as rows of the codewords of all parts, one below the other."""
        parts, size, _ = self.codewords.shape
        first = self.choice.new_tensor(range(0, parts * size, size))
        return self.choice + first


@dataclass(frozen=True, slots=True)
class Batch:
    """The training queries of one step."""

    rows: Any  # [B] int64, rows of the training queries
    texts: Sequence[str] | None = None
    vectors: Any | None = None  # [B, d] the teacher's query vectors


@dataclass(frozen=True, slots=True)
class Candidates:
    """The documents that a step scores for each query."""

    ids: Any  # [1, C] a pool shared by the batch | [B, C] a list for each query; document rows
    gains: Any  # [B, C] relevance, 0 = not known to be relevant
    mask: Any  # [B, C] bool, False = leave out (padding, duplicate, known false negative)


@dataclass(frozen=True, slots=True)
class Codes:
    """Compressed documents, kept as they are: decoding and encoding again would change some of them."""

    codes: NDArray[np.uint8]  # [N, code_bytes], packed where bits < 8
    lists: NDArray[np.int64] | None = None  # [N] the coarse list of each document

    def __len__(self) -> int:
        return len(self.codes)


@dataclass(frozen=True, slots=True)
class Hits:
    """The best documents of each query, best first; equal scores by ascending row."""

    ids: Rows  # [B, k] document rows, -1 past the end
    scores: Floats  # [B, k] falling; -inf where the id is -1
    units: Rows | None = None  # [B, k] the best unit inside the document: span, chunk, view

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class Step:
    """All that a training step computed; the terms of an objective read this and nothing else."""

    batch: Batch
    query: Reps | None
    docs: Mapping[str, Reps | Sums]  # e.g. "docs", "coarse", "lists"
    candidates: Candidates | None
    scores: Mapping[str, Any]  # name -> [B, C], student scores for each entry of `docs`
    teacher: Mapping[str, Any] = field(default_factory=dict)  # name -> [B, C], same names
    targets: Mapping[str, Reps] = field(default_factory=dict)  # e.g. "query": the teacher's vectors


Term: TypeAlias = "Callable[[Step], Tensor]"  # -> [B], never averaged
