"""What cross-encoders are trained on and distilled from: a relevant document and rivals of it, for each query.

Letters: Q training queries, R of them that have a relevant document, B queries, C candidates, K depth, d width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self

import numpy as np

from limbeck.data.text_data import TextData
from limbeck.errors import ConfigError, DataError
from limbeck.storage.whole import replaced_folder
from limbeck.types import Batch, Candidates, Floats, Hits, Reps, Rows

if TYPE_CHECKING:
    from torch import Tensor

    from limbeck.data.labels import Labels
    from limbeck.encoders.pair import PairEncoder

ARRAYS = ("rows", "ids", "scores", "query", "document")


class Known(Protocol):
    """Where document texts are."""

    def texts_of(self, rows: Iterable[int]) -> list[str]: ...


@dataclass(frozen=True, slots=True)
class RankedRivals:
    """For each labelled query its relevant documents, and the best of a search that are not labelled for it."""

    rows: Rows  # [R] of the training queries, ascending
    labels: Labels  # of all training queries
    rivals: Rows  # [R, K], best first

    @classmethod
    def of(cls, data: TextData, *, depth: int, most: int | None = None, seed: int = 0) -> Self:
        """From exact search with the queries' vectors; a labelled document is never a rival.

        most    queries that are drawn, where more are labelled
        raises  ConfigError where there are no labels, or too few documents
        """
        from limbeck.index.flat import Flat

        if data.labels is None or data.documents is None or data.corpus is None:
            raise ConfigError("a cross-encoder needs labels, and documents as texts and as vectors.")
        rows = _labelled(data.labels)
        if most is not None and len(rows) > most:
            rows = np.sort(np.random.default_rng(seed).permutation(rows)[:most])
        counts = np.diff(data.labels.indptr)[rows]
        wanted = depth + int(counts.max(initial=0))
        if len(data.documents) < wanted or not len(rows):
            raise ConfigError(
                f"expected labelled queries and {wanted} documents, for {depth} rivals of each; "
                f"found {len(rows)} and {len(data.documents)}."
            )
        found = Flat(data.documents).nearest(np.ascontiguousarray(data.vectors[rows]), wanted).ids
        known = [data.labels.of(int(row))[0] for row in rows]
        rivals = [line[~np.isin(line, own)][:depth] for line, own in zip(found, known, strict=True)]
        return cls(rows, data.labels, np.stack(rivals))

    def first(self, count: int) -> Rows:
        """[R, 1 + count]: the most relevant document of each query, and its hardest rivals."""
        best = [_relevant(self.labels, int(row))[0] for row in self.rows]
        return np.concatenate([np.array(best)[:, None], self.rivals[:, :count]], axis=1)


class OneAgainst:
    """[B, 1 + count]: one relevant document, drawn where there are several, and rivals drawn anew in each step."""

    def __init__(self, ranked: RankedRivals, *, count: int, seed: int = 0) -> None:
        if not 1 <= count <= ranked.rivals.shape[1]:
            raise ConfigError(f"`negatives` must lie in 1..{ranked.rivals.shape[1]}; found {count}.")
        self.ranked = ranked
        self.count = count
        self.seed = seed
        self._step = 0

    def __call__(self, batch: Batch) -> Candidates:
        rows = np.asarray(batch.rows)
        generator = np.random.default_rng((self.seed, self._step))
        relevant = [_relevant(self.ranked.labels, int(self.ranked.rows[row])) for row in rows]
        rivals = generator.permuted(self.ranked.rivals[rows], axis=1)[:, : self.count]
        first = np.array([generator.choice(documents) for documents in relevant])[:, None]
        return listed(np.concatenate([first, rivals], axis=1))

    def refresh(self, search: Callable[[Sequence[str], int], Hits], step: int) -> None:
        self._step = step


@dataclass(frozen=True, slots=True)
class JudgedPairs:
    """What a cross-encoder says of candidate lists, once: the lists, the scores and the vectors. A teacher's memory.

    It serves as `Negatives` (the lists) and as `PairScore` (the scores of the same lists).
    """

    rows: Rows  # [R] of the training queries
    ids: Rows  # [R, C] the relevant document first
    scores: Floats  # [R, C]
    query: Floats  # [R, C, d] may be memory-mapped
    document: Floats  # [R, C, d]

    @classmethod
    def by(cls, pairs: PairEncoder, data: TextData, ranked: RankedRivals, *, candidates: int = 8) -> Self:
        """The relevant document and the hardest rivals of each query, judged.

        cost  R·C readings; 8·R·C·d bytes
        """
        if data.corpus is None:
            raise ConfigError("judging pairs needs the documents' texts: `data.corpus` is None.")
        ids = ranked.first(candidates - 1)
        asked = [data.queries[int(row)] for row in np.repeat(ranked.rows, ids.shape[1])]
        found = pairs.vectors(asked, data.corpus.texts_of(ids.ravel()))
        shape = (*ids.shape, found.query.shape[1])
        return cls(
            ranked.rows,
            ids,
            found.scores.reshape(ids.shape),
            found.query.reshape(shape),
            found.document.reshape(shape),
        )

    def save(self, folder: Path) -> None:
        """An array a file; the folder appears whole or not at all."""
        with replaced_folder(folder) as part:
            for name in ARRAYS:
                np.save(part / f"{name}.npy", getattr(self, name))

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Memory-mapped."""
        try:
            return cls(*(np.load(folder / f"{name}.npy", mmap_mode="r") for name in ARRAYS))
        except (OSError, ValueError) as error:
            raise DataError(f"{folder}: no judged pairs there: {error}.") from error

    def __call__(self, batch: Batch) -> Candidates:
        return listed(np.array(self.ids[np.asarray(batch.rows)]))

    def refresh(self, search: Callable[[Sequence[str], int], Hits], step: int) -> None:
        """The lists do not change."""

    def teacher(self, batch: Batch, candidates: Candidates) -> Tensor:
        """[B, C] of these very lists."""
        import torch

        return torch.from_numpy(np.array(self.scores[np.asarray(batch.rows)]))

    def with_first_stage(self, data: TextData, *, share: float) -> Self:
        """The same, with so much of the dual encoder's own score added, as `Reranker` adds it."""
        if data.documents is None:
            raise ConfigError(
                "the first stage's scores need the documents' vectors: `data.documents` is None."
            )
        own = np.einsum("rd,rcd->rc", data.vectors[self.rows], data.documents[self.ids])
        return replace(self, scores=np.asarray(self.scores) + np.float32(share) * own)

    def heated(self, temperature: float) -> Self:
        """The same, with scores divided by a temperature."""
        return replace(self, scores=np.asarray(self.scores) / np.float32(temperature))

    def targets(self, batch: Batch) -> dict[str, Reps]:
        """Both vectors of each pair, [B, C, 1, d]."""
        import torch

        rows = np.asarray(batch.rows)
        sides = {"query in pair": self.query, "document in pair": self.document}
        return {name: Reps.single(torch.from_numpy(np.array(side[rows]))) for name, side in sides.items()}


def listed(ids: Rows) -> Candidates:
    """Lists of which the first column is relevant and all entries count."""
    import torch

    gains = torch.zeros(ids.shape)
    gains[:, 0] = 1
    return Candidates(ids=torch.from_numpy(ids), gains=gains, mask=torch.ones(ids.shape, dtype=torch.bool))


def _labelled(labels: Labels) -> Rows:
    return np.array([row for row in range(len(labels)) if (labels.of(row)[1] > 0).any()], dtype=np.int64)


def _relevant(labels: Labels, row: int) -> Rows:
    """Most relevant first."""
    documents, gains = labels.of(row)
    order = np.argsort(-gains, kind="stable")
    return documents[order][gains[order] > 0]
