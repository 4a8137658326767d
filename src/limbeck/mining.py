"""Candidates that the compressed index itself finds: what a step learns from is what search would get wrong.

    Mined(query, documents, labels)               through the index as it is now (JPQ's end-to-end negatives)
    Mined(query, documents, labels, live=False)   through the index as it was at the start (static hard negatives)
    Drawn(documents, labels)                      random documents

Letters: B queries, k mined documents, P most labelled documents of a query in the batch, N documents.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from limbeck.errors import ConfigError
from limbeck.quantisers.faiss_io import code_scanner, prepare_tables
from limbeck.quantisers.faiss_scan import scan_all
from limbeck.types import Batch, Candidates, Codes, Floats, Hits, Metric, Reps, Rows

if TYPE_CHECKING:
    from torch import Tensor

    from limbeck.data.labels import Labels
    from limbeck.quantisers.product import ProductQuantiser


class QuerySide(Protocol):
    """What turns a batch into query vectors of the codes' space."""

    def forward(self, batch: Batch) -> Reps: ...


class CodedDocuments(Protocol):
    """Frozen codes under codewords that move: `documents.CodeBank`."""

    @property
    def quantiser(self) -> ProductQuantiser: ...
    @property
    def codes(self) -> Codes: ...
    @property
    def codewords(self) -> Tensor: ...


class Mined:
    """The top k of each query under the present codewords and query map, then the labelled documents that it missed.

    The candidates are lists of their own [B, k + P], and a document's column is its rank: what `lambda_rank` reads.
    The index is made once; before each step its codewords are overwritten in place (about a millisecond at 256·d).

    live  False keeps codewords and queries as they were at the start
    cost  a call: B·N·M look-ups; N·M bytes held
    """

    def __init__(
        self,
        query: QuerySide,
        documents: CodedDocuments,
        labels: Labels,
        *,
        top: int = 200,
        live: bool = True,
    ) -> None:
        if documents.codes.lists is not None:
            raise ConfigError("mining scans all codes: `lists` must be None, as in JPQ.")
        if top < 1:
            raise ConfigError(f"`top` must be 1 or more; found {top}.")
        self.query = query
        self.documents = documents
        self.labels = labels
        self.top = min(top, len(documents.codes))
        self.live = live
        self._index = code_scanner(documents.quantiser, documents.codes)

    def refresh(self, search: Callable[[Sequence[str], int], Hits], step: int) -> None:
        if self.live:
            self._index = _with_codewords(self._index, self.documents.codewords.detach().numpy())

    def __call__(self, batch: Batch) -> Candidates:
        found = self.search(self._turned(batch), self.top)
        return ranked_candidates(found, self.labels, np.asarray(batch.rows))

    def search(self, turned: Floats, k: int) -> Rows:
        """The k best rows [B, k] of queries [B, d] that are turned already, best first."""
        metric: Metric = self.documents.quantiser.metric
        _, rows = scan_all(self._index, np.ascontiguousarray(turned), k, metric=metric, allowed=None)
        return rows

    def _turned(self, batch: Batch) -> Floats:
        import torch

        if not self.live and batch.vectors is not None:
            return self.documents.quantiser.rotate_vectors(batch.vectors.numpy())
        with torch.no_grad():
            turned: Floats = self.query.forward(batch).flat.numpy()
        return turned


class Drawn:
    """Random documents for each query, then its labelled ones; drawn by seed and step alone."""

    def __init__(self, documents: int, labels: Labels, *, count: int = 200, seed: int = 0) -> None:
        if not 1 <= count <= documents:
            raise ConfigError(f"`count` must lie in 1..{documents}, the number of documents; found {count}.")
        self.documents = documents
        self.labels = labels
        self.count = count
        self.seed = seed
        self._step = 0

    def refresh(self, search: Callable[[Sequence[str], int], Hits], step: int) -> None:
        self._step = step

    def __call__(self, batch: Batch) -> Candidates:
        rows = np.asarray(batch.rows)
        generator = np.random.default_rng((self.seed, self._step))
        drawn = generator.integers(self.documents, size=(len(rows), self.count))
        return ranked_candidates(drawn, self.labels, rows)


def ranked_candidates(found: Rows, labels: Labels, query_rows: Rows) -> Candidates:
    """Found documents [B, k] in their order, then the relevant ones that were not found; repetitions are left out.

    -1 in `found` is nothing. Of a document that stands twice in a row, the first counts.
    """
    import torch

    relevant = [_relevant(labels, int(row)) for row in query_rows]
    missed = [wanted[~np.isin(wanted, line)] for wanted, line in zip(relevant, found, strict=True)]
    width = max((len(rows) for rows in missed), default=0)
    ids = np.full((len(found), found.shape[1] + width), -1, dtype=np.int64)
    ids[:, : found.shape[1]] = found
    gains = np.zeros(ids.shape, dtype=np.float32)
    for line, (wanted, rest) in enumerate(zip(relevant, missed, strict=True)):
        ids[line, found.shape[1] : found.shape[1] + len(rest)] = rest
        gains[line] = np.isin(ids[line], wanted)
    mask = (ids >= 0) & ~_repeated(ids)
    return Candidates(
        ids=torch.from_numpy(np.where(mask, ids, 0)),
        gains=torch.from_numpy(np.where(mask, gains, np.float32(0))),
        mask=torch.from_numpy(mask),
    )


def _relevant(labels: Labels, row: int) -> Rows:
    if row >= len(labels):
        return np.empty(0, dtype=np.int64)
    documents, gains = labels.of(row)
    return documents[gains > 0]


def _repeated(ids: Rows) -> np.ndarray:
    """Which entries [B, C] stand further left in their row already."""
    order = np.argsort(ids, axis=1, kind="stable")
    ordered = np.take_along_axis(ids, order, axis=1)
    repeats = np.zeros(ids.shape, dtype=bool)
    repeats[:, 1:] = ordered[:, 1:] == ordered[:, :-1]
    found = np.empty_like(repeats)
    np.put_along_axis(found, order, repeats, axis=1)
    return found


def _with_codewords(index: Any, codewords: Floats) -> Any:
    import faiss

    faiss.copy_array_to_vector(np.ascontiguousarray(codewords, dtype=np.float32).ravel(), index.pq.centroids)
    prepare_tables(index)
    return index
