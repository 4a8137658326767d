"""RR, R, P, Success and nDCG over whole matrices, by the definitions of trec_eval.

Tests hold each formula to ir-measures' own value within 1e-12. What is not here goes through ir-measures,
which takes about 25 times as long.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from limbeck.evaluate.judged import Judged

Values = NDArray[np.float64]
Formula = Callable[[Judged], Values]


def formula_of(measure: Any) -> Formula | None:
    """The formula for a parsed ir-measures name; None when only ir-measures treats one of its parameters."""
    params = dict(measure.params)
    cutoff, level = params.pop("cutoff", None), params.pop("rel", 1)
    known = FORMULAS.get(measure.NAME)
    if known is None or params or level < 1 or (cutoff is not None and cutoff < 1):
        return None
    if measure.NAME == "nDCG":
        return None if "rel" in measure.params else partial(ndcg, cutoff=cutoff)
    if measure.NAME in NEED_CUTOFF and cutoff is None:
        return None
    return partial(known, cutoff=cutoff, level=level)


def reciprocal_rank(judged: Judged, *, cutoff: int | None, level: int) -> Values:
    """[Q] 1 / rank of the first relevant hit, 0 when there is none up to the cut-off."""
    is_relevant = judged.gains[:, :cutoff] >= level
    if not is_relevant.shape[1]:
        return np.zeros(len(judged))
    return np.where(is_relevant.any(axis=1), 1.0 / (1 + is_relevant.argmax(axis=1)), 0.0)


def recall(judged: Judged, *, cutoff: int | None, level: int) -> Values:
    """[Q] share of the relevant documents that are among the hits; 0 when nothing is relevant."""
    possible = np.bincount(judged.label_query[judged.label_gains >= level], minlength=len(judged))
    return _found(judged, cutoff, level) / np.maximum(possible, 1)


def precision(judged: Judged, *, cutoff: int, level: int) -> Values:
    """[Q] share of the first `cutoff` places that hold a relevant document; empty places count as wrong."""
    return _found(judged, cutoff, level) / cutoff


def success(judged: Judged, *, cutoff: int | None, level: int) -> Values:
    """[Q] 1 when any hit up to the cut-off is relevant."""
    return (_found(judged, cutoff, level) > 0).astype(np.float64)


def ndcg(judged: Judged, *, cutoff: int | None) -> Values:
    """[Q] sum of gain / log2(rank + 1) over that of the best possible order; negative gains count as 0."""
    gains = np.maximum(judged.gains[:, :cutoff], 0.0)
    reached: Values = (gains / np.log2(np.arange(gains.shape[1]) + 2)).sum(axis=1)
    ideal = _ideal_gain(judged, cutoff)
    return np.divide(reached, ideal, out=np.zeros(len(judged)), where=ideal > 0)


def _found(judged: Judged, cutoff: int | None, level: int) -> Values:
    counts: Values = (judged.gains[:, :cutoff] >= level).sum(axis=1, dtype=np.float64)
    return counts


def _ideal_gain(judged: Judged, cutoff: int | None) -> Values:
    order = np.lexsort((-judged.label_gains, judged.label_query))
    starts = np.cumsum(judged.label_counts) - judged.label_counts
    rank = np.arange(len(order)) - starts[judged.label_query]
    worth = np.maximum(judged.label_gains[order], 0.0) / np.log2(rank + 2)
    if cutoff is not None:
        worth[rank >= cutoff] = 0.0
    return np.bincount(judged.label_query, weights=worth, minlength=len(judged)).astype(
        np.float64, copy=False
    )


FORMULAS: dict[str, Callable[..., Values]] = {
    "RR": reciprocal_rank,
    "R": recall,
    "P": precision,
    "Success": success,
    "nDCG": ndcg,
}
NEED_CUTOFF = ("R", "P", "Success")
