"""A cross-encoder trained from labels: re-ranks what an index found, and teaches dual encoders."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from limbeck import scores
from limbeck.data.text_data import TextData
from limbeck.encoders.pair import PairEncoder, PairReps
from limbeck.errors import ConfigError
from limbeck.losses.pairs import reconstruct
from limbeck.losses.rank import nce
from limbeck.losses.terms import rank
from limbeck.recipes.pair_lists import Known, OneAgainst, RankedRivals
from limbeck.recipes.students import bank_of
from limbeck.train.fit import Schedule, fit
from limbeck.train.system import System, TrainingQueries
from limbeck.types import Batch, Candidates, Reps, Step

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Parameter

    from limbeck.encoders.sentence import SentenceEncoder
    from limbeck.train.history import History


@dataclass(frozen=True, kw_only=True)
class CrossEncoder:
    """One transformer over query and document together, told by labels which of the teacher's candidates is right.

    Trains: a copy of the teacher's transformer, and the head that makes a score of its states.
    Frozen: the teacher, its vectors, every index over them; which documents are re-ranked.
    Claim:  best on the same candidates, R@k unchanged, at a hundred times the cost; dual pooling as good as [CLS].
    Source: Nogueira & Cho, 2019; dual pooling and reconstruction: EmbedDistill (Kim et al., 2023), section 4.2.
    """

    pooling: Literal["cls", "dual-special", "dual-mean"] = "dual-mean"  # what the score is made of
    closing: Literal["query", "document"] = "query"  # dual-special: whose [SEP] is the document's vector
    max_length: int = 128  # tokens of a pair; the document is cut
    negatives: int = 7  # drawn for each query in each step
    depth: int = 50  # of the teacher's list that they are drawn from
    temperature: float = 1.0  # of the soft-max over candidates
    reconstruction: float = 1.0  # weight of rebuilding the tokens (EmbedDistill gives none); 0 for cls
    every: int = 16  # of the tokens one in so many is rebuilt in a step
    most_queries: int | None = None  # a sample of the labelled queries is enough on a small machine
    layer_rate: float = 5e-5  # Adam's step
    token_rate: float = 2e-5  # of the token vectors
    head_rate: float = 1e-3  # of the head
    epochs: int = 1  # passes over the queries
    least_steps: int = 1  # or more passes, where these are few
    batch_size: int = 8  # queries; a step reads 1 + negatives times as many pairs
    patience: int = 1  # the last epoch is kept
    seed: int = 0

    def __post_init__(self) -> None:
        if self.temperature <= 0 or self.reconstruction < 0 or self.every < 1:
            raise ConfigError(
                "`temperature` must be above 0, `reconstruction` not below, `every` 1 or more; "
                f"found {self.temperature}, {self.reconstruction} and {self.every}."
            )

    def run(
        self,
        data: TextData,
        teacher: SentenceEncoder,
        *,
        folder: Path | None = None,
        on_history: Callable[[History], None] | None = None,
        progress: bool = True,
    ) -> System:
        """The fitted system; `pairs_of` makes of it what re-ranks.

        cost  epochs · R · (1 + negatives) readings and gradients
        """
        ranked = RankedRivals.of(data, depth=self.depth, most=self.most_queries, seed=self.seed)
        system = self._composed(data, teacher, ranked)
        queries = TrainingQueries(texts=[data.queries[int(row)] for row in ranked.rows])
        schedule = Schedule.of(self, queries=len(queries), clip=1.0)
        history = fit(system, queries, schedule, step=pair_step, folder=folder, progress=progress)
        if on_history is not None:
            on_history(history)
        return system

    def _composed(self, data: TextData, teacher: SentenceEncoder, ranked: RankedRivals) -> System:
        pairs = PairEncoder.start(
            teacher, pooling=self.pooling, closing=self.closing, max_length=self.max_length, seed=self.seed
        )
        assert data.corpus is not None
        objective = {"labels": (1.0, rank(nce, temperature=self.temperature))}
        if self.reconstruction > 0:
            objective["tokens"] = (self.reconstruction, reconstruct(pairs.token_vectors, every=self.every))
        rates = {"tokens": self.token_rate, "layers": self.layer_rate, "head": self.head_rate}
        return System(
            query=PairSide(pairs, data.corpus),
            documents=bank_of(data),
            score=scores.dot,
            negatives=OneAgainst(ranked, count=self.negatives, seed=self.seed),
            objective=objective,
            train={name: rate for name, rate in rates.items() if name in pairs.groups()},
        )


class PairSide:
    """A cross-encoder where a system has its query side: it reads texts, and no query without a document."""

    def __init__(self, pairs: PairEncoder, documents: Known) -> None:
        self.pairs = pairs
        self.documents = documents

    def read(self, batch: Batch, candidates: Candidates) -> PairReps:
        """All B·C pairs, with gradient."""
        assert batch.texts is not None
        width = candidates.ids.shape[1]
        asked = [query for query in batch.texts for _ in range(width)]
        tokens = self.pairs.tokenizer(asked, self.documents.texts_of(candidates.ids.flatten().tolist()))
        return self.pairs.read(tokens)

    def __call__(self, batch: Batch, candidates: Candidates) -> Tensor:
        """[B, C] scores: a `PairScore`."""
        found: Tensor = self.read(batch, candidates).scores.view(candidates.ids.shape)
        return found

    def forward(self, batch: Batch) -> Reps:
        raise ConfigError("a cross-encoder has no vector of a query alone.\n\nHint: `fit(step=pair_step)`.")

    def groups(self) -> dict[str, list[Parameter]]:
        return self.pairs.groups()


def pair_step(system: System, batch: Batch) -> Step:
    """Candidates, one reading of every pair, scores; its token states as the view "pairs" [B, C, T, d]."""
    assert system.negatives is not None
    candidates = system.negatives(batch)
    reps = cast("PairSide", system.query).read(batch, candidates)
    shape = candidates.ids.shape
    tokens = reps.tokens
    view = Reps(*(part.view(*shape, *part.shape[1:]) for part in (reps.states, tokens.mask, tokens.ids)))
    return Step(
        batch=batch,
        query=None,
        docs={"pairs": view},
        candidates=candidates,
        scores={"docs": reps.scores.view(shape)},
    )


def pairs_of(system: System) -> PairEncoder:
    """The cross-encoder that a system has learned."""
    return cast("PairSide", system.query).pairs
