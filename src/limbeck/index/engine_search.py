"""How a faiss index is asked: parameters made for each search, never set on the index, so threads do not meet.

Letters: B queries, N documents.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from limbeck.types import Floats, Rows

MOST_KEPT = 256  # search parameters, one for each effort and depth


def typed(index: Any) -> Any:
    """The index as its own class: parts of others come as the base class."""
    import faiss

    return faiss.downcast_index(index) if type(index) is faiss.Index else index


def innermost(index: Any) -> Any:
    """The index that searches, without transforms before it and a second look behind it."""
    import faiss

    inner = typed(index)
    if isinstance(inner, faiss.IndexPreTransform):
        return innermost(inner.index)
    if isinstance(inner, faiss.IndexRefine):
        return innermost(inner.base_index)
    return inner


def exhaustive(index: Any) -> Any:
    """The same index with a graph, where there is one, replaced by a scan of what the graph is over."""
    import faiss

    if not isinstance(innermost(index), faiss.IndexHNSW):
        return index
    inner = typed(index)
    if isinstance(inner, faiss.IndexPreTransform):
        scan = faiss.IndexPreTransform(exhaustive(inner.index))
        for place in reversed(range(inner.chain.size())):
            scan.prepend_transform(inner.chain.at(place))
        return scan
    if isinstance(inner, faiss.IndexRefine):
        scan = faiss.IndexRefine(exhaustive(inner.base_index), inner.refine_index)
        scan.k_factor = inner.k_factor
        return scan
    return typed(inner.storage)


def leaves_rows_out(index: Any) -> bool:
    """Whether faiss can restrict this index to some rows; hashes, additive codes and fast scans cannot."""
    import faiss

    cannot = (
        faiss.IndexLSH,
        faiss.IndexPQ,
        faiss.IndexAdditiveQuantizer,
        faiss.IndexIVFAdditiveQuantizer,
        faiss.IndexFastScan,
        faiss.IndexIVFFastScan,
    )
    return not isinstance(innermost(index), cannot)


def selector(allowed: NDArray[np.bool_] | None) -> Any:
    """What faiss reads a mask [N] from; None for all rows."""
    import faiss

    if allowed is None:
        return None
    return faiss.IDSelectorBitmap(np.packbits(allowed, bitorder="little"))


def parameters(index: Any, *, effort: float, depth: int, hits: int | None = None, chosen: Any) -> Any:
    """Search parameters for an effort in (0, 1], a depth to rank to and a selector (or None).

    hits  wanted of the search, where it ranks deeper to see ties: a second look takes factor·hits candidates
    """
    import faiss

    inner = typed(index)
    options = {} if chosen is None else {"sel": chosen}
    if isinstance(inner, faiss.IndexPreTransform):
        deeper = parameters(inner.index, effort=effort, depth=depth, hits=hits, chosen=chosen)
        return None if deeper is None else faiss.SearchParametersPreTransform(index_params=deeper)
    if isinstance(inner, faiss.IndexRefine):
        wanted = max(depth, math.ceil(inner.k_factor * (hits or depth)))
        deeper = parameters(inner.base_index, effort=effort, depth=wanted, chosen=chosen)
        factor = (wanted + 0.5) / depth  # faiss takes the whole part of factor·depth
        return faiss.IndexRefineSearchParameters(k_factor=factor, base_index_params=deeper)
    if isinstance(inner, faiss.IndexIVF):
        return faiss.SearchParametersIVF(nprobe=share_of(effort, inner.nlist), **options)
    if isinstance(inner, faiss.IndexHNSW):
        width = max(depth, share_of(effort, inner.ntotal))
        return faiss.SearchParametersHNSW(efSearch=width, **options)
    return faiss.SearchParameters(**options) if options else None


def share_of(effort: float, total: int) -> int:
    """ceil(effort·total), from 1 to total."""
    return max(1, min(total, math.ceil(effort * total - 1e-9)))


class Parameters:
    """Search parameters kept from one search to the next: making them takes as long as a small search (25 µs).

    They are only read by faiss, so threads may share them; those with a selector are made anew each time.
    """

    def __init__(self) -> None:
        self._kept: dict[tuple[int, float, int, int], Any] = {}

    def __call__(self, index: Any, *, effort: float, depth: int, hits: int, chosen: Any) -> Any:
        if chosen is not None:
            return parameters(index, effort=effort, depth=depth, hits=hits, chosen=chosen)
        key = (id(index), effort, depth, hits)
        if key not in self._kept:
            if len(self._kept) >= MOST_KEPT:
                self._kept = {}
            self._kept[key] = parameters(index, effort=effort, depth=depth, hits=hits, chosen=None)
        return self._kept[key]


def ranked(
    index: Any, queries: Floats, depth: int, *, hits: int, effort: float, chosen: Any, kept: Parameters
) -> tuple[Floats, Rows]:
    """The engine's own scores and rows [B, depth]; with a selector, of those rows alone."""
    import faiss

    inner = typed(index)
    if isinstance(inner, faiss.IndexRefine) and depth * inner.k_factor >= inner.ntotal:
        second = inner.refine_index  # every row gets the second look; faiss is wrong beyond N candidates
        options = parameters(second, effort=effort, depth=depth, chosen=chosen)
        return second.search(queries, depth, params=options)  # type: ignore[no-any-return]
    asked = kept(index, effort=effort, depth=depth, hits=hits, chosen=chosen)
    scores, rows = index.search(queries, depth, params=asked)
    return scores, rows
