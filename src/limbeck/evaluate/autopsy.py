"""Where an index lost the documents that exact search finds: each lost document has exactly one cause.

For a query, E are the k documents of exact search (documents tied with the k-th are equivalent, as in `overlap`), and
H the k hits of the index. Lost are those of E that are not in H: k·(1 - overlap@k) of them, document by document. Let
V be the documents in the lists that were visited (all, without lists), s(x) a document's score by definition (the
quantiser's `score`: from codewords, in float64), and t the k-th best s in V. A lost document x is lost to

    list        its list was not visited: x is not in V
    tie         s(x) equals t up to the rounding of float32, and so do more documents than there are places: an equal
                came first, by row
    refinement  s(x) >= t: the codes would have kept it, a later step did not (8-bit tables of a fast scan, candidates
                cut before a second look)
    rotation    s(x) < t, and in the turned space the *uncoded* vectors lose it already: a rotation that is not
                orthonormal, one that drops dimensions, or a learnt query map
    codes       s(x) < t, and the uncoded vectors would have kept it: distortion

in this order, so that the causes are exclusive, and their counts add up to the loss.

Letters: Q queries, N documents, L lists, d dimension, e dimension after the rotation.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from limbeck.errors import ConfigError, ShapeError
from limbeck.evaluate.distortion import Distortion, Usage, distortion_of, usage_of
from limbeck.evaluate.overlap import overlap
from limbeck.index.compressed import probed_lists
from limbeck.index.flat import Flat
from limbeck.quantisers.faiss_io import query_transform
from limbeck.quantisers.faiss_scan import nearest_rows
from limbeck.types import Codes, Floats, Hits, Reps, Rows

Cause: TypeAlias = Literal["list", "tie", "refinement", "rotation", "codes"]
CAUSES: tuple[Cause, ...] = get_args(Cause)
CELLS = 2**24  # scores held at a time: 64 MB of float32
ROUNDING = 1e-5  # of the largest score: float32 sums of 384 products differ by less
ORTHONORMAL = 1e-3  # how far R·Rᵀ may lie from 1


@dataclass(frozen=True, slots=True)
class Lost:
    """One document that exact search finds and the index does not."""

    query: int  # row
    document: int  # row
    exact_rank: int  # from 1
    exact_score: float
    decoded_score: float  # from its codewords
    rank: int  # from 1, by decoded score among what was visited, and itself
    cause: Cause
    list_rank: int | None  # from 1: how many lists are to be visited to reach it; None without lists


@dataclass(frozen=True, kw_only=True)
class Autopsy:
    """All that was lost, why, and the state of codewords and lists."""

    k: int
    queries: int
    documents: int
    overlap: NDArray[np.float64]  # [Q]
    lost: tuple[Lost, ...]
    probes: int | None  # lists that a search visits
    lists: int | None
    distortion: Distortion
    usage: Usage

    @property
    def counts(self) -> dict[Cause, int]:
        """Lost documents by cause; their sum is Q·k·(1 - mean overlap)."""
        return {cause: sum(found.cause == cause for found in self.lost) for cause in CAUSES}

    def by_query(self) -> NDArray[np.int64]:
        """[Q, causes] lost documents, causes in the order of `CAUSES`."""
        table = np.zeros((self.queries, len(CAUSES)), dtype=np.int64)
        for found in self.lost:
            table[found.query, CAUSES.index(found.cause)] += 1
        return table

    def by_rank(self) -> NDArray[np.int64]:
        """[k, causes] lost documents by their exact rank; those tied past rank k count at rank k."""
        table = np.zeros((self.k, len(CAUSES)), dtype=np.int64)
        for found in self.lost:
            table[min(found.exact_rank, self.k) - 1, CAUSES.index(found.cause)] += 1
        return table


def autopsy(
    index: Any,
    documents: Floats,
    queries: Floats,
    *,
    k: int = 10,
    effort: float | None = None,
    exact: Hits | None = None,
    seed: int = 0,
) -> Autopsy:
    """Look into what an index of codes loses against exact search over the vectors that it was made of.

    index      one with a `quantiser` and `codes`: CodeIndex, FastScanIndex, SumIndex
    documents  [N, d] the vectors behind its codes, row by row; may be memory-mapped
    queries    [Q, d]
    exact      hits of exact search, 2 k deep, where they are known
    seed       of the documents and queries that distortion is measured on
    cost       Q·N·d multiply-adds twice, in blocks of 64 MB
    raises     ConfigError for an index without codes, ShapeError where the vectors are not those of the index
    """
    _check(index, documents, k)
    metric = index.quantiser.metric
    if exact is None:
        exact = Flat(documents, metric=metric).search(Reps.single(queries), min(2 * k, len(documents)))
    hits = index.search(Reps.single(queries), k, effort=effort)
    missing = lost_documents(hits, exact, k)
    case = _Case(index, documents, effort=effort)
    lost = [
        found
        for rows in _blocks(len(queries), max(1, CELLS // len(documents)))
        for found in case.causes(queries[rows], rows.start, missing[rows], exact, k)
    ]
    return Autopsy(
        k=k,
        queries=len(queries),
        documents=len(documents),
        overlap=overlap(hits, exact, k),
        lost=tuple(lost),
        probes=case.probes,
        lists=case.lists,
        distortion=distortion_of(index.quantiser, case.codes, documents, case.mapped(queries), seed=seed),
        usage=usage_of(index.quantiser, case.codes),
    )


def lost_documents(hits: Hits, exact: Hits, k: int) -> list[list[int]]:
    """For each query the places, in its exact hits, of documents that fell out: k·(1 - overlap) of them.

    Of documents tied with the k-th as many count as lost as places stay empty, the first of them.
    """
    found = []
    for ids, best, scores in zip(hits.ids[:, :k], exact.ids, exact.scores, strict=True):
        threshold = scores[k - 1]
        is_missing = ~np.isin(best, ids)
        above = np.flatnonzero(is_missing & (scores > threshold))
        tied = scores == threshold
        left = k - int((scores > threshold).sum()) - int((tied & ~is_missing).sum())
        found.append([*above.tolist(), *np.flatnonzero(tied & is_missing)[: max(0, left)].tolist()])
    return found


class _Case:
    """One index and its vectors: scores at every stage, for a block of queries."""

    def __init__(self, index: Any, documents: Floats, *, effort: float | None) -> None:
        self.quantiser, self.codes = index.quantiser, index.codes
        self.documents = documents
        self.query_map: Floats | None = getattr(index, "query_map", None)
        self.transform = query_transform(self.quantiser, self.query_map)
        base = getattr(self.quantiser, "base", None)
        self.lists = None if base is None else len(base)
        share = index.default_effort if effort is None and base is not None else effort or 1.0
        self.probes = None if self.lists is None else probed_lists(share, self.lists)
        self.changes_scores = self.query_map is not None or not _is_orthonormal(self.quantiser.rotation)

    def mapped(self, queries: Floats) -> Floats:
        """Queries as the quantiser takes them."""
        return queries if self.query_map is None else queries @ self.query_map.T

    def causes(
        self, queries: Floats, first: int, missing: list[list[int]], exact: Hits, k: int
    ) -> Iterator[Lost]:
        """The lost documents of a block of queries, the first of which is query `first`."""
        scores = self.quantiser.score(self.mapped(queries), self.codes)  # [B, N]
        order = self._list_order(queries)  # [B, L]: place of each list
        turned = self._turned_scores(queries) if self.changes_scores else None
        for row, places in enumerate(missing):
            if not places:
                continue
            visited, places_of_lists = self._visited(None if order is None else order[row])
            seen = _Seen(scores[row], visited, None if turned is None else turned[row], k)
            for place in places:
                document = int(exact.ids[first + row, place])
                yield Lost(
                    query=first + row,
                    document=document,
                    exact_rank=place + 1,
                    exact_score=float(exact.scores[first + row, place]),
                    decoded_score=float(scores[row, document]),
                    rank=seen.rank(document),
                    cause=seen.cause(document),
                    list_rank=None if places_of_lists is None else int(places_of_lists[document]) + 1,
                )

    def _visited(self, order: Rows | None) -> tuple[NDArray[np.bool_] | None, Rows | None]:
        """Which documents [N] lie in visited lists, and the place [N] of each document's list."""
        if order is None or self.codes.lists is None:
            return None, None
        places = order[self.codes.lists]
        return places < (self.probes or 0), places

    def _list_order(self, queries: Floats) -> Rows | None:
        """[B, L] the place of each list in the order in which a search visits them."""
        if self.lists is None:
            return None
        turned = queries if self.transform is None else queries @ self.transform.T
        quantiser = self.quantiser
        _, lists = nearest_rows(
            np.ascontiguousarray(turned, dtype=np.float32),
            quantiser.routing,
            self.lists,
            metric=quantiser.metric,
        )
        order = np.empty_like(lists)
        np.put_along_axis(order, lists, np.arange(self.lists)[None], axis=1)
        return order

    def _turned_scores(self, queries: Floats) -> Floats:
        """[B, N] by the uncoded vectors in the space of the codes."""
        transform = np.eye(queries.shape[1], dtype=np.float32) if self.transform is None else self.transform
        turned = (queries @ transform.T).astype(np.float64)
        scores = np.empty((len(queries), len(self.documents)), dtype=np.float32)
        for rows in _blocks(len(self.documents), 65_536):
            vectors = self.quantiser.rotate_vectors(np.asarray(self.documents[rows])).astype(np.float64)
            products = turned @ vectors.T
            if self.quantiser.metric == "l2":
                products = 2 * products - (turned**2).sum(1)[:, None] - (vectors**2).sum(1)[None]
            scores[:, rows] = products
        return scores


