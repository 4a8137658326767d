"""What all searches do alike: check what was asked, then go through the queries block by block.

Letters: B queries, N documents, d dimension.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from limbeck.index.arguments import allowed_rows, checked_effort, hits_wanted, query_vectors
from limbeck.quantisers.faiss_scan import faiss_threads
from limbeck.types import Floats, Hits, Reps


class Asked(NamedTuple):
    """A search whose arguments were checked."""

    queries: Floats  # [B, d]
    k: int
    effort: float
    mask: NDArray[np.bool_] | None  # [N]; None = all rows
    size: int  # rows that may be found


class Sized(Protocol):
    """As much of an index as the checks need."""

    @property
    def dim(self) -> int: ...
    def __len__(self) -> int: ...


def asked(
    index: Sized,
    query: Reps,
    k: int,
    *,
    effort: float | None,
    allowed: NDArray[np.bool_] | None,
    default_effort: float = 1.0,
) -> Asked:
    """The arguments of a search of this index. raises ShapeError, DataError, ConfigError where they are wrong"""
    share = checked_effort(effort) or default_effort
    size = len(index)
    queries = query_vectors(query, dim=index.dim)
    wanted = hits_wanted(k, size=size)
    mask = allowed_rows(allowed, size=size)
    return Asked(queries, wanted, share, mask, size if mask is None else int(mask.sum()))


def in_blocks(queries: Floats, search: Callable[[Floats], Hits], *, most: int, threads: int | None) -> Hits:
    """The hits of all queries, `most` of them searched at once; none at all is one empty block."""
    with faiss_threads(threads):
        if len(queries) <= most:
            return search(queries)
        parts = [search(queries[start : start + most]) for start in range(0, len(queries), most)]
    return Hits(np.concatenate([p.ids for p in parts]), np.concatenate([p.scores for p in parts]))
