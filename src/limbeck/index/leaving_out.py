"""Filters for engines that have none: rank deeper, and leave rows out afterwards.

Letters: B queries, N documents.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from limbeck.types import Floats, Rows

Rank: TypeAlias = Callable[
    [Floats, int], tuple[Floats, Rows]
]  # queries [B, d] and a depth to scores and rows [B, depth]; row -1 past the end

LARGEST_RESULT = 2**24  # cells of [B, N] ranked at once
MARGIN = 1.5  # ranked beyond what an even spread of the allowed rows needs


def only_allowed(
    rank: Rank, queries: Floats, depth: int, *, allowed: NDArray[np.bool_]
) -> tuple[Floats, Rows]:
    """The best `depth` allowed rows of each query, of what `rank` finds; past the end row -1 and score -inf.

    allowed  [N]; ranks depth / its mean first, then four times as deep, at worst all N rows.
    """
    total = len(allowed)
    deep = min(total, math.ceil(MARGIN * depth / max(float(allowed.mean()), 1 / total)))
    scores = np.full((len(queries), depth), -np.inf, dtype=np.float32)
    rows = np.full((len(queries), depth), -1, dtype=np.int64)
    waiting = np.arange(len(queries))
    while len(waiting):
        step = max(1, LARGEST_RESULT // deep)
        short = []
        for part in np.split(waiting, range(step, len(waiting), step)):
            found, members = rank(queries[part], deep)
            good = (members >= 0) & allowed[np.maximum(members, 0)]
            order = np.argsort(~good, axis=1, kind="stable")[:, :depth]
            kept = np.take_along_axis(good, order, axis=1)
            scores[part] = np.where(kept, np.take_along_axis(found, order, axis=1), -np.inf)
            rows[part] = np.where(kept, np.take_along_axis(members, order, axis=1), -1)
            short.append(part[good.sum(axis=1) < depth])
        waiting = np.concatenate(short) if deep < total else waiting[:0]
        deep = min(total, 4 * deep)
    return scores, rows
