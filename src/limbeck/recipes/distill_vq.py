"""Distill-VQ: codewords and centroids learn the ranking of the uncompressed vectors, without labels."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from limbeck.data.vector_data import VectorData
from limbeck.documents import CodeBank, Requantised
from limbeck.encoders.given import GivenQueries
from limbeck.errors import ConfigError
from limbeck.losses.distil import LOSSES
from limbeck.losses.temperature import draw_temperature, entropy_share
from limbeck.losses.terms import distil, route, teacher_entropy
from limbeck.negatives import InBatch, Positives, Together, TopK
from limbeck.recipes.compress import OPQ, PQ, code_index
from limbeck.teachers import DenseTeacher
from limbeck.train.fit import Schedule, fit
from limbeck.train.history import History
from limbeck.train.system import System, TrainingQueries
from limbeck.train.unlabelled import dev_figure, teacher_lists, training_queries
from limbeck.types import Floats, Rows, Term

if TYPE_CHECKING:
    from limbeck.contracts import Negatives

log = logging.getLogger(__name__)

NEAR_UNIFORM = (
    0.98  # of the largest possible entropy; the published temperature 1 on unit vectors gives 0.999
)


class NearUniformTeacher(UserWarning):
    """The teacher's soft-max says almost nothing at this temperature, so training would move nothing."""


@dataclass(frozen=True, kw_only=True)
class DistillVQ:
    """Distil the exact scores into the centroids and codewords of an (O)PQ index with the same codes.

    Trains: codewords, base centroids, routing vectors; a linear map of the query if asked.
    Frozen: the encoder, the rotation, list assignment, and (by default) every code.
    Claim:  better RR@10 than OPQ with byte-identical codes; listnet above mse; whole top list + in-batch best.
    Source: Xiao et al., SIGIR 2022, eq. 3 to 12 and tables 3 to 6. Differs where unit-length vectors demand it:
            temperature drawn from the data, Adam with rates relative to the size of the parameters, frozen codes.
    """

    code_bytes: int = 16
    bits: Literal[4, 8] = 8
    lists: int | None = None  # coarse lists (IVF head); None = PQ head alone
    rotate: bool = True
    loss: Literal["listnet", "mse", "margin_mse", "ranknet", "reverse_kl"] = "listnet"
    top_k: int = 200  # the teacher's list for each query (table 3)
    sample: int | None = 32  # how many of it a step draws; None = all
    in_batch: bool = True  # every query also scores the others' candidates
    use_labels: bool = False  # add labelled documents to the candidates (GT)
    codes: Literal["frozen", "re-encoded"] = "frozen"
    temperature: float | None = None  # None = drawn from the spread of the teacher's scores
    made_queries: float = 0.3  # share of the training queries made from documents
    learn_query_map: bool = False
    codeword_rate: float = 0.05  # Adam's step relative to the root mean square of the parameters
    base_rate: float = 0.05
    routing_rate: float = 0.05
    query_rate: float = 0.001
    epochs: int = 3  # passes over the training queries, or more where these are few:
    least_steps: int = 1000  # small collections need as many updates as large ones
    batch_size: int = 128
    patience: int = 2
    seed: int = 0

    def __call__(self, data: VectorData, start: System | None = None) -> System:
        """The system, ready to be fitted. `start` is a quantised system whose codes are taken over."""
        return self._compose(data, self._started(data, start), self._training_queries(data))

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
        queries = self._training_queries(data)
        system = self._compose(data, self._started(data, start), queries)
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

    def _started(self, data: VectorData, start: System | None) -> System:
        if start is not None:
            return start
        recipe = OPQ if self.rotate else PQ
        return recipe(code_bytes=self.code_bytes, bits=self.bits, lists=self.lists, seed=self.seed).run(data)

    def _training_queries(self, data: VectorData) -> Floats:
        return training_queries(data, made=self.made_queries, seed=self.seed)

    def _compose(self, data: VectorData, start: System, queries: Floats) -> System:
        assert isinstance(start.documents, CodeBank)
        quantiser, codes = start.documents.learned(), start.documents.stored()
        ranked = teacher_lists(data, queries, self.top_k)
        temperature = self.temperature or draw_temperature(ranked.scores)
        documents = CodeBank(quantiser, codes)
        if self.codes == "re-encoded":
            spread = float(np.square(quantiser.parts()["score.codewords"]).sum(-1).mean())
            documents = Requantised(quantiser, codes, data.documents, temperature=0.1 * spread)
        system = replace(
            start,
            query=GivenQueries(quantiser.dim, rotation=quantiser.rotation, learn_map=self.learn_query_map),
            documents=documents,
            negatives=self._negatives(data, ranked.ids),
            teacher=DenseTeacher(data.documents, metric=data.metric),
            objective=self._objective(documents, temperature),
            index=code_index,
        )
        self._warn_if_uniform(system, queries, temperature)
        return replace(system, train=self._rates(system))

    def _negatives(self, data: VectorData, ranked: Rows) -> Negatives:
        if self.sample is not None and self.sample > self.top_k:
            raise ConfigError(f"`sample` is {self.sample}, but only `top_k`={self.top_k} can be drawn from.")
        drawn = (
            self.sample if self.sample is None else min(self.sample, ranked.shape[1])
        )  # a small corpus has fewer
        source: Negatives = TopK(ranked, sample=drawn, seed=self.seed)
        if self.use_labels:
            if data.labels is None:
                raise ConfigError(
                    "`use_labels=True` needs `data.labels`; found None. Give labels, or leave it False."
                )
            source = Together(source, Positives(data.labels))
        return InBatch(source) if self.in_batch else source

    def _objective(self, documents: CodeBank, temperature: float) -> Mapping[str, tuple[float, Term]]:
        loss = LOSSES[self.loss]
        objective: dict[str, tuple[float, Term]] = {
            "docs": (1.0, distil(loss, temperature=temperature)),
            "teacher_entropy": (0.0, teacher_entropy(temperature=temperature)),
        }
        if documents.base is not None:
            objective["coarse"] = (1.0, distil(loss, scores="coarse", temperature=temperature))
            objective["routing"] = (1.0, route(documents.lists, temperature=temperature))
        return objective

    def _rates(self, system: System) -> Mapping[str, float]:
        """Adam moves each number by about its rate: relative to the parameters' size, scaling changes nothing."""
        relative = {"codewords": self.codeword_rate, "base": self.base_rate, "routing": self.routing_rate}
        rates = {
            name: relative[name] * float(parameters[0].detach().square().mean().sqrt())
            for name, parameters in system.documents.groups().items()
        }
        return {**rates, "query": self.query_rate} if self.learn_query_map else rates

    def _warn_if_uniform(self, system: System, queries: Floats, temperature: float) -> None:
        rows = np.random.default_rng(self.seed).permutation(len(queries))[: self.batch_size]
        batch = TrainingQueries(vectors=queries).batch(rows)
        assert system.negatives is not None
        assert system.teacher is not None
        candidates = system.negatives(batch)
        share = entropy_share(system.teacher(batch, candidates) / temperature, candidates.mask)
        log.info(
            "temperature %.4g: the teacher's entropy is %.3f of the largest possible", temperature, share
        )
        if share > NEAR_UNIFORM:
            warnings.warn(
                f"at temperature {temperature:.4g} the teacher's soft-max is nearly uniform "
                f"({share:.1%} of the largest entropy): training will move nothing.\n\n"
                "Hint: leave `temperature` at None to draw it from the data.",
                NearUniformTeacher,
                stacklevel=4,
            )
