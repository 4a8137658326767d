"""Scanning codes by tables that are given, through faiss: the fast path of sums whose tables faiss cannot make.

faiss makes the tables of a product quantiser itself, from codewords and a query. So a block of queries becomes a
quantiser whose codewords are their tables: number k of part m is one number for each query, and the query that asks
for its own is 0 but for a 1 in its place.

Letters: B queries, N documents, M parts, K = 256 codewords a part.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from limbeck.types import Floats, Rows

TOGETHER = 16  # queries that faiss scans for in one call: it has a thread for each


class TableScan:
    """Codes [N, M] of 8 bits a part, held once; nothing of a search is kept, so threads may share it."""

    def __init__(self, codes: NDArray[np.uint8], *, rows: Rows | None = None) -> None:
        self._bytes, self._view = _viewed(codes)  # the index looks into the bytes, which are kept for it
        self._rows = rows  # [N] what the rows are called; None = 0, 1, 2 ...

    def __len__(self) -> int:
        return int(self._view.ntotal)

    @property
    def codes(self) -> NDArray[np.uint8]:
        """[N, M], not to be written to."""
        import faiss

        parts = int(self._view.pq.M)
        stored: NDArray[np.uint8] = faiss.rev_swig_ptr(self._view.codes.data(), len(self) * parts)
        return stored.reshape(-1, parts)

    def only(self, allowed: NDArray[np.bool_]) -> Self:
        """A scan over a copy of some codes, whose rows keep their numbers."""
        rows = np.flatnonzero(allowed)
        return type(self)(self.codes[rows], rows=rows)

    def best(self, tables: Floats, k: int) -> tuple[Floats, Rows]:
        """Scores and rows [B, k] of the largest sums of tables [B, M, K] by code, best first; -inf and -1 past the end.

        cost  N·M look-ups a query, and M·K·16 multiply-adds
        """
        blocks = [
            self._block(tables[first : first + TOGETHER], k) for first in range(0, len(tables), TOGETHER)
        ]
        scores, places = (np.concatenate(found) for found in zip(*blocks, strict=True))
        found = places >= 0
        rows = places if self._rows is None else np.where(found, self._rows[places], -1)
        return np.where(found, scores, np.float32(-np.inf)), rows

    def _block(self, tables: Floats, k: int) -> tuple[Floats, Rows]:
        import faiss

        queries, parts, _ = tables.shape
        index = faiss.IndexPQ(queries * parts, parts, 8, faiss.METRIC_INNER_PRODUCT)
        faiss.copy_array_to_vector(
            np.ascontiguousarray(tables.transpose(1, 2, 0)).ravel(), index.pq.centroids
        )
        index.codes = self._view.codes  # a view of the same bytes
        index.is_trained, index.ntotal = True, len(self)
        own = np.repeat(np.eye(queries, dtype=np.float32)[:, None], parts, axis=1)
        scores, rows = index.search(own.reshape(queries, -1), k)
        return scores, rows


def _viewed(codes: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], Any]:
    """A faiss index over these codes without codewords, whose codes lie in the array beside it."""
    import faiss

    count, parts = codes.shape
    index = faiss.IndexPQ(parts, parts, 8, faiss.METRIC_INNER_PRODUCT)
    faiss.copy_array_to_vector(np.ascontiguousarray(codes).ravel(), index.codes)
    index.is_trained, index.ntotal = True, count
    stored = faiss.serialize_index(index)
    return stored, faiss.read_index(faiss.ZeroCopyIOReader(faiss.swig_ptr(stored), stored.size))