class _Seen:
    """What one query sees: scores [N] by definition, which documents were visited, scores of uncoded vectors."""

    def __init__(
        self, scores: Floats, visited: NDArray[np.bool_] | None, turned: Floats | None, k: int
    ) -> None:
        self.scores, self.visited, self.turned = scores, visited, turned
        self.threshold = _kth(scores, visited, k)
        self.limit = -np.inf if turned is None else _kth(turned, visited, k)
        self.margin = ROUNDING * float(np.abs(scores).max())
        equals = scores >= self.threshold - self.margin
        self.is_cut = (
            int((equals if visited is None else equals & visited).sum()) > k
        )  # rank k divides equals

    def cause(self, document: int) -> Cause:
        """The first of the causes, in the order of this file's docstring, that holds for a lost document."""
        if self.visited is not None and not self.visited[document]:
            return "list"
        score = float(self.scores[document])
        if self.is_cut and abs(score - self.threshold) <= self.margin:
            return "tie"
        if score >= self.threshold:
            return "refinement"
        if self.turned is not None and self.turned[document] < self.limit:
            return "rotation"
        return "codes"

    def rank(self, document: int) -> int:
        """By score, then row, among what was visited, and itself."""
        own = self.scores[document]
        before = self.scores > own
        before[:document] |= self.scores[:document] == own
        return 1 + int((before if self.visited is None else before & self.visited).sum())


