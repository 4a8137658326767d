"""Two ranked lists into one: by ranks, or by weighted scores. Pure functions on hits; the tie rule is kept.

Letters: B queries, k results, n pairs of a query and a document that some list holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from limbeck.errors import ConfigError, ShapeError
from limbeck.types import Hits, Rows

if TYPE_CHECKING:
    from limbeck.data.labels import Labels

Method: TypeAlias = Literal["ranks", "scores"]
Numbers: TypeAlias = NDArray[np.float64]

RANK_CONSTANT = (
    60  # Cormack, Clarke & Büttcher, SIGIR 2009: "fixed during a pilot investigation", not tuned since
)
GRID = tuple(step / 20 for step in range(21))  # weights of the dense list that `fit_weight` tries
MEASURE = "nDCG@10"
DEPTH = 100  # candidates of each list


@dataclass(frozen=True, slots=True)
class Fusion:
    """How an artefact's dense and lexical hits become one list."""

    method: Method = "ranks"
    weight: float = 0.5  # of the dense scores, in [0, 1]; ranks count alike
    depth: int = DEPTH  # candidates of each list, or k where that is more

    def __post_init__(self) -> None:
        if self.method not in ("ranks", "scores"):
            raise ConfigError(f"`method` is {self.method!r}; must be 'ranks' or 'scores'.")
        _check_weight(self.weight)
        if type(self.depth) is not int or self.depth < 1:
            raise ConfigError(f"`depth` is {self.depth!r}; must be a whole number of at least 1.")

    def __call__(self, dense: Hits, lexical: Hits, k: int) -> Hits:
        """The k best documents of both lists."""
        if self.method == "ranks":
            return reciprocal_rank([dense, lexical], k)
        return weighted(dense, lexical, k, weight=self.weight)


@dataclass(frozen=True, slots=True)
class Fitted:
    """The weight that was best on labelled queries."""

    weight: float
    figure: float  # mean nDCG@10 there
    curve: tuple[tuple[float, float], ...]  # weight and figure of each that was tried


def reciprocal_rank(lists: Sequence[Hits], k: int, *, constant: int = RANK_CONSTANT) -> Hits:
    """The k best by the sum of 1 / (constant + rank) over the lists that hold a document, ranks from 1.

    lists   any number, for the same B queries; their depths may differ
    cost    a sort of all their entries
    source  Cormack, Clarke & Büttcher, SIGIR 2009
    """
    pairs = _Pairs.of(lists)
    ranks = [1 / (constant + np.arange(1.0, hits.ids.shape[1] + 1)) for hits in lists]
    parts = [np.broadcast_to(rank, hits.ids.shape) for rank, hits in zip(ranks, lists, strict=True)]
    return pairs.best(sum(pairs.columns(parts)), k)  # type: ignore[arg-type]


def weighted(dense: Hits, lexical: Hits, k: int, *, weight: float) -> Hits:
    """The k best by weight · dense + (1 - weight) · lexical, scores of each list brought to [0, 1] for each query.

    A list's best candidate gets 1, its last one 0, and so does what it does not hold: that is at most as good as its
    last. A list whose candidates all score alike gives each of them 1. Weight 1 ranks as the dense list does, but
    that its last candidate ties with what only the lexical list holds.
    source  Bruch, Gai & Ingber, TOIS 2023: convex combination with min-max scaling
    """
    _check_weight(weight)
    pairs = _Pairs.of([dense, lexical])
    left, right = pairs.columns([scaled(dense), scaled(lexical)])
    return pairs.best(weight * left + (1 - weight) * right, k)


def fit_weight(dense: Hits, lexical: Hits, labels: Labels, *, grid: Sequence[float] = GRID) -> Fitted:
    """The weight of `grid` with the best mean nDCG@10 of `weighted` on labelled queries; of equals, nearest to 0.5.

    labels  of the same B queries, which must be others than those that are reported on
    grid    in [0, 1]; 0, 0.05 ... 1 when left out
    cost    one alignment of the lists, then a sort for each weight
    raises  DataError where no query has a label
    """
    from limbeck.evaluate import score_hits

    for weight in grid:
        _check_weight(weight)
    pairs = _Pairs.of([dense, lexical])
    left, right = pairs.columns([scaled(dense), scaled(lexical)])
    curve = []
    for weight in grid:
        hits = pairs.best(weight * left + (1 - weight) * right, 10)
        curve.append((float(weight), score_hits(hits, labels, (MEASURE,)).mean(MEASURE)))
    best, figure = max(curve, key=lambda point: (point[1], -abs(point[0] - 0.5)))
    return Fitted(best, figure, tuple(curve))


def scaled(hits: Hits) -> Numbers:
    """[B, k] from 0 for a query's last candidate to 1 for its best; 1 where all are equal, 0 past the end."""
    there = hits.ids >= 0
    scores = np.where(there, hits.scores, 0).astype(np.float64)
    best = scores.max(axis=1, where=there, initial=-np.inf, keepdims=True)
    last = scores.min(axis=1, where=there, initial=np.inf, keepdims=True)
    shares = np.where(best > last, (scores - last) / np.where(best > last, best - last, 1), 1)
    return np.where(there, shares, 0)


class _Pairs:
    """The documents that any list holds, each once a query, and where every entry of every list belongs."""

    def __init__(
        self, queries: Rows, rows: Rows, places: list[Rows], there: list[NDArray[np.bool_]], count: int
    ) -> None:
        self._queries, self._rows = queries, rows  # [n], by query, then by row
        self._places, self._there, self._count = places, there, count

    @classmethod
    def of(cls, lists: Sequence[Hits]) -> _Pairs:
        if not lists or len({len(hits) for hits in lists}) != 1:
            raise ShapeError(
                f"the lists are for {[len(hits) for hits in lists]} queries; must be lists for the same ones."
            )
        there = [hits.ids >= 0 for hits in lists]
        queries = np.concatenate([np.nonzero(found)[0] for found in there])
        rows = np.concatenate([hits.ids[found] for hits, found in zip(lists, there, strict=True)])
        span = int(rows.max(initial=0)) + 1
        keys, places = np.unique(queries * span + rows, return_inverse=True)
        parts = np.split(places, np.cumsum([found.sum() for found in there])[:-1])
        return cls(keys // span, keys % span, parts, there, len(lists[0]))

    def columns(self, values: Sequence[NDArray[np.floating[Any]]]) -> list[Numbers]:
        """For each list its values [B, k] as [n], 0 where the list does not hold the document."""
        found = []
        for value, places, there in zip(values, self._places, self._there, strict=True):
            column = np.zeros(len(self._rows))
            column[places] = value[there]
            found.append(column)
        return found

    def best(self, totals: Numbers, k: int) -> Hits:
        """The k documents of each query with the highest totals [n]; equal float32 totals by ascending row."""
        if k < 1:
            raise ConfigError(f"`k` must be at least 1, got {k}.")
        scores = totals.astype(np.float32)
        order = np.lexsort((self._rows, -scores, self._queries))
        counts = np.bincount(self._queries, minlength=self._count)
        ranks = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
        kept = order[ranks < k]
        where = self._queries[kept], ranks[ranks < k]
        hits = Hits(
            np.full((self._count, k), -1, dtype=np.int64),
            np.full((self._count, k), -np.inf, dtype=np.float32),
        )
        hits.ids[where], hits.scores[where] = self._rows[kept], scores[kept]
        return hits


def _check_weight(weight: object) -> None:
    if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 <= weight <= 1:
        raise ConfigError(f"`weight` is {weight!r}; must be a number in [0, 1]: the share of the dense list.")
