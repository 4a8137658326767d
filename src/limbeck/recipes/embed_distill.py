"""EmbedDistill: labels, the teacher's scores and the teacher's vectors, each as much as one likes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from limbeck import scores
from limbeck.data.text_data import TextData
from limbeck.documents import Live
from limbeck.encoders.texts import TextList
from limbeck.encoders.tokens import TokenLists
from limbeck.errors import ConfigError
from limbeck.losses.distil import listnet
from limbeck.losses.rank import nce
from limbeck.losses.terms import distil, rank
from limbeck.losses.vectors import match_documents, match_queries
from limbeck.negatives import InBatch, Positives
from limbeck.recipes.students import StudentRecipe, bank_of, fitted
from limbeck.teachers import DenseTeacher
from limbeck.train.system import System
from limbeck.types import Floats, Term

if TYPE_CHECKING:
    from limbeck.encoders.sentence import SentenceEncoder
    from limbeck.train.history import History


@dataclass(frozen=True, kw_only=True)
class EmbedDistill:
    """A dual encoder distilled into a small one, with in-batch candidates: the steps of the paper's table 1.

    Trains: the student, of the queries alone or of both sides.
    Frozen: the teacher; with `documents="teacher"` its document vectors and every index over them.
    Claim:  direct < + distillation < + inherited documents < + query matching; more for smaller students.
    Source: Kim et al., 2023, eq. 7 to 11 and table 1. Temperatures are ours: MiniLM's scores are cosines
            (experiments/temperatures.py).
    """

    one_hot: float = 1.0  # weight of the soft-max's cross-entropy with the labels (eq. 9)
    distil: float = 1.0  # weight of the cross-entropy with the teacher's soft-max (eq. 11)
    match: float = 1.0  # weight of the distance to the teacher's vector of the query (eq. 7)
    match_documents: float = 0.0  # the same of documents (eq. 8), where the student encodes them
    documents: Literal["teacher", "student"] = "teacher"  # whose vectors of documents: inherited, or learned
    one_hot_temperature: float = 0.05  # scores are divided by it
    temperature: float = 0.05  # of the distillation, on both sides

    def run(
        self,
        data: TextData,
        teacher: SentenceEncoder,
        *,
        student: StudentRecipe,
        folder: Path | None = None,
        on_history: Callable[[History], None] | None = None,
        progress: bool = True,
    ) -> System:
        """The fitted system, after all epochs of the student's own recipe: labels do not ask for the teacher's ranking.

        cost  a step encodes the batch; with `documents="student"` its relevant documents as well, and their gradients;
              all documents are then kept as tokens, 4 bytes each
        """
        system, vectors = self._composed(data, teacher, student, progress=progress)
        return fitted(
            student, system, vectors, dev=None, folder=folder, on_history=on_history, progress=progress
        )

    def _composed(
        self, data: TextData, teacher: SentenceEncoder, recipe: StudentRecipe, *, progress: bool
    ) -> tuple[System, Floats]:
        if data.labels is None or data.corpus is None or data.documents is None:
            raise ConfigError(
                "EmbedDistill needs documents, and labels of the training queries.\n\n"
                "Hint: without them run the student's own recipe, such as StaticQueries(): it matches vectors alone."
            )
        texts, vectors = recipe.told(data, teacher, progress=progress)
        if self.documents == "student":
            own = recipe.read(TextList(data.corpus.texts_of(range(len(data.corpus)))), teacher)
            texts = TokenLists.concatenated([texts, own])
        student = recipe.student(texts, vectors, teacher, progress=progress)
        inherits = self.documents == "teacher"
        system = System(
            query=student,
            documents=bank_of(data) if inherits else Live(student, data.documents, first=len(vectors)),
            score=scores.dot,
            negatives=InBatch(Positives(data.labels)),
            teacher=DenseTeacher(data.documents, metric="ip"),
            objective=self._objective(squared=recipe.squared),
            train=recipe.rates(student),
        )
        return system, vectors

    def _objective(self, *, squared: bool) -> dict[str, tuple[float, Term]]:
        terms: dict[str, tuple[float, Term]] = {
            "one hot": (self.one_hot, rank(nce, temperature=self.one_hot_temperature)),
            "distil": (self.distil, distil(listnet, temperature=self.temperature)),
            "match": (self.match, match_queries(squared=squared)),
            "match documents": (self.match_documents, match_documents(squared=squared)),
        }
        return {name: (weight, term) for name, (weight, term) in terms.items() if weight}
