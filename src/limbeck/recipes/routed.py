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
from limbeck.quantisers.coarse import default_lists
from limbeck.quantisers.engine import BLOCK_ROWS
from limbeck.quantisers.product import ProductQuantiser
from limbeck.recipes.engines import engine_system, visited
from limbeck.teachers import DenseTeacher
from limbeck.train.fit import Schedule, fit
from limbeck.train.system import System, TrainingQueries
from limbeck.train.unlabelled import teacher_lists, training_queries
from limbeck.types import Codes, Floats, Reps, Rows

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Parameter

    from limbeck.index.engine import EngineIndex
    from limbeck.index.two_stage import TwoStageIndex

SPREAD_DEPTH = 200  # of the lists that the temperature is drawn from
SAMPLE_ROWS = 16_384  # that second codewords are learnt from: 64 for each
LARGEST_FIRST = 128  # bytes of the first codes: fast scan adds up to 256 sub-vectors


@dataclass(frozen=True, kw_only=True)
class LimbeckLists:
    """Fast search: learned routing chooses lists, 4-bit codes scanned in registers choose in them, finer codes decide.

    Trains: rotation, centroids and codewords (k-means), routing vectors (from the teacher's ranking, without labels).
    Frozen: the encoder, which document lies in which list, every code.
    Claim:  the overlap with exact search that IVF-RaBitQ with int8 vectors reaches, at two fifths of its bytes; with
            int8 vectors instead of second codes, at its bytes and faster.
    Source: ours. Routing in the manner of Vecchiato et al., SIGIR 2024 (learning to rank for the routing of queries),
            with soft targets; fast scan by faiss (André et al., 2017). Why: docs/decisions.
    """

    code_bytes: int | None = None  # 1 for 8 dimensions chooses, the rest decide; None = 3 in all: 144 of 384
    second: Literal["codes", "int8"] = "codes"  # what decides; int8: a byte a dimension, in faiss
    lists: int | None = None  # None = the square root of the number of documents
    factor: float | None = None  # candidates of the second look for each hit; None = 4, before int8 vectors 8
    learn_routing: bool = True  # else lists are chosen by their centroids
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
        if dim % 8 or dim > 8 * LARGEST_FIRST:
            raise ConfigError(
                f"one bit a dimension in sub-vectors of 4 needs a width that 8 divides, at most {8 * LARGEST_FIRST}; "
                f"found {dim}."
            )
        if self.second not in ("codes", "int8"):
            raise ConfigError(f"`second` must be 'codes' or 'int8', got {self.second!r}.")
        self._first(documents, dim).check_fits(documents, dim)
        asked = self._size(dim)
        fitting = [dim // 8 + dim]
        if self.second == "codes":
            fitting = [dim // 8 + parts for parts in range(1, dim + 1) if dim % parts == 0]
        if asked not in fitting:
            near = sorted(sorted(fitting, key=lambda size: abs(size - asked))[:3])
            raise ConfigError(
                f"`code_bytes` is {dim // 8} that choose and a divisor of {dim} that decide ({dim} with int8 vectors); "
                f"found {asked}. Nearest that fit: {near}."
            )
        if self.second == "codes":
            self._second(dim).check_fits(documents, dim)

    def _first(self, documents: int, dim: int) -> ProductQuantiser:
        lists = default_lists(documents) if self.lists is None else self.lists
        return ProductQuantiser(code_bytes=dim // 8, bits=4, rotate=self.second == "codes", lists=lists)

    def _second(self, dim: int) -> ProductQuantiser:
        return ProductQuantiser(code_bytes=self._size(dim) - dim // 8)

    def _size(self, dim: int) -> int:
        if self.code_bytes is not None:
            return self.code_bytes
        return dim // 8 + (dim // 4 if self.second == "codes" else dim)

    def _index(self, data: VectorData, documents: Floats) -> TwoStageIndex | EngineIndex:
        if data.metric != "ip":
            raise ConfigError(
                f"routing is learnt for inner products; found `metric`={data.metric!r}.\n\n"
                "Hint: `distillvq` with lists knows squared distances."
            )
        self.check_fits(*documents.shape)
        first = self._first(*documents.shape).fit(documents, seed=self.seed)
        codes = first.encode(documents)
        if self.learn_routing:
            first = self._routed(data, first, codes)
        return (self._with_codes if self.second == "codes" else self._with_vectors)(first, codes, documents)

    def _routed(self, data: VectorData, first: ProductQuantiser, codes: Codes) -> ProductQuantiser:
        assert codes.lists is not None
        assert first.base is not None
        rotation = np.eye(first.dim, dtype=np.float32) if first.rotation is None else first.rotation
        routing = self._learned(data, codes.lists, first.base @ rotation)
        return first.with_parts({"routing": routing @ rotation.T})

    def _with_codes(self, first: ProductQuantiser, codes: Codes, documents: Floats) -> TwoStageIndex:
        from limbeck.index.two_stage import TwoStageIndex

        rows = np.sort(np.random.default_rng(self.seed).permutation(len(documents))[:SAMPLE_ROWS])
        second = self._second(documents.shape[1]).fit(
            _left_over(first, codes, documents, rows), seed=self.seed
        )
        blocks = np.split(np.arange(len(documents)), range(BLOCK_ROWS, len(documents), BLOCK_ROWS))
        second_codes = [second.encode(_left_over(first, codes, documents, part)).codes for part in blocks]
        return TwoStageIndex(
            first,
            codes,
            second=second,
            second_codes=Codes(np.concatenate(second_codes)),
            factor=4.0 if self.factor is None else self.factor,
        )

    def _with_vectors(self, first: ProductQuantiser, codes: Codes, documents: Floats) -> EngineIndex:
        from limbeck.index.engine import EngineIndex
        from limbeck.index.routing import with_routing
        from limbeck.quantisers.faiss_build import refined
        from limbeck.quantisers.faiss_fast import fast_scanner
        from limbeck.quantisers.faiss_io import code_scanner

        assert first.base is not None
        assert first.routing is not None
        engine = fast_scanner(code_scanner(first, codes), bits=4)
        if self.learn_routing:
            engine = with_routing(engine, first.routing)
        factor = 8.0 if self.factor is None else self.factor
        engine = refined(engine, documents, store="sq8", factor=factor, metric="ip")
        return EngineIndex(engine, metric="ip", default_effort=visited(len(first.base), None))

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


def _left_over(first: ProductQuantiser, codes: Codes, documents: Floats, rows: Rows) -> Floats:
    """[n, d] of the rows in the rotated space: what the first codes do not say."""
    assert codes.lists is not None
    chosen = Codes(codes.codes[rows], codes.lists[rows])
    return first.rotate_vectors(documents[rows]) - first.decode_rotated(chosen)


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
