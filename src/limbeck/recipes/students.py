"""What all query students share: the texts that they match, how an epoch is chosen, and the run itself.

Letters: Q queries, N documents, d the teacher's width.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

import numpy as np

from limbeck import scores
from limbeck.data.text_data import TextData
from limbeck.documents import Bank
from limbeck.encoders.static_student import tokenizer_of
from limbeck.encoders.texts import TextList, Texts, in_slices
from limbeck.encoders.tokens import SLICE, TokenLists
from limbeck.losses.vectors import match_queries
from limbeck.train.fit import Paced, Schedule, fit
from limbeck.train.system import System, TrainableQuery, TrainingQueries
from limbeck.types import Floats, Reps, Rows

if TYPE_CHECKING:
    from limbeck.encoders.corpus_encoding import KnownEncoder
    from limbeck.encoders.sentence import SentenceEncoder
    from limbeck.train.history import History

log = logging.getLogger(__name__)


class Student(TrainableQuery, Protocol):
    """The query side of a system that is being distilled: it reads token lists, by the rows of a batch."""

    def encoder(self, teacher: SentenceEncoder) -> KnownEncoder:
        """What answers queries, with the parameters as they are now."""
        ...


class StudentRecipe(Paced, Protocol):
    """What a student is, and how fast its parts move; what it is taught can be more than its own recipe says."""

    @property
    def squared(self) -> bool: ...
    @property
    def clip(self) -> float | None: ...

    def check(self, teacher: SentenceEncoder) -> None:
        """Raises what `student` would for this teacher, before any text is encoded."""
        ...

    def run(
        self,
        data: TextData,
        teacher: SentenceEncoder,
        *,
        folder: Path | None = None,
        on_history: Callable[[History], None] | None = None,
        progress: bool = True,
    ) -> System:
        """Embedding matching alone."""
        ...

    def told(self, data: TextData, teacher: SentenceEncoder, *, progress: bool) -> tuple[TokenLists, Floats]:
        """What is matched: tokens, and the teacher's vector of each [.., d]; the training queries first."""
        ...

    def read(self, documents: Texts, teacher: SentenceEncoder) -> TokenLists:
        """Documents as this student reads them, behind the teacher's prompt where it reads one."""
        ...

    def student(
        self, texts: TokenLists, vectors: Floats, teacher: SentenceEncoder, *, progress: bool
    ) -> Student:
        """Before training: what is told, and the teacher's vectors of it."""
        ...

    def rates(self, student: Student) -> Mapping[str, float]:
        """The learning rate of each group of its parameters."""
        ...


def encoder_of(system: System, teacher: SentenceEncoder) -> KnownEncoder:
    """The query encoder that a system has learned, as it is judged and served."""
    return cast("Student", system.query).encoder(teacher)


def matched(
    recipe: StudentRecipe,
    data: TextData,
    teacher: SentenceEncoder,
    *,
    folder: Path | None,
    on_history: Callable[[History], None] | None,
    progress: bool,
) -> System:
    """Embedding matching alone (eq. 7): neither labels nor candidates."""
    texts, vectors = recipe.told(data, teacher, progress=progress)
    student = recipe.student(texts, vectors, teacher, progress=progress)
    system = System(
        query=student,
        documents=bank_of(data),
        score=scores.dot,
        objective={"match": (1.0, match_queries(squared=recipe.squared))},
        train=recipe.rates(student),
    )
    return fitted(
        recipe,
        system,
        vectors,
        dev=dev_figure(data, teacher),
        folder=folder,
        on_history=on_history,
        progress=progress,
    )


