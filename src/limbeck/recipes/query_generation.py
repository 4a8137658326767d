"""New training queries out of training queries, said again by an encoder-decoder: EmbedDistill's query generation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from limbeck import scores
from limbeck.documents import Bank
from limbeck.encoders.generator import QueryGenerator
from limbeck.encoders.own_generator import generator_of
from limbeck.encoders.tokens import TokenLists
from limbeck.errors import ConfigError
from limbeck.train.fit import Schedule, fit
from limbeck.train.system import System, TrainingQueries
from limbeck.types import Batch, Reps, Step

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Parameter

    from limbeck.encoders.sentence import SentenceEncoder
    from limbeck.train.history import History

HELD_OUT, LEAST_HELD_OUT, MOST_HELD_OUT = 0.05, 20, 500  # share and number of queries to choose the epoch by


@dataclass(frozen=True, slots=True)
class Made:
    """A new query, and what it is made of."""

    row: int  # of the query that it says again
    noise: float
    text: str


@dataclass(frozen=True, kw_only=True)
class QueryGeneration:
    """New queries from each training query: tokens masked, noise on the encoder's output, the decoder says it again.

    Trains: an encoder-decoder made from the teacher's layers, to say masked training queries in full; one that is given
            is taken as it is, or trained as well.
    Frozen: the teacher, its document vectors, every index.
    Claim:  a small student keeps more of the teacher where it matches the teacher's vectors of such queries too.
    Source: EmbedDistill (Kim et al., 2023, §4.3 and §5.1), with BART-base as it is published; its appendix E was not
            at hand.
    """

    masked: float = 0.1  # share of the tokens; 10 % in EmbedDistill §5.1
    noise: tuple[float, ...] = (0.1, 0.2)  # standard deviations, one new query for each; EmbedDistill §5.1
    encoder_layers: tuple[int, ...] = (0, 5)  # of the teacher's, from 0: the encoder of our own generator
    decoder_layers: tuple[int, ...] = (0,)  # its decoder's
    rate: float = 5e-4  # Adam's step
    epochs: int = 2  # passes over the queries; 0 takes the generator as it is
    least_steps: int = 500  # small collections need as many updates as large ones
    batch_size: int = 64
    most_tokens: int = 64  # of a query; what stands behind them is lost
    patience: int = 2  # epochs without a gain on held-out queries before training stops
    seed: int = 0

    def run(
        self,
        queries: Sequence[str],
        start: SentenceEncoder | QueryGenerator,
        *,
        folder: Path | None = None,
        on_history: Callable[[History], None] | None = None,
        progress: bool = True,
    ) -> System:
        """The system whose query side is the trained generator: `generator_in` takes it out.

        cost  epochs · Q times three passes of encoder and decoder; 10 to 15 ms a query on one core for our own
        """
        generator = start if isinstance(start, QueryGenerator) else self._own(start, queries)
        train, held = _parts(len(queries), seed=self.seed)
        learning = Repeating(
            generator,
            generator.tokens([queries[row] for row in train]),
            masked=self.masked,
            seed=self.seed,
        )
        system = System(
            query=learning,
            documents=Bank(np.empty((0, 1), np.float32)),
            score=scores.dot,
            objective={"nats a token": (1.0, unlikelihood)},
            train={"tokens": self.rate, "layers": self.rate},
        )
        if self.epochs == 0:
            return system
        history = fit(
            system,
            TrainingQueries(texts=[queries[row] for row in train]),
            Schedule.of(self, queries=len(train), clip=1.0),
            dev=_dev_figure([queries[row] for row in held], learning),
            step=repeating_step,
            folder=folder,
            progress=progress,
        )
        if on_history is not None:
            on_history(history)
        return system

    def make(self, generator: QueryGenerator, queries: Sequence[str], *, progress: bool = True) -> list[Made]:
        """One new query for each query and each noise, in this order; equal ones among them."""
        return [
            Made(row, noise, text)
            for place, noise in enumerate(self.noise)
            for row, text in enumerate(
                generator.again(
                    queries, masked=self.masked, noise=noise, seed=self.seed + place, progress=progress
                )
            )
        ]

    def _own(self, teacher: SentenceEncoder, queries: Sequence[str]) -> QueryGenerator:
        if self.epochs == 0:
            raise ConfigError(
                "a generator made from the teacher says nothing before it has learned; `epochs` is 0."
            )
        return generator_of(
            teacher,
            queries,
            encoder_layers=self.encoder_layers,
            decoder_layers=self.decoder_layers,
            most_tokens=self.most_tokens,
            seed=self.seed,
        )


class Repeating:
    """A generator in training. Its vectors of a query are the encoder's states, and the decoder scores it by them."""

    def __init__(self, generator: QueryGenerator, tokens: TokenLists, *, masked: float, seed: int) -> None:
        self.generator = generator
        self.tokens = tokens
        self.masked, self.seed = masked, seed

    def forward(self, batch: Batch) -> Reps:
        """[B, n, d] with gradient; other masks in every batch, the same ones for the same batch."""
        rows = np.asarray(batch.rows)
        draws = [np.random.default_rng((self.seed, int(rows[0]), int(row))) for row in rows]
        return self.generator.states(self.tokens.take(rows), masked=self.masked, noise=0.0, draws=draws)

    def groups(self) -> Mapping[str, list[Parameter]]:
        """The token vectors apart from all the rest."""
        tokens = list(self.generator.model.get_input_embeddings().parameters())
        known = {id(parameter) for parameter in tokens}
        rest = [parameter for parameter in self.generator.model.parameters() if id(parameter) not in known]
        return {"tokens": tokens, "layers": rest}


def repeating_step(system: System, batch: Batch) -> Step:
    """A query's score [B, 1] is how likely the decoder says it, in nats a token; there are no documents."""
    learning = system.query
    assert isinstance(learning, Repeating)
    states = learning.forward(batch)
    found = learning.generator.log_likelihoods(states, learning.tokens.take(np.asarray(batch.rows)))
    return Step(batch=batch, query=states, docs={}, candidates=None, scores={"query": found[:, None]})


def unlikelihood(step: Step) -> Tensor:
    """[B]: minus the score of the query itself."""
    found: Tensor = -step.scores["query"][:, 0]
    return found


def generator_in(system: System) -> QueryGenerator:
    """The generator that a system has trained."""
    assert isinstance(system.query, Repeating)
    return system.query.generator


def _dev_figure(held: Sequence[str], learning: Repeating) -> Callable[[System], float] | None:
    """How likely held-out queries are, masked once for all epochs."""
    import torch

    if not held:
        return None
    rows = torch.arange(len(held))
    whole = Repeating(
        learning.generator,
        learning.generator.tokens(held),
        masked=learning.masked,
        seed=learning.seed,
    )

    def figure(system: System) -> float:
        with torch.no_grad():
            states = whole.forward(Batch(rows=rows))
            return float(learning.generator.log_likelihoods(states, whole.tokens).mean())

    return figure


def _parts(queries: int, *, seed: int) -> tuple[list[int], list[int]]:
    """Rows to train on, and rows held out: none where they would be too few to choose an epoch by."""
    count = min(MOST_HELD_OUT, int(queries * HELD_OUT))
    count = count if count >= LEAST_HELD_OUT else 0
    order = np.random.default_rng(seed).permutation(queries)
    return np.sort(order[count:]).tolist(), np.sort(order[:count]).tolist()
