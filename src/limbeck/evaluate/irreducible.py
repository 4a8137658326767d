"""How much of query matching no student can remove: the teacher's query vector depends on the document beside it.

Letters: Q queries, C documents a query, d width.
"""

from __future__ import annotations

import numpy as np

from limbeck.errors import ShapeError
from limbeck.types import Floats

STEPS = 500
TOLERANCE = 1e-9  # of a step, over the spread of the points
TINY = 1e-12


def geometric_median(points: Floats) -> np.ndarray:
    """The point [d] with the least sum of distances to the points [C, d]; float64.

    Weiszfeld's iteration from the mean; it may stop short beside one of the points, so those are tried as well.

    cost    at most 500·C·d, and C²·d
    source  Weiszfeld, 1937
    """
    if points.ndim != 2 or not len(points):
        raise ShapeError(f"expected points [C, d], at least one; found shape {points.shape}.")
    points = np.asarray(points, dtype=np.float64)
    found = points.mean(axis=0)
    spread = np.linalg.norm(points - found, axis=1).max()
    for _ in range(STEPS):
        weights = 1 / np.maximum(np.linalg.norm(points - found, axis=1), TINY + TINY * spread)
        moved = weights @ points / weights.sum()
        step = np.linalg.norm(moved - found)
        found = moved
        if step <= TOLERANCE * spread:
            break
    tried = np.concatenate([found[None], points])
    sums = np.linalg.norm(tried[:, None] - points[None], axis=2).sum(axis=1)
    best: np.ndarray = tried[int(sums.argmin())]
    return best


def irreducible(vectors: Floats) -> float:
    """F_Q: the mean distance of a query's vectors [Q, C, d] to their geometric median.

    R_Emb,Q over the same pairs cannot go below it, whatever vector a student gives a query and however it is mapped.
    0 where the query's vector is the same beside every document.
    """
    if vectors.ndim != 3 or not len(vectors):
        raise ShapeError(f"expected vectors [Q, C, d] of at least one query; found shape {vectors.shape}.")
    floors = [
        np.linalg.norm(np.asarray(points, dtype=np.float64) - geometric_median(points), axis=1).mean()
        for points in vectors
    ]
    return float(np.mean(floors))