def told_texts(
    data: TextData,
    teacher: SentenceEncoder,
    *,
    documents: int,
    seed: int,
    reader: SentenceEncoder | None = None,
) -> tuple[TokenLists, Floats]:
    """Tokens and targets [.., d]: the queries, then documents, a sample where there are more.

    reader  whose tokenizer and prompt for queries; None = the teacher's tokenizer and no prompt
    """
    tokenizer = tokenizer_of(reader or teacher)
    prompt = "" if reader is None else reader.fingerprint.prompts.get("query", "")
    queries = [*data.queries, *data.more_queries]
    vectors = data.vectors
    if data.more_vectors is not None:
        vectors = np.concatenate([vectors, data.more_vectors])
    asked = TokenLists.of(tokenizer, TextList([prompt + query for query in queries]))
    if documents == 0 or data.corpus is None or data.documents is None:
        return asked, vectors
    prompts = teacher.fingerprint.prompts
    if prompts.get("query", "") != prompts.get("doc", ""):
        log.warning("documents are left out of training: this teacher puts another prompt before them")
        return asked, vectors
    rows = _sample(len(data.corpus), documents, seed=seed)
    told = TokenLists.of(tokenizer, TextList(data.corpus.texts_of(rows)))
    return TokenLists.concatenated([asked, told]), np.concatenate([vectors, data.documents[rows]])


def with_beginnings(
    data: TextData, teacher: SentenceEncoder, *, tokens: int, most: int, seed: int, progress: bool
) -> TextData:
    """More queries: the first tokens of each document, or of a sample of `most`, with the teacher's vectors of them.

    They have the words of the documents at the length of queries, so they cost a student little.
    """
    from limbeck.encoders.collection import encode_texts

    if data.corpus is None:
        return data
    tokenizer = tokenizer_of(teacher)
    tokenizer.enable_truncation(tokens)
    begun = []
    for _, part in in_slices(
        TextList(data.corpus.texts_of(_sample(len(data.corpus), most, seed=seed))), SLICE
    ):
        encodings = tokenizer.encode_batch(list(part))
        begun += [
            text[: max((end for _, end in found.offsets), default=0)]
            for text, found in zip(part, encodings, strict=True)
        ]
    known = [] if data.more_vectors is None else [data.more_vectors]
    vectors = np.concatenate([*known, encode_texts(begun, teacher, "query", progress=progress)])
    return replace(data, more_queries=[*data.more_queries, *begun], more_vectors=vectors)


def bank_of(data: TextData) -> Bank:
    """The documents' own vectors, frozen; none where only queries are given."""
    return Bank(np.empty((0, data.dim), np.float32) if data.documents is None else data.documents)


def fitted(
    recipe: StudentRecipe,
    system: System,
    vectors: Floats,
    *,
    dev: Callable[[System], float] | None,
    folder: Path | None,
    on_history: Callable[[History], None] | None,
    progress: bool,
) -> System:
    """The system after training on these targets; the epoch is chosen by `dev`, else the last is kept."""
    schedule = Schedule.of(recipe, queries=len(vectors), clip=recipe.clip)
    queries = TrainingQueries(vectors=vectors)
    history = fit(system, queries, schedule, dev=dev, folder=folder, progress=progress)
    if on_history is not None:
        on_history(history)
    return system


def dev_figure(
    data: TextData, teacher: SentenceEncoder, *, through_index: bool = False
) -> Callable[[System], float] | None:
    """Of held-out queries: the overlap of the top 10 with the teacher's; without documents, minus R_Emb,Q.

    through_index   the student searches the system's own index instead of the documents' exact vectors
    """
    from limbeck.evaluate.overlap import overlap
    from limbeck.index.flat import Flat

    if data.dev_vectors is None or not len(data.dev_vectors):
        return None
    target = np.asarray(data.dev_vectors)

    def encoded(system: System) -> Floats:
        vectors: Floats = encoder_of(system, teacher).encode(data.dev_queries, side="query").flat
        return vectors

    if data.documents is None:
        return lambda system: -float(np.linalg.norm(encoded(system) - target, axis=1).mean())
    flat = Flat(data.documents)
    exact = flat.search(Reps.single(target), 10)

    def figure(system: System) -> float:
        index = system.build() if through_index else flat
        return float(overlap(index.search(Reps.single(encoded(system)), 10), exact, k=10).mean())

    return figure


def _sample(rows: int, most: int, *, seed: int) -> Rows:
    if rows <= most:
        return np.arange(rows)
    return np.sort(np.random.default_rng(seed).permutation(rows)[:most])
