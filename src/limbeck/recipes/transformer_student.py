"""Small transformers as query encoders for an index that exists already: EmbedDistill's embedding matching."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from tqdm import tqdm

from limbeck.data.text_data import TextData
from limbeck.encoders.least_squares import linear_map
from limbeck.encoders.precision import chosen
from limbeck.encoders.sentence import SentenceEncoder
from limbeck.encoders.slicing import check_narrower
from limbeck.encoders.static_student import tokenizer_of
from limbeck.encoders.student_starts import (
    check_layers,
    check_new,
    narrow,
    narrowed,
    projected,
    with_layers,
    without_unit,
)
from limbeck.encoders.texts import TextList, Texts
from limbeck.encoders.tokens import TokenLists
from limbeck.encoders.transformer_student import TransformerStudent
from limbeck.recipes.students import Student, matched, told_texts, with_beginnings
from limbeck.train.system import System
from limbeck.types import Floats

if TYPE_CHECKING:
    from limbeck.train.history import History

log = logging.getLogger(__name__)
SAMPLE = 4096  # texts that a projection starts from
BATCH = 64


@dataclass(frozen=True, kw_only=True)
class TransformerQueries(ABC):
    """What students with a transformer have in common; each says how it starts."""

    squared: bool = False  # the norm of the difference, or its square
    precision: Literal["auto", "float32", "bfloat16"] = "auto"  # of training; auto = the fastest
    beginnings: int = 32  # tokens of a document that are matched as well, as a query of their own; 0 = none
    most_documents: int = 100_000  # of a larger corpus a sample is read
    layer_rate: float = 3e-4  # Adam's step
    token_rate: float = 1e-4  # of the token vectors
    epochs: int = 10  # passes over the queries, or more where these are few:
    least_steps: int = 1000  # small collections need as many updates as large ones
    batch_size: int = 64
    patience: int = 2  # epochs without a gain on held-out queries before training stops
    seed: int = 0

    def run(
        self,
        data: TextData,
        teacher: SentenceEncoder,
        *,
        folder: Path | None = None,
        on_history: Callable[[History], None] | None = None,
        progress: bool = True,
    ) -> System:
        """The fitted system; `students.encoder_of` makes of it what answers queries.

        cost  epochs · (Q + documents) encodings and gradients by the student; one encoding of beginnings by the teacher
        """
        return matched(self, data, teacher, folder=folder, on_history=on_history, progress=progress)

    @abstractmethod
    def check(self, teacher: SentenceEncoder) -> None:
        """Raises ConfigError where no such student can be made for this teacher; texts are not needed for that."""

    @property
    def clip(self) -> float | None:
        """The largest norm of all gradients together."""
        return 1.0

    def reader(self, teacher: SentenceEncoder) -> SentenceEncoder:
        """Whose tokenizer and prompts the student has."""
        return teacher

    @abstractmethod
    def start(
        self, texts: TokenLists, vectors: Floats, teacher: SentenceEncoder, *, progress: bool
    ) -> SentenceEncoder:
        """The student before training, in the teacher's space."""

    def told(self, data: TextData, teacher: SentenceEncoder, *, progress: bool) -> tuple[TokenLists, Floats]:
        """Queries behind the prompt, and how documents begin."""
        if self.beginnings:
            data = with_beginnings(
                data,
                teacher,
                tokens=self.beginnings,
                most=self.most_documents,
                seed=self.seed,
                progress=progress,
            )
        return told_texts(data, teacher, documents=0, seed=self.seed, reader=self.reader(teacher))

    def read(self, documents: Texts, teacher: SentenceEncoder) -> TokenLists:
        """Behind the prompt for documents, as its encoder will read them."""
        reader = self.reader(teacher)
        prompt = reader.fingerprint.prompts.get("doc", "")
        texts = (
            documents
            if not prompt
            else TextList([prompt + text for text in documents.texts(0, len(documents))])
        )
        return TokenLists.of(tokenizer_of(reader), texts)

    def student(
        self, texts: TokenLists, vectors: Floats, teacher: SentenceEncoder, *, progress: bool
    ) -> TransformerStudent:
        start = self.start(texts, vectors, teacher, progress=progress)
        return TransformerStudent(texts, start, precision=chosen(self.precision))

    def rates(self, student: Student) -> Mapping[str, float]:
        return {"layers": self.layer_rate, "tokens": self.token_rate}


