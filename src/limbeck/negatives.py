"""Which documents a training step scores: small sources that compose.

    InBatch(Together(TopK(ranked, sample=1), Positives(labels)))     labels + in-batch + one of the teacher's top 200
    InBatch(TopK(ranked))                                            no labels, whole top list + in-batch
    TopK(ranked)                                                     each query its own list

Letters: B queries, C candidates, Q training queries. No document stands twice in a list.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from limbeck.errors import ConfigError
from limbeck.types import Batch, Candidates, Hits, Rows

if TYPE_CHECKING:
    from limbeck.contracts import Negatives
    from limbeck.data.labels import Labels


class TopK:
    """The documents that a teacher ranks first for each training query: all of them, or a few drawn each time.

    ranked  [Q, K] rows, -1 past the end
    sample  how many to draw without repetition; None = all K
    """

    def __init__(self, ranked: Rows, *, sample: int | None = None, seed: int = 0) -> None:
        if sample is not None and not 1 <= sample <= ranked.shape[1]:
            raise ConfigError(
                f"`sample` must lie in 1..{ranked.shape[1]}, the length of the lists; found {sample}."
            )
        self.ranked = ranked
        self.sample = sample
        self.seed = seed
        self._step = 0

    def __call__(self, batch: Batch) -> Candidates:
        rows = np.asarray(batch.rows)
        chosen = self.ranked[rows]
        if self.sample is not None:
            # seeded by the step alone, so that a resumed run draws what an uninterrupted one would have drawn
            generator = np.random.default_rng((self.seed, self._step))
            keys = generator.random(chosen.shape, dtype=np.float32)
            picked = np.argpartition(keys, self.sample - 1, axis=1)[:, : self.sample]
            chosen = np.take_along_axis(chosen, picked, axis=1)
        return _candidates(chosen)

    def refresh(self, search: Callable[[Sequence[str], int], Hits], step: int) -> None:
        self._step = step


class Positives:
    """The labelled documents of each query (ground truth)."""

    def __init__(self, labels: Labels) -> None:
        self.labels = labels

    def __call__(self, batch: Batch) -> Candidates:
        found = [
            self.labels.of(int(row)) if row < len(self.labels) else _NOTHING for row in np.asarray(batch.rows)
        ]
        width = max(1, *(len(documents) for documents, _ in found))
        ids = np.full((len(found), width), -1, dtype=np.int64)
        gains = np.zeros((len(found), width), dtype=np.float32)
        for position, (documents, gain) in enumerate(found):
            ids[position, : len(documents)] = documents
            gains[position, : len(documents)] = gain
        return _candidates(ids, gains)

    def refresh(self, search: Callable[[Sequence[str], int], Hits], step: int) -> None:
        """Labels do not change."""


class Together:
    """Several sources side by side; a document that stands in two of them is kept once, with its highest gain."""

    def __init__(self, *sources: Negatives) -> None:
        self.sources = sources

    def __call__(self, batch: Batch) -> Candidates:
        parts = [source(batch) for source in self.sources]
        ids = np.concatenate([np.where(p.mask.numpy(), p.ids.numpy(), -1) for p in parts], axis=1)
        gains = np.concatenate([p.gains.numpy() for p in parts], axis=1)
        return _candidates(ids, gains)

    def refresh(self, search: Callable[[Sequence[str], int], Hits], step: int) -> None:
        for source in self.sources:
            source.refresh(search, step)


class InBatch:
    """The documents of all queries in the batch, as one pool that every query scores: [1, C] unique rows."""

    def __init__(self, source: Negatives) -> None:
        self.source = source

    def __call__(self, batch: Batch) -> Candidates:
        import torch

        own = self.source(batch)
        ids, mask, own_gains = own.ids.numpy(), own.mask.numpy(), own.gains.numpy()
        pool, place = np.unique(ids[mask], return_inverse=True)
        gains = torch.zeros(1).expand(len(ids), len(pool))  # one number, B·C times
        if own_gains.any():
            query = np.nonzero(mask)[0]
            gains = torch.zeros(len(ids), len(pool))
            np.maximum.at(gains.numpy(), (query, place), own_gains[mask])
        everything = torch.ones(1, dtype=torch.bool).expand(len(ids), len(pool))
        return Candidates(ids=torch.from_numpy(pool)[None], gains=gains, mask=everything)

    def refresh(self, search: Callable[[Sequence[str], int], Hits], step: int) -> None:
        self.source.refresh(search, step)


_NOTHING: tuple[Rows, np.ndarray] = (np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32))


def _candidates(ids: Rows, gains: np.ndarray | None = None) -> Candidates:
    """Lists with -1 for nothing; of repeated documents the one with the highest gain stays."""
    import torch

    gains = np.zeros(ids.shape, dtype=np.float32) if gains is None else gains
    order = np.lexsort((-gains, ids), axis=-1)
    ids = np.take_along_axis(ids, order, axis=-1)
    gains = np.take_along_axis(gains, order, axis=-1)
    is_first = np.ones(ids.shape, dtype=bool)
    is_first[:, 1:] = ids[:, 1:] != ids[:, :-1]
    mask = is_first & (ids >= 0)
    return Candidates(
        ids=torch.from_numpy(np.where(mask, ids, 0)),
        gains=torch.from_numpy(np.where(mask, gains, np.float32(0))),
        mask=torch.from_numpy(mask),
    )
