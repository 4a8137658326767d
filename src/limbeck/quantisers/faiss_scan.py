"""Search over codes through faiss: choose lists by routing vectors, scan them, higher is better."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from limbeck.errors import ConfigError
from limbeck.types import Floats, Metric, Rows

ROW_IDS = False  # search_preassigned gives ids, not (list, offset) pairs


@contextmanager
def faiss_threads(threads: int | None) -> Iterator[None]:
    """So many threads for faiss in the block, for the calling thread only; None leaves it as it is."""
    if threads is None:
        yield
        return
    if threads < 1:
        raise ConfigError(f"`threads` must be at least 1, or None for all, got {threads!r}.")
    import faiss

    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(threads)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def nearest_rows(query: Floats, vectors: Floats, k: int, *, metric: Metric) -> tuple[Floats, Rows]:
    """Scores and rows [B, k] of the best vectors by exact scan, without an index: no copy of the vectors."""
    import faiss

    kind = faiss.METRIC_INNER_PRODUCT if metric == "ip" else faiss.METRIC_L2
    distances, rows = faiss.knn(query, vectors, k, metric=kind)
    return _as_scores(distances, rows, metric=metric), rows


def scan_all(
    index: Any, turned: Floats, k: int, *, metric: Metric, allowed: NDArray[np.bool_] | None
) -> tuple[Floats, Rows]:
    """Scores and rows [B, k] over all codes of an IndexPQ; with `allowed` [N], over a copy of those codes."""
    if allowed is None:
        distances, rows = index.search(turned, k)
        return _as_scores(distances, rows, metric=metric), rows
    members = np.flatnonzero(allowed)
    distances, places = _some_codes(index, members).search(turned, k)
    rows = np.where(places >= 0, members[np.maximum(places, 0)], -1)
    return _as_scores(distances, rows, metric=metric), rows


def scan_lists(
    index: Any,
    turned: Floats,
    k: int,
    *,
    lists: Rows,
    coarse: Floats,
    metric: Metric,
    allowed: NDArray[np.bool_] | None,
) -> tuple[Floats, Rows]:
    """Scores and rows [B, k] over lists [B, P] of an IndexIVFPQ; `coarse` [B, P] scores their bases."""
    import faiss

    parameters = _probing(lists.shape[1])
    if allowed is not None:
        chosen = faiss.IDSelectorBitmap(np.packbits(allowed, bitorder="little"))
        parameters = faiss.SearchParametersIVF(nprobe=lists.shape[1], sel=chosen)
    lists = np.ascontiguousarray(lists, dtype=np.int64)
    coarse = np.ascontiguousarray(coarse if metric == "ip" else -coarse, dtype=np.float32)
    turned = np.ascontiguousarray(turned, dtype=np.float32)
    distances = np.empty((len(turned), k), dtype=np.float32)
    rows = np.empty((len(turned), k), dtype=np.int64)
    point = faiss.swig_ptr
    index.search_preassigned_c(
        *(len(turned), point(turned), k, point(lists), point(coarse), point(distances), point(rows)),
        ROW_IDS,
        parameters,
    )
    return _as_scores(distances, rows, metric=metric), rows


def choose_lists(
    turned: Floats, *, routing: Floats, base: Floats, probes: int, metric: Metric
) -> tuple[Rows, Floats]:
    """The P = `probes` best lists [B, P] by routing vectors, in any order, and the scores of their base centroids."""
    if len(turned) == 1 and metric == "ip":  # half the time of the general way
        best = np.argpartition(-(routing @ turned[0]), probes - 1)[:probes]
        return best[None], (base[best] @ turned[0])[None]
    scores, lists = nearest_rows(turned, routing, probes, metric=metric)
    if routing is base:
        return lists, scores
    if metric == "ip":
        return lists, (turned @ base.T)[np.arange(len(turned))[:, None], lists]
    exact = turned.astype(np.float64)
    products = exact @ base.T.astype(np.float64)
    squares = (exact**2).sum(1)[:, None] + (base.astype(np.float64) ** 2).sum(1)[None]
    return lists, np.take_along_axis(2 * products - squares, lists, axis=1).astype(np.float32)


@lru_cache
def _probing(probes: int) -> Any:
    """Search parameters that faiss only reads; to make them takes 10 µs."""
    import faiss

    return faiss.SearchParametersIVF(nprobe=probes)


def _some_codes(index: Any, members: Rows) -> Any:
    import faiss

    size = int(index.pq.code_size)
    codes = faiss.rev_swig_ptr(index.codes.data(), index.ntotal * size).reshape(-1, size)
    part = faiss.IndexPQ(index.d, index.pq.M, index.pq.nbits, index.metric_type)
    part.pq = index.pq
    faiss.copy_array_to_vector(np.ascontiguousarray(codes[members]).ravel(), part.codes)
    part.ntotal, part.is_trained = len(members), True
    return part


def _as_scores(distances: Floats, rows: Rows, *, metric: Metric) -> Floats:
    scores = distances if metric == "ip" else -distances
    if rows.min(initial=0) >= 0:
        return scores
    return np.where(rows >= 0, scores, np.float32(-np.inf))
