"""A student and a compressed index that fit each other: the query encoder is taught over the codes it will search."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from limbeck import scores
from limbeck.data.text_data import TextData
from limbeck.data.vector_data import VectorData
from limbeck.documents import CodeBank, SumBank
from limbeck.encoders.given import GivenQueries
from limbeck.errors import ConfigError
from limbeck.losses.distil import listnet
from limbeck.losses.temperature import draw_temperature
from limbeck.losses.terms import distil
from limbeck.losses.vectors import match_queries
from limbeck.negatives import InBatch, TopK
from limbeck.recipes.compress import code_index
from limbeck.recipes.labelled import relative_rates
from limbeck.recipes.limbeck import sum_index
from limbeck.recipes.students import Student, StudentRecipe, dev_figure, fitted
from limbeck.teachers import DenseTeacher
from limbeck.train.system import System
from limbeck.train.unlabelled import teacher_lists
from limbeck.types import Floats, Reps

if TYPE_CHECKING:
    from limbeck.contracts import Index, Score
    from limbeck.encoders.sentence import SentenceEncoder
    from limbeck.train.history import History


@dataclass(frozen=True, kw_only=True)
class ThroughCodes:
    """Query matching, and the teacher's ranking over decoded documents, for a student and the codewords together.

    Trains: the student, and the codewords that score.
    Frozen: the teacher, every code.
    Claim:  better RR@10 than a student and codes that were trained apart.
    Source: ours: EmbedDistill's eq. 7 (Kim et al., 2023) beside Distill-VQ's list loss (Xiao et al., 2022, eq. 12).
    """

    match: float = 1.0  # weight of the distance to the teacher's vector of the query
    ranking: float = 1.0  # weight of the list loss over decoded documents
    top_k: int = 200  # the teacher's list for each query
    sample: int = 16  # how many of it a step draws
    temperature: float | None = None  # None = drawn from the spread of the teacher's scores
    codeword_rate: float = 0.01  # Adam's step over the codewords' size; 0 = codewords stay as they are
    seed: int = 0

    def run(
        self,
        data: TextData,
        teacher: SentenceEncoder,
        start: System,
        *,
        student: StudentRecipe,
        folder: Path | None = None,
        on_history: Callable[[History], None] | None = None,
        progress: bool = True,
    ) -> System:
        """The fitted system; its `build()` is the index that belongs to its student.

        start  a fitted `Limbeck`, or product codes such as those of `DistillVQ`; `over(index)` makes one of an index
        cost   a step of `Limbeck` and one of the student; the teacher's lists of all texts that the student is told
        """
        if data.documents is None:
            raise ConfigError(
                "training through codes needs the documents' vectors; `data.documents` is None."
            )
        if not isinstance(start.documents, (CodeBank, SumBank)):
            raise ConfigError(f"expected codes to train through; found {type(start.documents).__name__}.")
        texts, vectors = student.told(data, teacher, progress=progress)
        own = student.student(texts, vectors, teacher, progress=progress)
        system = self._composed(data, vectors, start, own, student)
        return fitted(
            student,
            system,
            vectors,
            dev=dev_figure(data, teacher, through_index=True),
            folder=folder,
            on_history=on_history,
            progress=progress,
        )

    def _composed(
        self, data: TextData, vectors: Floats, start: System, student: Student, recipe: StudentRecipe
    ) -> System:
        assert isinstance(start.documents, (CodeBank, SumBank))
        assert data.documents is not None
        documents = _fresh(start.documents)
        ranked = teacher_lists(VectorData(documents=data.documents, queries=vectors), vectors, self.top_k)
        temperature = self.temperature or draw_temperature(ranked.scores)
        system = replace(
            start,
            query=student,
            documents=documents,
            score=turned(documents.quantiser.rotation),
            negatives=InBatch(TopK(ranked.ids, sample=min(self.sample, ranked.ids.shape[1]), seed=self.seed)),
            teacher=DenseTeacher(data.documents, metric="ip"),
            objective={
                "match": (self.match, match_queries(squared=recipe.squared)),
                "docs": (self.ranking, distil(listnet, temperature=temperature)),
            },
        )
        moved = relative_rates(system, {"codewords": self.codeword_rate}, query_rate=0.0)
        return replace(system, train={**recipe.rates(student), **moved})


def over(index: Index) -> System:
    """The codes of an index, as a system to start from: `index.codes` and codewords, nothing is encoded.

    raises  ConfigError for an index of another kind, one that moves queries by a map of its own, and distances
    """
    from limbeck.index.compressed import CodeIndex
    from limbeck.index.sums import SumIndex

    if not isinstance(index, (CodeIndex, SumIndex)):
        raise ConfigError(
            f"an encoder is taught over product codes or those of `Limbeck`; found: {type(index).__name__}."
            "\n\nHint: leave the index out, or make one with: limbeck distil --corpus DATA --out INDEX"
        )
    if index.query_map is not None or index.quantiser.metric != "ip":
        raise ConfigError(
            "this index moves queries by a map of its own, or compares by distance; expected inner products of queries "
            "as they are.\n\nHint: leave the index out: an encoder that matches the teacher's vectors works with it."
        )
    if isinstance(index, SumIndex):
        documents: CodeBank | SumBank = SumBank(index.quantiser, index.codes)
    else:
        documents = CodeBank(index.quantiser, index.codes)
    return System(
        query=GivenQueries(index.dim, rotation=index.quantiser.rotation, learn_map=False),
        documents=documents,
        score=scores.dot,
        index=sum_index if isinstance(documents, SumBank) else code_index,
    )


def _fresh(documents: CodeBank | SumBank) -> CodeBank | SumBank:
    """The same codes under a copy of the codewords, so that the start stays as it is."""
    if isinstance(documents, SumBank):
        return SumBank(documents.learned(), documents.stored())
    return CodeBank(documents.learned(), documents.stored())


def turned(rotation: Floats | None) -> Score:
    """Inner products of queries that are first turned into the space of the codes; an index turns them by itself."""
    import torch

    if rotation is None:
        return scores.dot
    axes = torch.from_numpy(np.ascontiguousarray(rotation.T))
    return lambda query, docs: scores.dot(Reps(query.vectors @ axes), docs)
