"""Limbeck's own codes: sums of codewords instead of slices, distilled from the teacher without labels."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from limbeck import scores
from limbeck.data.vector_data import VectorData
from limbeck.documents import SumBank
from limbeck.encoders.given import GivenQueries
from limbeck.losses.distil import listnet
from limbeck.losses.temperature import draw_temperature
from limbeck.losses.terms import distil
from limbeck.negatives import InBatch, TopK
from limbeck.recipes.labelled import relative_rates
from limbeck.recipes.query_map import query_map_from_labels
from limbeck.teachers import DenseTeacher
from limbeck.train.fit import Schedule, fit
from limbeck.train.system import System, TrainingQueries
from limbeck.train.unlabelled import dev_figure, teacher_lists, training_queries
from limbeck.types import Codes, Floats

if TYPE_CHECKING:
    from limbeck.index.sums import SumIndex
    from limbeck.train.history import History

log = logging.getLogger(__name__)

SUM_RATE = 0.32  # of a sum: where more codewords add up, each moves less
ERROR_RATE = (
    0.2  # of the share of the vectors that codes lose: where they lose little, there is little to mend
)
SAMPLE_ROWS = 8192


@dataclass(frozen=True, kw_only=True)
class Limbeck:
    """Residual codes found by beam search, whose full-width codewords are distilled from the teacher's ranking.

    Trains: codewords, and where labels are to be used a linear map of the query.
    Frozen: the encoder, every code, the axes.
    Claim:  better RR@10 and overlap with exact search than every method of this family at the same code bytes.
    Source: ours: residual quantisation (Chen et al., 2010; beam search as in faiss); ListNet over the teacher's lists
            and frozen codes, as in our Distill-VQ; queries made from documents. Why: docs/decisions.
    """

    code_bytes: int = 16
    slices: int | None = None  # of the space; None = 1, or more where codewords would not fit into 8 MB
    axes: int | None = None  # principal axes kept; None = as many as fit into 8 MB, most of them
    top_k: int = 200  # the teacher's list for each query
    sample: int = 32  # how many of it a step draws
    temperature: float | None = None  # None = drawn from the spread of the teacher's scores
    learn_query_map: bool = (
        False  # from labels, before all else; lifts RR@10 and leaves the teacher's ranking
    )
    made_queries: float = 0.5  # share of the training queries made from documents
    codeword_rate: float | None = None  # Adam's step over the codewords' size; None = by parts and error
    epochs: int = 3  # passes over the training queries, or more where these are few:
    least_steps: int = 1000  # small collections need as many updates as large ones
    batch_size: int = 128
    patience: int = 2  # epochs without a gain on held-out queries before training stops
    seed: int = 0

    def run(
        self,
        data: VectorData,
        start: System | None = None,
        *,
        folder: Path | None = None,
        on_history: Callable[[History], None] | None = None,
        progress: bool = True,
    ) -> System:
        """The fitted system. `start` is a system of this recipe whose codes are taken over; `folder` keeps checkpoints.

        memory  codewords three times over, Q·top_k rows, and B·C scores a step: bounded by candidates, not documents
        """
        system = start or self.started(data)
        if self.learn_query_map:
            return self._with_query_map(data, system, folder=folder, on_history=on_history, progress=progress)
        queries = training_queries(data, made=self.made_queries, seed=self.seed)
        system = self._composed(system, data, queries)
        schedule = Schedule.of(self, queries=len(queries))
        history = fit(
            system,
            TrainingQueries(vectors=queries),
            schedule,
            dev=dev_figure(data),
            folder=folder,
            progress=progress,
        )
        if on_history is not None:
            on_history(history)
        return system

    def _with_query_map(
        self,
        data: VectorData,
        start: System,
        *,
        folder: Path | None,
        on_history: Callable[[History], None] | None,
        progress: bool,
    ) -> System:
        """The map first; then codewords are distilled from how the teacher ranks queries that passed it."""
        folders = (None, None) if folder is None else (folder / "query_map", folder / "codewords")
        learned = query_map_from_labels(data, seed=self.seed, folder=folders[0], progress=progress)
        dev = None if data.dev_queries is None else data.dev_queries @ learned.T
        moved = replace(data, queries=data.queries @ learned.T, dev_queries=dev, top=None, labels=None)
        plain = replace(self, learn_query_map=False)
        system = plain.run(moved, start, folder=folders[1], on_history=on_history, progress=progress)
        assert isinstance(system.documents, SumBank)
        quantiser = system.documents.quantiser
        query = GivenQueries(quantiser.dim, rotation=quantiser.rotation, learn_map=True, start=learned)
        return replace(system, query=query)

    def started(self, data: VectorData) -> System:
        """Codes and codewords before any query is seen: residual quantisation."""
        from limbeck.quantisers.sums import SumQuantiser

        quantiser = SumQuantiser(
            code_bytes=self.code_bytes, slices=self.slices, axes=self.axes, metric=data.metric
        )
        quantiser = quantiser.fit(data.documents, seed=self.seed)
        return System(
            query=GivenQueries(quantiser.dim, rotation=quantiser.rotation, learn_map=False),
            documents=SumBank(quantiser, quantiser.encode(data.documents)),
            score=scores.for_metric(data.metric),
            index=sum_index,
        )

    def check_fits(self, documents: int, dim: int) -> None:
        """Raises ConfigError where these constants cannot work with so many vectors of this width."""
        from limbeck.quantisers.sums import SumQuantiser

        SumQuantiser(code_bytes=self.code_bytes, slices=self.slices, axes=self.axes).check_fits(
            documents, dim
        )

    def _composed(self, start: System, data: VectorData, queries: Floats) -> System:
        assert isinstance(start.documents, SumBank)
        documents = SumBank(start.documents.learned(), start.documents.stored())
        ranked = teacher_lists(data, queries, self.top_k)
        temperature = self.temperature or draw_temperature(ranked.scores)
        log.info("temperature %.4g", temperature)
        drawn = min(self.sample, ranked.ids.shape[1])
        system = replace(
            start,
            documents=documents,
            negatives=InBatch(TopK(ranked.ids, sample=drawn, seed=self.seed)),
            teacher=DenseTeacher(data.documents, metric=data.metric),
            objective={"docs": (1.0, distil(listnet, temperature=temperature))},
        )
        rate = usual_rate(documents, data) if self.codeword_rate is None else self.codeword_rate
        rates = relative_rates(system, {"codewords": rate}, query_rate=0.0)
        return replace(system, train=rates)


def usual_rate(documents: SumBank, data: VectorData) -> float:
    """Adam's step relative to the codewords: the less, the more of them add up and the nearer the sums are already."""
    rows = np.linspace(0, len(data.documents) - 1, min(SAMPLE_ROWS, len(data.documents))).astype(np.int64)
    vectors = np.asarray(data.documents[rows])
    decoded = documents.quantiser.decode(Codes(documents.codes.codes[rows]))
    lost = float(np.square(vectors - decoded).sum() / np.square(vectors).sum())
    parts = documents.quantiser.code_bytes // documents.quantiser.cut
    return min(SUM_RATE / parts, ERROR_RATE * lost)


def sum_index(system: System) -> SumIndex:
    """The index over a system's codes, with its codewords as they are now, rounded to bytes."""
    from limbeck.index.sums import SumIndex

    assert isinstance(system.documents, SumBank)
    learned, codes = system.documents.learned(), system.documents.stored()
    moved = system.query.query_map() if isinstance(system.query, GivenQueries) else None
    return SumIndex(learned.rounded(), codes, query_map=moved)
