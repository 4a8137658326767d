"""JPQ: codewords and query map learn to rank what the compressed index itself finds, with every code as it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from limbeck.assignments import Beside
from limbeck.data.labels import Labels
from limbeck.data.vector_data import VectorData
from limbeck.documents import CodeBank
from limbeck.encoders.given import GivenQueries
from limbeck.errors import ConfigError
from limbeck.losses.rank import lambda_rank, nce
from limbeck.losses.terms import rank, reconstruction
from limbeck.mining import Drawn, Mined
from limbeck.recipes.compress import code_index
from limbeck.recipes.labelled import (
    begun,
    fitted,
    query_side,
    relative_rates,
    temperature_of,
    training_material,
)
from limbeck.train.history import History
from limbeck.train.system import System
from limbeck.types import Floats, Term

if TYPE_CHECKING:
    from limbeck.contracts import Negatives


@dataclass(frozen=True, kw_only=True)
class JPQ:
    """Rank relevant documents above those that the compressed index retrieves at this very step.

    Trains: codewords, and a linear map of the query in place of the query encoder.
    Frozen: the document encoder, the rotation, every code.
    Claim:  better RR@10 than OPQ with byte-identical codes; ranking loss, codewords and end-to-end negatives each
            contribute; the gap grows as bytes shrink.
    Source: Zhan et al., CIKM 2021; jingtaozhan/JPQ run_train.py: AdamW, codeword rates 5e-6 to 1e-4, query encoder
            5e-6, batches of 32, 6 epochs. Differs: rates relative to the parameters, temperature drawn from the data.
    """

    code_bytes: int = 16
    bits: Literal[4, 8] = 8
    loss: Literal["lambda_rank", "softmax", "reconstruction"] = "lambda_rank"  # softmax: RepCONC's code
    negatives: Literal["end-to-end", "static", "random"] = "end-to-end"  # mined now, at the start, or drawn
    train_codewords: bool = True  # False: the query map alone learns
    learn_query_map: bool = True
    top_k: int = 200  # documents that are mined for a query (loss_neg_topK)
    lambda_cut: int = 200  # ranks beyond it are worth nothing; 200 for passages, 10 for documents
    positives: Literal["auto", "labels", "teacher"] = "auto"  # auto: labels, else the teacher's first
    temperature: float | None = None  # None = a share of the spread of the teacher's scores; published: 1
    spread_share: float = 0.25  # that share: lower looks at the very top, and costs overlap
    made_queries: float = 0.0  # share of the training queries made from documents
    codeword_rate: float = 0.003  # Adam's step relative to the root mean square of the codewords
    query_rate: float = 0.0001
    epochs: int = 2  # published: 6, of which the first two give nearly all
    least_steps: int = 1000  # small collections need as many updates as large ones
    batch_size: int = 32
    patience: int = 2
    seed: int = 0

    def __call__(self, data: VectorData, start: System | None = None) -> System:
        """The system, ready to be fitted. `start` is a quantised system whose codes are taken over."""
        queries, labels = training_material(self, data)
        return self._compose(data, begun(self, data, start), queries, labels)

    def run(
        self,
        data: VectorData,
        start: System | None = None,
        *,
        folder: Path | None = None,
        on_history: Callable[[History], None] | None = None,
        progress: bool = True,
    ) -> System:
        """The fitted system. `folder` keeps checkpoints; a stopped run continues from them."""
        queries, labels = training_material(self, data)
        system = self._compose(data, begun(self, data, start), queries, labels)
        return fitted(self, data, system, queries, folder=folder, on_history=on_history, progress=progress)

    def _compose(self, data: VectorData, start: System, queries: Floats, labels: Labels) -> System:
        assert isinstance(start.documents, CodeBank)
        quantiser, codes = start.documents.learned(), start.documents.stored()
        rebuilds = self.loss == "reconstruction"
        documents = Beside(quantiser, codes, data.documents) if rebuilds else CodeBank(quantiser, codes)
        query = query_side(start, learn_map=self.learn_query_map and not rebuilds)
        system = replace(
            start,
            query=query,
            documents=documents,
            negatives=self._negatives(query, documents, labels),
            objective=self._objective(self._temperature(data, queries)),
            index=code_index,
        )
        rate = self.codeword_rate if self.train_codewords else 0.0
        rates = relative_rates(system, {"codewords": rate}, query_rate=self.query_rate)
        if not rates:
            raise ConfigError(
                "nothing is left to train: `train_codewords` and the query map are both off.\n\n"
                "Hint: leave one of `train_codewords` and `learn_query_map` on; the reconstruction loss has no query."
            )
        return replace(system, train=rates)

    def _temperature(self, data: VectorData, queries: Floats) -> float:
        share = self.spread_share if self.temperature is None else 1.0
        return share * temperature_of(self, data, queries)

    def _negatives(self, query: GivenQueries, documents: CodeBank, labels: Labels) -> Negatives:
        if self.negatives == "random":
            count = min(self.top_k, len(documents.codes))
            return Drawn(len(documents.codes), labels, count=count, seed=self.seed)
        is_live = self.negatives == "end-to-end"
        return Mined(query, documents, labels, top=self.top_k, live=is_live)

    def _objective(self, temperature: float) -> Mapping[str, tuple[float, Term]]:
        if self.loss == "reconstruction":
            return {"docs": (1.0, reconstruction(view="docs"))}
        if self.loss == "softmax":
            return {"docs": (1.0, rank(nce, temperature=temperature))}
        # drawn documents come in no order: their ranks are those of the present scores
        by_place = partial(
            lambda_rank, cut=self.lambda_cut, temperature=temperature, resort=self.negatives == "random"
        )
        return {"docs": (1.0, rank(by_place))}
