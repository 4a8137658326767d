"""The one rule for equal scores: higher score first, then lower row, and at rank k as well.

Engines keep an arbitrary part of a group of equal scores that rank k cuts through, and product codes make
many such groups. So more than k rows are fetched until the group is whole, but no more than `TIE_BOUND`
beyond k: in a group larger than that, which rows are kept is the engine's choice, and only their order is
ours.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from limbeck.types import Floats, Hits, Rows

Fetch: TypeAlias = Callable[[Rows, int], tuple[Floats, Rows]]
# (numbers of the queries, depth) -> scores and rows [those queries, depth], best first, -1 and -inf past the
# end

SLACK = 8  # rows fetched beyond k at first, so that small groups are whole at once
TIE_BOUND = 4096  # rows fetched beyond k at most


def best_hits(fetch: Fetch, *, queries: int, k: int, size: int, tolerance: Floats | None = None) -> Hits:
    """The k best of `size` rows for each query. Scores within `tolerance` [B] at rank k count as equal."""
    deepest = min(size, k + TIE_BOUND)
    depth = min(size, k + SLACK)
    ids = np.full((queries, k), -1, dtype=np.int64)
    best = np.full((queries, k), -np.inf, dtype=np.float32)
    open_queries = np.arange(queries)
    while len(open_queries) and depth:
        scores, rows = in_order(*fetch(open_queries, depth))
        width = min(k, scores.shape[1])
        ids[open_queries, :width] = rows[:, :width]
        best[open_queries, :width] = scores[:, :width]
        if depth >= deepest or scores.shape[1] <= k:
            break
        slack = 0 if tolerance is None else tolerance[open_queries]
        cut = (rows[:, -1] >= 0) & (scores[:, k - 1] <= scores[:, -1] + slack)
        open_queries = open_queries[cut]
        depth = min(deepest, k + 8 * (depth - k))
    return Hits(ids, best)


def in_order(scores: Floats, rows: Rows) -> tuple[Floats, Rows]:
    """Each line of [B, depth] sorted by falling score, then ascending row."""
    left, right = scores[:, :-1], scores[:, 1:]
    late = (left < right) | ((left == right) & (rows[:, :-1] > rows[:, 1:]))
    lines = np.flatnonzero(late.any(axis=1))
    if len(lines) == 0:
        return scores, rows
    order = np.lexsort((rows[lines], -scores[lines]), axis=-1)
    scores, rows = scores.copy(), rows.copy()
    scores[lines] = np.take_along_axis(scores[lines], order, axis=1)
    rows[lines] = np.take_along_axis(rows[lines], order, axis=1)
    return scores, rows
