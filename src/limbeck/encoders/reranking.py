"""Hits in a new order: the documents that an index found, scored by a cross-encoder."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from limbeck.errors import ShapeError
from limbeck.types import Floats, Hits

if TYPE_CHECKING:
    from limbeck.encoders.pair import PairEncoder


class DocumentTexts(Protocol):
    """A corpus, as far as it is read here."""

    def texts_of(self, rows: Iterable[int]) -> list[str]:
        """The contents of these rows."""
        ...


class Reranker:
    """Puts hits into the cross-encoder's order. Which documents they are stays as it is, so R@k of all k does too.

    first_stage  how much of the hits' own scores is added; 0 forgets them
    cost         B·k pairs, sorted by length across all queries
    """

    def __init__(self, pairs: PairEncoder, documents: DocumentTexts, *, first_stage: float = 0.0) -> None:
        self.pairs = pairs
        self.documents = documents
        self.first_stage = first_stage

    def __call__(self, queries: Sequence[str], hits: Hits, *, batch_size: int = 32) -> Hits:
        """Hits [B, k] of any index, as many as there are queries; equal scores by ascending row."""
        if len(queries) != len(hits):
            raise ShapeError(f"{len(queries)} queries, but hits of {len(hits)}; expected as many.")
        is_hit = hits.ids >= 0
        asked, _ = np.nonzero(is_hit)
        found = self.pairs.score(
            [queries[int(row)] for row in asked],
            self.documents.texts_of(hits.ids[is_hit]),
            batch_size=batch_size,
        )
        scores = np.full(hits.ids.shape, -np.inf, dtype=np.float32)
        scores[is_hit] = found + np.float32(self.first_stage) * hits.scores[is_hit]
        return in_order(hits, scores)


def in_order(hits: Hits, scores: Floats) -> Hits:
    """The same hits under other scores [B, k], best first; -1 stays behind."""
    rows = np.where(hits.ids < 0, np.iinfo(np.int64).max, hits.ids)
    order = np.lexsort((rows, -scores), axis=-1)
    units = None if hits.units is None else np.take_along_axis(hits.units, order, axis=1)
    return Hits(np.take_along_axis(hits.ids, order, axis=1), np.take_along_axis(scores, order, axis=1), units)
