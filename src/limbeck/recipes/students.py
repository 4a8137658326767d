"""What all query students share: the texts that they match, how an epoch is chosen, and the run itself.

Letters: Q queries, N documents, d the teacher's width.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

import numpy as np

from limbeck.data.text_data import TextData
from limbeck.documents import Bank
from limbeck.encoders.static_student import tokenizer_of
from limbeck.encoders.texts import TextList
from limbeck.encoders.tokens import TokenLists
from limbeck.train.fit import Schedule, fit
from limbeck.train.system import System, TrainingQueries
from limbeck.types import Floats, Reps, Rows

if TYPE_CHECKING:
    from limbeck.encoders.corpus_encoding import KnownEncoder
    from limbeck.encoders.sentence import SentenceEncoder
    from limbeck.train.history import History

log = logging.getLogger(__name__)


class Student(Protocol):
    """The query side of a system that is being distilled."""

    def encoder(self, teacher: SentenceEncoder) -> KnownEncoder:
        """What answers queries, with the parameters as they are now."""
        ...


def encoder_of(system: System, teacher: SentenceEncoder) -> KnownEncoder:
    """The query encoder that a system has learned, as it is judged and served."""
    return cast("Student", system.query).encoder(teacher)


def told_texts(
    data: TextData, teacher: SentenceEncoder, *, documents: int, seed: int, prompt: str = ""
) -> tuple[TokenLists, Floats]:
    """Tokens and targets [.., d]: the queries behind the prompt, then documents, a sample where there are more."""
    tokenizer = tokenizer_of(teacher)
    asked = TokenLists.of(tokenizer, TextList([prompt + query for query in data.queries]))
    if documents == 0 or data.corpus is None or data.documents is None:
        return asked, data.vectors
    prompts = teacher.fingerprint.prompts
    if prompts.get("query", "") != prompts.get("doc", ""):
        log.warning("documents are left out of training: this teacher puts another prompt before them")
        return asked, data.vectors
    rows = _sample(len(data.corpus), documents, seed=seed)
    told = TokenLists.of(tokenizer, TextList(data.corpus.texts_of(rows)))
    return TokenLists.concatenated([asked, told]), np.concatenate([data.vectors, data.documents[rows]])


def bank_of(data: TextData) -> Bank:
    """The documents' own vectors, frozen; none where only queries are given."""
    return Bank(np.empty((0, data.dim), np.float32) if data.documents is None else data.documents)


def fitted(
    system: System,
    data: TextData,
    teacher: SentenceEncoder,
    vectors: Floats,
    schedule: Schedule,
    *,
    folder: Path | None,
    on_history: Callable[[History], None] | None,
    progress: bool,
) -> System:
    """The system after training on these targets; the epoch is chosen on the held-out queries."""
    queries = TrainingQueries(vectors=vectors)
    history = fit(system, queries, schedule, dev=dev_figure(data, teacher), folder=folder, progress=progress)
    if on_history is not None:
        on_history(history)
    return system


def dev_figure(data: TextData, teacher: SentenceEncoder) -> Callable[[System], float] | None:
    """Of held-out queries: the overlap of the top 10 with the teacher's; without documents, minus R_Emb,Q."""
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
    index = Flat(data.documents)
    exact = index.search(Reps.single(target), 10)
    return lambda system: float(overlap(index.search(Reps.single(encoded(system)), 10), exact, k=10).mean())


def _sample(rows: int, most: int, *, seed: int) -> Rows:
    if rows <= most:
        return np.arange(rows)
    return np.sort(np.random.default_rng(seed).permutation(rows)[:most])
