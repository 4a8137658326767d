"""A dual encoder taught by a cross-encoder: by its scores, and by the query's vector in each pair that it read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from limbeck import scores
from limbeck.data.text_data import TextData
from limbeck.encoders.least_squares import affine_map
from limbeck.encoders.static_student import tokenizer_of
from limbeck.encoders.student_starts import with_layers
from limbeck.encoders.texts import TextList
from limbeck.encoders.tokens import TokenLists
from limbeck.encoders.transformer_student import TransformerStudent
from limbeck.errors import ConfigError
from limbeck.index.flat import Flat
from limbeck.losses.distil import listnet
from limbeck.losses.pairs import match_in_pairs
from limbeck.losses.terms import distil
from limbeck.recipes.pair_lists import JudgedPairs
from limbeck.recipes.students import bank_of
from limbeck.train.fit import Schedule, fit
from limbeck.train.system import System, TrainingQueries, training_step
from limbeck.types import Batch, Floats, Reps, Step, Term

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Parameter

    from limbeck.encoders.sentence import SentenceEncoder
    from limbeck.train.history import History

MOST_PAIRS = 20_000  # that a projection is started from
QUERY, DOCUMENT = "query in pair", "document in pair"  # the targets that `JudgedPairs` gives


@dataclass(frozen=True, kw_only=True)
class FromCrossEncoder:
    """A query encoder that starts as the dual-encoder teacher and learns the order of a cross-encoder.

    Trains: the layers kept, the token vectors, and a linear projection that is dropped afterwards.
    Frozen: the cross-encoder; the documents' vectors and every index over them, unless documents are trained.
    Claim:  query matching against a dual-pooled teacher helps; joint matching against [CLS] hurts.
    Source: EmbedDistill (Kim et al., 2023), section 4.2; there both sides are trained, from RoBERTa.
    """

    objective: Literal["scores", "joint", "query"] = "query"  # joint and query: scores, and matching
    matching: float = 1.0  # weight of the matching
    documents: Literal["frozen", "trained"] = "frozen"  # trained: an encoder of their own
    match_documents: float = 0.0  # weight of the document's vector in its pairs; only where they are trained
    layers: tuple[int, ...] = (0, 1, 2, 3, 4, 5)  # of the teacher's, from 0, in this order
    temperature: float = 0.05  # of the student's soft-max: cosines lie close together
    teacher_temperature: float = 1.0  # of the cross-encoder's (EmbedDistill)
    layer_rate: float = 3e-5  # Adam's step
    token_rate: float = 1e-5  # of the token vectors
    projection_rate: float = 1e-4  # of the linear map to the cross-encoder's space
    epochs: int = 3  # passes over the judged queries
    least_steps: int = 1  # or more passes, where these are few
    batch_size: int = 32
    patience: int = 1  # the last epoch is kept
    seed: int = 0

    def __post_init__(self) -> None:
        if self.match_documents and self.documents != "trained":
            raise ConfigError(
                "`match_documents` needs `documents='trained'`: frozen vectors cannot be moved to match anything."
            )
        if self.temperature <= 0 or self.teacher_temperature <= 0:
            raise ConfigError(
                f"temperatures must be above 0; found {self.temperature} and {self.teacher_temperature}."
            )

    def run(
        self,
        data: TextData,
        teacher: SentenceEncoder,
        judged: JudgedPairs,
        *,
        folder: Path | None = None,
        on_history: Callable[[History], None] | None = None,
        progress: bool = True,
    ) -> System:
        """The fitted system; `students.encoder_of` makes of it what answers queries.

        judged  by a "cls" cross-encoder for "joint", by a dual-pooled one for "query"
        cost    epochs · R encodings and gradients of queries; R·C more of documents, where these are trained
        """
        system = self._composed(data, teacher, judged)

        def step(system: System, batch: Batch) -> Step:
            return replace(training_step(system, batch), targets=judged.targets(batch))

        queries = TrainingQueries(texts=[data.queries[int(row)] for row in judged.rows])
        schedule = Schedule.of(self, queries=len(queries), clip=1.0)
        history = fit(system, queries, schedule, step=step, folder=folder, progress=progress)
        if on_history is not None:
            on_history(history)
        return system

    def _composed(self, data: TextData, teacher: SentenceEncoder, judged: JudgedPairs) -> System:
        student = Projecting(
            TransformerStudent(_queries(data, teacher, judged), with_layers(teacher, self.layers)),
            self._projections(data, judged),
        )
        documents = (
            bank_of(data) if self.documents == "frozen" else DocumentSide(data, teacher, layers=self.layers)
        )
        groups = {**student.groups(), **documents.groups()}
        rates = {"layers": self.layer_rate, "tokens": self.token_rate}
        return System(
            query=student,
            documents=documents,
            score=scores.dot,
            negatives=judged,
            teacher=judged.heated(self.teacher_temperature / self.temperature).teacher,
            objective=self._objective(student),
            train={name: rates.get(name.split()[-1], self.projection_rate) for name in groups},
            index=lambda system: Flat(system.documents.stored()),
        )

    def _objective(self, student: Projecting) -> dict[str, tuple[float, Term]]:
        terms = {"scores": (1.0, distil(listnet, temperature=self.temperature))}
        if self.objective == "query":
            terms["query"] = (self.matching, match_in_pairs(student.mapped("query"), target=QUERY))
        elif self.objective == "joint":  # the target is the [CLS] vector: all there is of a pair
            terms["joint"] = (self.matching, match_in_pairs(student.mapped("joint"), target=QUERY))
        if self.match_documents:
            matched = match_in_pairs(student.mapped("document"), target=DOCUMENT)
            terms["document"] = (self.match_documents, matched)
        return terms

    def _projections(self, data: TextData, judged: JudgedPairs) -> dict[str, Floats]:
        """Least squares from the teacher's own vectors, with which a student of all its layers begins."""
        queries, targets = data.vectors[judged.rows], np.asarray(judged.query)
        if self.objective == "scores" and not self.match_documents:
            return {}
        assert data.documents is not None
        pairs = max(1, MOST_PAIRS // judged.ids.shape[1])
        told = np.repeat(queries[:pairs, None], judged.ids.shape[1], axis=1)
        docs = data.documents[judged.ids[:pairs]]
        started = {}
        if self.objective == "query":
            started["query"] = affine_map(queries, targets.mean(axis=1))
        if self.objective == "joint":
            started["joint"] = affine_map(np.concatenate(_joined(told, docs), axis=-1), targets[:pairs])
        if self.match_documents:
            started["document"] = affine_map(docs, np.asarray(judged.document[:pairs]))
        return started


class Projecting:
    """A student beside linear maps of its vectors: they are trained, and no part of what answers queries."""

    def __init__(self, student: TransformerStudent, projections: Mapping[str, Floats]) -> None:
        """projections: [inputs + 1, d], the last row added."""
        import torch

        self.student = student
        self.projections = {
            name: torch.nn.Parameter(torch.tensor(start)) for name, start in projections.items()
        }

    def forward(self, batch: Batch) -> Reps:
        return self.student.forward(batch)

    def groups(self) -> Mapping[str, list[Parameter]]:
        own = {"projection": list(self.projections.values())} if self.projections else {}
        return {**self.student.groups(), **own}

    def encoder(self, teacher: SentenceEncoder) -> SentenceEncoder:
        """The student alone."""
        return self.student.encoder(teacher)

    def mapped(self, name: Literal["query", "joint", "document"]) -> Callable[[Step], Tensor]:
        """What of a step is put through the projection of this name, [B, C, d]; [B, 1, d] for the query."""
        import torch

        weight = self.projections[name]

        def inputs(step: Step) -> Tensor:
            assert step.query is not None
            query: Tensor = step.query.flat[:, None]
            docs: Tensor = step.docs["docs"].flat
            if name == "joint":
                return torch.cat(_joined(query.expand_as(docs), docs), dim=-1)
            return query if name == "query" else docs

        return lambda step: inputs(step) @ weight[:-1] + weight[-1]


class DocumentSide:
    """Documents through an encoder in training: every step encodes its candidates anew."""

    def __init__(self, data: TextData, teacher: SentenceEncoder, *, layers: tuple[int, ...]) -> None:
        if data.corpus is None:
            raise ConfigError("`documents='trained'` needs the documents' texts: `data.corpus` is None.")
        prompt = teacher.fingerprint.prompts.get("doc", "")
        texts = [prompt + text for text in data.corpus.texts(0, len(data.corpus))]
        self.student = TransformerStudent(
            TokenLists.of(tokenizer_of(teacher), TextList(texts)), with_layers(teacher, layers)
        )

    def __call__(self, ids: Tensor) -> Mapping[str, Reps]:
        import torch

        rows, places = torch.unique(ids, return_inverse=True)
        vectors = self.student.forward(Batch(rows=rows)).flat
        return {"docs": Reps.single(vectors[places])}

    def groups(self) -> Mapping[str, list[Parameter]]:
        return {f"document {name}": group for name, group in self.student.groups().items()}

    def stored(self, *, batch_size: int = 64) -> Floats:
        """[N, d], one encoding of every document."""
        import torch

        lengths = np.diff(self.student.texts.starts)
        order = np.argsort(-lengths, kind="stable")
        parts = []
        with torch.no_grad():
            for start in range(0, len(order), batch_size):
                batch = Batch(rows=torch.from_numpy(order[start : start + batch_size]))
                parts.append(self.student.forward(batch).flat.numpy())
        vectors: Floats = np.concatenate(parts)[np.argsort(order)]
        return vectors


def _joined(query: Any, docs: Any) -> list[Any]:
    """What the joint projection reads, torch or numpy: the product of unit vectors is small, so it is scaled up."""
    return [query, docs, query * docs * docs.shape[-1] ** 0.5]


def _queries(data: TextData, teacher: SentenceEncoder, judged: JudgedPairs) -> TokenLists:
    prompt = teacher.fingerprint.prompts.get("query", "")
    texts = [prompt + data.queries[int(row)] for row in judged.rows]
    return TokenLists.of(tokenizer_of(teacher), TextList(texts))