@dataclass(frozen=True, kw_only=True)
class LayerQueries(TransformerQueries):
    """Some of the teacher's layers as query encoder, taught the teacher's own vectors of queries.

    Trains: the layers kept and, more slowly, the token vectors.
    Frozen: the teacher, its document vectors, every index over them.
    Claim:  at a tenth of the teacher's time it keeps 97 % of the teacher's RR@10, without labels.
    Source: the embedding-only form of EmbedDistill (Kim et al., 2023, eq. 7), with a student cut from the teacher.
    """

    layers: tuple[int, ...] = (0, 5)  # of the teacher's, from 0, in this order

    def check(self, teacher: SentenceEncoder) -> None:
        check_layers(teacher, self.layers)

    def start(
        self, texts: TokenLists, vectors: Floats, teacher: SentenceEncoder, *, progress: bool
    ) -> SentenceEncoder:
        return with_layers(teacher, self.layers)


@dataclass(frozen=True, kw_only=True)
class NarrowQueries(TransformerQueries):
    """A narrow transformer as query encoder, with a linear map to the teacher's width.

    Trains: all of it; it starts from some of the teacher's layers, made narrower by least squares.
    Frozen: the teacher, its document vectors, every index over them.
    Claim:  it keeps more than a static student, and is smaller and faster than the teacher's own layers.
    Source: EmbedDistill's BERT-mini, of 256 numbers, with a projection (Kim et al., 2023, section 4.1 and eq. 7); the
            start is ours.
    """

    width: int = 256  # of its vectors before the projection, whole heads
    layers: tuple[int, ...] = (0, 5)  # of the teacher's, from 0, in this order
    new: bool = False  # new layers over the teacher's vectors of single tokens; always if it is no BERT
    layer_rate: float = 1e-3  # Adam's step
    token_rate: float = 1e-3  # of the token vectors

    def check(self, teacher: SentenceEncoder) -> None:
        if self._is_sliced(teacher):
            check_layers(teacher, self.layers)
            check_narrower(teacher.model[0].model, self.width)
        else:
            check_new(teacher, width=self.width, layers=len(self.layers))

    def _is_sliced(self, teacher: SentenceEncoder) -> bool:
        return not self.new and type(teacher.model[0].model).__name__ == "BertModel"

    def start(
        self, texts: TokenLists, vectors: Floats, teacher: SentenceEncoder, *, progress: bool
    ) -> SentenceEncoder:
        if self._is_sliced(teacher):
            started = narrowed(teacher, self.layers, width=self.width, texts=texts, seed=self.seed)
        else:
            if not self.new:
                log.warning("this teacher is no BERT: the narrow student starts with new layers")
            layers = len(self.layers)
            started = narrow(teacher, width=self.width, layers=layers, seed=self.seed, progress=progress)
        return fitted_projection(started, texts, vectors, teacher, seed=self.seed, progress=progress)


@dataclass(frozen=True, kw_only=True)
class ModelQueries(TransformerQueries):
    """Any sentence-transformers model as query encoder of an index, with a linear map to the teacher's space.

    Trains: all of it; the map starts where least squares puts it.
    Frozen: the teacher, its document vectors, every index over them.
    Claim:  the index of one model answers to another, smaller one.
    Source: EmbedDistill's DistilBERT (Kim et al., 2023, section 5), which was no part of its teacher either.
    """

    model: str = "sentence-transformers/paraphrase-MiniLM-L3-v2"  # folder or hub name
    layers: tuple[int, ...] = ()  # of the model's, from 0, in this order; () = all

    def check(self, teacher: SentenceEncoder) -> None:
        opened = self.reader(teacher)
        if self.layers:
            check_layers(opened, self.layers)

    def reader(self, teacher: SentenceEncoder) -> SentenceEncoder:
        """The model itself: its own tokenizer, prompts and pooling."""
        return SentenceEncoder.open(self.model, precision="float32")

    def start(
        self, texts: TokenLists, vectors: Floats, teacher: SentenceEncoder, *, progress: bool
    ) -> SentenceEncoder:
        opened = self.reader(teacher)
        chosen = with_layers(opened, self.layers) if self.layers else opened
        return fitted_projection(chosen, texts, vectors, teacher, seed=self.seed, progress=progress)


def fitted_projection(
    encoder: SentenceEncoder,
    texts: TokenLists,
    vectors: Floats,
    teacher: SentenceEncoder,
    *,
    seed: int,
    progress: bool,
) -> SentenceEncoder:
    """The encoder behind the linear map that least squares finds from its vectors to the teacher's [.., d].

    cost  one encoding of at most 4,096 texts
    """
    plain = TransformerStudent(texts, without_unit(encoder))
    rows = np.random.default_rng(seed).permutation(len(vectors))[:SAMPLE]
    starts = range(0, len(rows), BATCH)
    told = tqdm(starts, desc="projection", unit="batch", delay=2, disable=None if progress else True)
    seen = np.concatenate([plain.vectors(rows[start : start + BATCH]) for start in told])
    return projected(encoder, linear_map(seen, vectors[rows]).T, teacher.fingerprint)
