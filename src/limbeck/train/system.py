"""A retrieval system as a composition of parts: what a recipe makes, what `fit` trains, what an index is built from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from limbeck.contracts import Index, Negatives, PairScore, Score
from limbeck.types import Batch, Floats, Reps, Rows, Step, Sums, Term

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Parameter


class TrainableQuery(Protocol):
    """The query side in training."""

    def forward(self, batch: Batch) -> Reps:
        """[B, n, d] with gradient, in the space of the documents' views."""
        ...

    def groups(self) -> Mapping[str, list[Parameter]]:
        """Parameters by the name that learning rates use."""
        ...


class TrainableDocuments(Protocol):
    """The document side in training: `limbeck.documents`."""

    def __call__(self, ids: Tensor) -> Mapping[str, Reps | Sums]: ...
    def groups(self) -> Mapping[str, list[Parameter]]: ...
    def stored(self) -> Any: ...


@dataclass(frozen=True, kw_only=True)
class System:
    """Parts that together answer queries. Absent parts are None; parameter groups not named in `train` are frozen."""

    query: TrainableQuery
    documents: TrainableDocuments
    score: Score
    negatives: Negatives | None = None
    teacher: PairScore | None = None
    objective: Mapping[str, tuple[float, Term]] = field(
        default_factory=dict
    )  # name -> (weight, term); weight 0 = log only
    train: Mapping[str, float] = field(default_factory=dict)  # parameter group -> learning rate
    index: Callable[[System], Index] | None = None

    def build(self) -> Index:
        """The index over what training saw."""
        assert self.index is not None, "this system has no index"
        return self.index(self)

    def groups(self) -> dict[str, list[Parameter]]:
        """All parameter groups of both sides."""
        return {**self.query.groups(), **self.documents.groups()}


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingQueries:
    """What batches are drawn from: vectors, texts or both."""

    vectors: Floats | None = None  # [Q, d]
    texts: Sequence[str] | None = None

    def __len__(self) -> int:
        return len(self.vectors) if self.vectors is not None else len(self.texts or ())

    def batch(self, rows: Rows) -> Batch:
        """The queries of the given rows."""
        import torch

        vectors = None if self.vectors is None else torch.from_numpy(np.asarray(self.vectors[rows]))
        texts = None if self.texts is None else [self.texts[int(row)] for row in rows]
        return Batch(rows=torch.from_numpy(rows), texts=texts, vectors=vectors)


def training_step(system: System, batch: Batch) -> Step:
    """The training line: candidates, both sides' representations, student scores, teacher scores.

    A system without candidates only matches its queries to the teacher's.
    """
    query = system.query.forward(batch)
    targets = {} if batch.vectors is None else {"query": Reps.single(batch.vectors)}
    if system.negatives is None:
        return Step(batch=batch, query=query, docs={}, candidates=None, scores={}, targets=targets)
    candidates = system.negatives(batch)
    docs = system.documents(candidates.ids)
    return Step(
        batch=batch,
        query=query,
        docs=docs,
        candidates=candidates,
        scores={name: system.score(query, reps) for name, reps in docs.items()},
        teacher={} if system.teacher is None else {"docs": system.teacher(batch, candidates)},
        targets=targets,
    )
