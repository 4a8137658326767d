"""What each part promises. A part is anything with these methods; nothing has to inherit from them.

Letters: B queries, C candidates, n query vectors, m document vectors, d dimension, N documents, L lists, k results.
Higher = better, everywhere. numpy at Index, Quantiser and Retriever; torch in Score, Loss, Negatives, Documents.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from limbeck.types import Batch, Candidates, Codes, Floats, Hits, Metric, Reps, Side, Sums

if TYPE_CHECKING:
    from torch import Tensor


@runtime_checkable
class Encoder(Protocol):
    """Text to vectors, for inference. A trainable encoder adds `forward(texts, side) -> Reps` with gradient."""

    @property
    def dim(self) -> int: ...

    def encode(self, texts: Sequence[str], *, side: Side, batch_size: int = 64) -> Reps:
        """[len(texts), 1 or more, dim] float32 numpy, in the order of `texts`."""
        ...


@runtime_checkable
class Score(Protocol):
    """How well each candidate answers each query."""

    def __call__(self, query: Reps, docs: Reps | Sums) -> Tensor:
        """Query [B, n, d] and docs [1 | B, C, m, d] to [B, C]; a leading 1 is a pool shared by the batch."""
        ...


class PairScore(Protocol):
    """Scores that need the batch itself: cross-encoders, pair networks, teachers (without gradient)."""

    def __call__(self, batch: Batch, candidates: Candidates) -> Tensor:
        """[B, C]."""
        ...


class RankLoss(Protocol):
    """A loss that reads labels."""

    def __call__(self, scores: Tensor, candidates: Candidates) -> Tensor:
        """[B, C] to [B], never averaged here."""
        ...


class DistilLoss(Protocol):
    """A loss that reads a teacher."""

    def __call__(self, student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
        """[B, C] three times to [B]; entries where mask is False are left out."""
        ...


class Negatives(Protocol):
    """Which documents a step scores."""

    def __call__(self, batch: Batch) -> Candidates: ...

    def refresh(self, search: Callable[[Sequence[str], int], Hits], step: int) -> None:
        """Called before each step; samplers that mine with the current system search here, the others do nothing."""
        ...


class Documents(Protocol):
    """Where document representations come from, and therefore what is frozen."""

    def __call__(self, ids: Tensor) -> Mapping[str, Reps | Sums]:
        """Ids [1 | B, C] to named views: "docs" [1 | B, C, m, d], and "coarse", "lists" where there are lists."""
        ...

    def stored(self) -> Iterable[Reps] | Codes:
        """What the index is built from: the very numbers that training saw."""
        ...


@runtime_checkable
class Quantiser(Protocol):
    """Vectors to codes and back. Codes and codewords in general: nothing may assume sub-spaces.

    Codewords that assign and codewords that score are two parts: learning moves the second and must not make stored
    codes stale, and documents added later are coded with the first and scored with the second.
    """

    @property
    def dim(self) -> int: ...
    @property
    def bits(self) -> int: ...
    @property
    def code_bytes(self) -> int: ...
    @property
    def metric(self) -> Metric: ...

    def fit(self, vectors: Floats, *, seed: int) -> Self:
        """A trained copy. vectors [N, d]."""
        ...

    def encode(self, vectors: Floats) -> Codes:
        """[N, d] to N codes, with the codewords that assign."""
        ...

    def decode(self, codes: Codes) -> Floats:
        """N codes to [N, d] in the space of the vectors, with the codewords that score."""
        ...

    def score(self, query: Floats, codes: Codes) -> Floats:
        """[B, d] and N codes to [B, N]: the definition that every fast scan is tested against."""
        ...

    def parts(self) -> Mapping[str, NDArray[Any]]:
        """All learned arrays by name: rotation, base, routing, assign.codewords, score.codewords."""
        ...

    def with_parts(self, parts: Mapping[str, NDArray[Any]]) -> Self:
        """The inverse of `parts`; arrays that are left out stay as they are."""
        ...


@runtime_checkable
class Index(Protocol):
    """Search over rows. Immutable once built, so searching from many threads is safe."""

    @property
    def dim(self) -> int: ...
    @property
    def nbytes(self) -> int:
        """Everything that search holds: codes, ids, centroids, rotation."""
        ...

    def __len__(self) -> int: ...

    def search(
        self, query: Reps, k: int, *, effort: float | None = None, allowed: NDArray[np.bool_] | None = None
    ) -> Hits:
        """The k best rows of each query. effort in (0, 1], 1 = exhaustive; allowed [N] leaves rows out."""
        ...

    def save(self, folder: Path) -> None: ...


@runtime_checkable
class Retriever(Protocol):
    """The serving face: text in, hits out."""

    def search(self, texts: Sequence[str], k: int) -> Hits: ...
