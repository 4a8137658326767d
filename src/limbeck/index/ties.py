"""The one rule for equal scores: higher score first, then lower row, and at rank k as well.

Engines keep an arbitrary part of a group of equal scores that rank k cuts through, and product codes make
many such groups. So more than k rows are fetched until the group is whole, but no more than `TIE_BOUND`
beyond k: in a group larger than that, which rows are kept is the engine's choice, and only their order is
ours.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

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
    if queries == 0 or depth == 0:
        return Hits(
            np.full((queries, k), -1, dtype=np.int64), np.full((queries, k), -np.inf, dtype=np.float32)
        )
    open_queries = np.arange(queries)
    scores, rows = in_order(*fetch(open_queries, depth))
    best = Hits(_of_width(rows, k, -1), _of_width(scores, k, -np.inf))
    while depth < deepest and scores.shape[1] > k:
        if len(scores) == 1 and tolerance is None and scores[0, k - 1] > scores[0, -1]:
            break  # the usual case of a single query, whose time is that of every step here
        slack = 0 if tolerance is None else tolerance[open_queries]
        cut = (rows[:, -1] >= 0) & (scores[:, k - 1] <= scores[:, -1] + slack)
        open_queries = open_queries[cut]
        if len(open_queries) == 0:
            break
        depth = min(deepest, k + 8 * (depth - k))
        scores, rows = in_order(*fetch(open_queries, depth))
        best.ids[open_queries] = _of_width(rows, k, -1)
        best.scores[open_queries] = _of_width(scores, k, -np.inf)
    return best


def _of_width(values: NDArray[Any], k: int, rest: float) -> NDArray[Any]:
    """A copy of the first k columns of [B, depth], filled up where there are fewer."""
    if values.shape[1] >= k:
        return values[:, :k].copy()
    filled = np.full((len(values), k), rest, dtype=values.dtype)
    filled[:, : values.shape[1]] = values
    return filled


def in_order(scores: Floats, rows: Rows) -> tuple[Floats, Rows]:
    """Each line of [B, depth] sorted by falling score, then ascending row."""
    left, right = scores[:, :-1], scores[:, 1:]
    if (left > right).all():
        return scores, rows
    late = (left < right) | ((left == right) & (rows[:, :-1] > rows[:, 1:]))
    lines = np.flatnonzero(late.any(axis=1))
    if len(lines) == 0:
        return scores, rows
    order = np.lexsort((rows[lines], -scores[lines]), axis=-1)
    scores, rows = scores.copy(), rows.copy()
    scores[lines] = np.take_along_axis(scores[lines], order, axis=1)
    rows[lines] = np.take_along_axis(rows[lines], order, axis=1)
    return scores, rows