def _kth(scores: Floats, visited: NDArray[np.bool_] | None, k: int) -> float:
    """The k-th best score of what was visited; -inf where that is fewer than k."""
    seen = scores if visited is None else scores[visited]
    return float(np.partition(seen, len(seen) - k)[len(seen) - k]) if len(seen) >= k else -np.inf


def _is_orthonormal(rotation: Floats | None) -> bool:
    if rotation is None:
        return True
    if rotation.shape[0] != rotation.shape[1]:
        return False
    return bool(np.abs(rotation @ rotation.T - np.eye(len(rotation))).max() < ORTHONORMAL)


def _blocks(count: int, size: int) -> Iterator[slice]:
    return (slice(start, min(count, start + size)) for start in range(0, count, size))


def _check(index: Any, documents: Floats, k: int) -> None:
    quantiser, codes = getattr(index, "quantiser", None), getattr(index, "codes", None)
    if quantiser is None or not isinstance(codes, Codes):
        raise ConfigError(
            f"found a {type(index).__name__}, which has no codes of ours to look into; expected an index of codes "
            "(PQ, OPQ, DistillVQ, Limbeck)."
        )
    if documents.ndim != 2 or documents.shape != (len(index), quantiser.dim):
        raise ShapeError(
            f"`documents` has shape {documents.shape}, but the index holds [{len(index)}, {quantiser.dim}]; must be "
            "the vectors that it was made of, row by row."
        )
    if not 1 <= k <= len(index):
        raise ConfigError(f"`k` must be in 1..{len(index)}, got {k!r}.")
