"""How much of the exact answer a compressed index finds, without any labels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from limbeck.errors import ConfigError, ShapeError
from limbeck.types import Floats, Hits, Rows

CELLS = 1 << 24  # comparisons at a time: 16 MB of booleans


def overlap(hits: Hits, exact: Hits, k: int = 10) -> NDArray[np.float64]:
    """The share of each query's exact top k that is in its top k here.

    Documents tied with the k-th exact score are equivalent: any of them may fill the places that are left
    after the documents strictly above, so an index is not blamed for another order among equals. Only those
    that `exact` holds are known to tie: search the exact index somewhat deeper than k (2 k will do) where
    equal scores are common.

    hits     [B, k or more]; only ids are read
    exact    [B, k or more] of the exact index, scores falling
    returns  [B] in [0, 1]; 1 where the exact list is empty, since nothing can be missed
    cost     B * k * depth of `exact` comparisons, in bounded memory
    raises   ShapeError when the two are for different numbers of queries, ConfigError when either is shorter
             than k
    """
    _check(hits, exact, k)
    depth = exact.ids.shape[1]
    step = max(1, CELLS // (k * depth))
    shares = [
        _shares(
            hits.ids[low : low + step, :k], exact.ids[low : low + step], exact.scores[low : low + step], k
        )
        for low in range(0, len(hits), step)
    ]
    return np.concatenate(shares) if shares else np.zeros(0)


def _shares(ids: Rows, exact_ids: Rows, exact_scores: Floats, k: int) -> NDArray[np.float64]:
    is_real = exact_ids >= 0
    wanted = np.minimum(is_real.sum(axis=1), k)
    last = np.maximum(wanted - 1, 0)[:, None]
    threshold = np.take_along_axis(exact_scores, last, axis=1)
    is_above = is_real & (exact_scores > threshold)
    is_tied = is_real & (exact_scores == threshold)
    is_found = (ids[:, :, None] == exact_ids[:, None, :]).any(axis=1)
    above = (is_found & is_above).sum(axis=1)
    tied = np.minimum((is_found & is_tied).sum(axis=1), wanted - is_above.sum(axis=1))
    return np.where(wanted > 0, (above + tied) / np.maximum(wanted, 1), 1.0)


def _check(hits: Hits, exact: Hits, k: int) -> None:
    if len(hits) != len(exact):
        raise ShapeError(
            f"the hits are for {len(hits)} queries, but the exact ones for {len(exact)}; search both with "
            "the same queries."
        )
    if k < 1:
        raise ConfigError(f"`k` must be 1 or more, found {k}.")
    for name, found in (("hits", hits), ("exact", exact)):
        if found.ids.shape[1] < k:
            raise ConfigError(
                f"`{name}` holds {found.ids.shape[1]} hits a query, but overlap@{k} needs {k}.\n\n"
                f"Hint: search with k={k} or more."
            )
