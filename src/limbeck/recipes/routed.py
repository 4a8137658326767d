"""Inverted lists chosen by what queries looked for, not by where documents lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

import numpy as np

from limbeck import scores
from limbeck.data.vector_data import VectorData
from limbeck.encoders.given import GivenQueries
from limbeck.errors import ConfigError
from limbeck.losses.temperature import draw_temperature
from limbeck.losses.terms import route
from limbeck.negatives import TopK
from limbeck.recipes.bit_codes import RaBitQ
from limbeck.recipes.engines import engine_system
from limbeck.teachers import DenseTeacher
from limbeck.train.fit import Schedule, fit
from limbeck.train.system import System, TrainingQueries
from limbeck.train.unlabelled import teacher_lists, training_queries
from limbeck.types import Floats, Reps, Rows

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Parameter

    from limbeck.index.engine import EngineIndex

SPREAD_DEPTH = 200  # of the lists that the temperature is drawn from


@dataclass(frozen=True, kw_only=True)
class RoutedRaBitQ:
    """RaBitQ codes in inverted lists, which a search chooses by learned routing vectors instead of centroids.

    Trains: routing vectors.   Frozen: the encoder, which document lies in which list, every code.
    Claim:  more overlap with exact search than centroids give, at every number of lists visited.
    Source: in the manner of Vecchiato et al., SIGIR 2024 (learning to rank for the routing of queries), with soft
            targets from the teacher; as the routing of our Distill-VQ.
    """

    lists: int = 256  # coarse lists
    bits: Literal[1, 2, 3, 4] = 1  # of each dimension
    refine: Literal["none", "sq8", "fp16", "float"] = "sq8"  # vectors of a second look
    factor: float = 4.0  # candidates of the second look for each hit
    probes: int | None = None  # lists that a search visits; None = a tenth, at least 8
    top_k: int = 10  # documents of the teacher's list that a search is to find
    made_queries: float = 0.5  # share of the training queries made from documents
    routing_rate: float = 0.04  # Adam's step relative to the root mean square of the routing vectors
    epochs: int = 4  # passes over the training queries, or more where these are few:
    least_steps: int = 1000  # small collections need as many updates as large ones
    batch_size: int = 256
    seed: int = 0

    def run(self, data: VectorData, start: System | None = None) -> System:
        """A system whose index is built from the documents by `build()`; routing is learnt then."""
        return engine_system(data, partial(self._index, data))

    def check_fits(self, documents: int, dim: int) -> None:
        """Raises ConfigError where these constants cannot work with so many vectors of this width."""
        self._plain().check_fits(documents, dim)

    def _plain(self) -> RaBitQ:
        return RaBitQ(
            bits=self.bits,
            lists=self.lists,
            refine=self.refine,
            factor=self.factor,
            probes=self.probes,
            seed=self.seed,
        )

    def _index(self, data: VectorData, documents: Floats) -> EngineIndex:
        from limbeck.index.engine import EngineIndex
        from limbeck.index.routing import centroids, lists_of, with_routing

        if data.metric != "ip":
            raise ConfigError(f"routing is learnt for inner products; found `metric`={data.metric!r}.")
        plain = self._plain().run(data).build()
        assert isinstance(plain, EngineIndex)
        list_of = lists_of(plain.engine, len(documents))
        routing = self._learned(data, list_of, centroids(plain.engine))
        engine = with_routing(plain.engine, routing)
        return EngineIndex(engine, metric=data.metric, default_effort=plain.default_effort)

    def _learned(self, data: VectorData, list_of: Rows, start: Floats) -> Floats:
        """Routing vectors [L, d] whose soft-max over the lists falls where the teacher's documents lie."""
        import torch

        queries = training_queries(data, made=self.made_queries, seed=self.seed)
        ranked = teacher_lists(data, queries, SPREAD_DEPTH)
        temperature = draw_temperature(ranked.scores)
        bank = RoutingBank(start)
        size = float(np.sqrt(np.square(start).mean()))
        system = System(
            query=GivenQueries(start.shape[1], rotation=None, learn_map=False),
            documents=bank,
            score=scores.dot,
            negatives=TopK(np.ascontiguousarray(ranked.ids[:, : self.top_k])),
            teacher=DenseTeacher(data.documents, metric="ip"),
            objective={"routing": (1.0, route(torch.from_numpy(list_of), temperature=temperature))},
            train={"routing": self.routing_rate * size},
        )
        schedule = Schedule.for_steps(
            len(queries),
            epochs=self.epochs,
            least_steps=self.least_steps,
            batch_size=self.batch_size,
            seed=self.seed,
        )
        fit(system, TrainingQueries(vectors=queries), schedule)
        return bank.stored()


class RoutingBank:
    """Routing vectors alone. View: "lists", [1, L, 1, d], the same for every query."""

    def __init__(self, start: Floats) -> None:
        import torch

        self.routing = torch.nn.Parameter(torch.tensor(start))  # [L, d]

    def __call__(self, ids: Tensor) -> Mapping[str, Reps]:
        return {"lists": Reps.single(self.routing[None])}

    def groups(self) -> Mapping[str, list[Parameter]]:
        return {"routing": [self.routing]}

    def stored(self) -> Floats:
        learned: Floats = self.routing.detach().numpy().copy()
        return learned
