"""The designs of speed_frontier: what is built, how its search is asked, and over which grid.

A design is one built index; a point is a setting of its search. `FAMILIES` names all of them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

import faiss
import numpy as np

from limbeck.data.vector_data import VectorData
from limbeck.index.engine import EngineIndex
from limbeck.index.engine_search import innermost, typed
from limbeck.index.package_engines import ScaNN as ScaNNEngine
from limbeck.index.package_engines import package
from limbeck.index.packages import PackageIndex
from limbeck.quantisers.faiss_build import Turned, random_rotation, through, with_lists
from limbeck.recipes.bit_codes import RaBitQ
from limbeck.recipes.engines import IVFOPQ, engine_system
from limbeck.recipes.packages import HNSWLib, ScaNN
from limbeck.train.system import System
from limbeck.types import Floats, Hits, Reps, Rows

K = 10
PROBES = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
FACTORS = (2, 3, 4, 6, 8, 12)  # of every second look, so that nobody has a finer grid
SIGHT = (10, 16, 24, 32, 48, 64, 96, 128, 192, 256, 400)  # hnswlib's ef


def cores() -> int:
    """Of this machine that we may use."""
    return len(os.sched_getaffinity(0))


class Point(NamedTuple):
    """A setting of a search."""

    breadth: int  # lists, leaves or candidates in sight
    factor: int | None  # candidates of the second look for each hit, where there is one


class Search(Protocol):
    """An index as it is asked. `one` and `rows` find the same."""

    breadths: Sequence[int]  # rising
    factors: Sequence[int | None]  # rising

    def one(self, point: Point) -> Callable[[Floats], object]:
        """What is timed, for a query [1, d]; valid until `one` or `rows` is called again."""
        ...

    def rows(self, queries: Floats, point: Point) -> Rows:
        """The best K of each query [B, K]."""
        ...


class FaissSearch:
    """The bare faiss index, with search parameters made once a point."""

    def __init__(self, index: EngineIndex, *, query_bits: int | None) -> None:
        self.engine = index.engine
        self.query_bits = query_bits
        lists = innermost(self.engine).nlist
        self.breadths = [*(probes for probes in PROBES if probes < lists), lists]
        self.factors = FACTORS if isinstance(self.engine, faiss.IndexRefine) else (None,)

    def one(self, point: Point) -> Callable[[Floats], object]:
        return partial(self.engine.search, k=K, params=self._parameters(self.engine, point))

    def rows(self, queries: Floats, point: Point) -> Rows:
        found: Rows = self.engine.search(queries, K, params=self._parameters(self.engine, point))[1]
        return found

    def _parameters(self, index: Any, point: Point) -> Any:
        inner = typed(index)
        if isinstance(inner, faiss.IndexRefine):
            base = self._parameters(inner.base_index, point)
            return faiss.IndexRefineSearchParameters(k_factor=point.factor, base_index_params=base)
        if isinstance(inner, faiss.IndexPreTransform):
            return faiss.SearchParametersPreTransform(index_params=self._parameters(inner.index, point))
        if self.query_bits is not None:
            return faiss.IVFRaBitQSearchParameters(nprobe=point.breadth, qb=self.query_bits)
        return faiss.SearchParametersIVF(nprobe=point.breadth)


class GraphSearch:
    """hnswlib's own object."""

    breadths = SIGHT
    factors = (None,)

    def __init__(self, index: PackageIndex) -> None:
        self.graph: Any = index.engine._graph  # type: ignore[attr-defined]

    def one(self, point: Point) -> Callable[[Floats], object]:
        self.graph.set_ef(point.breadth)
        return partial(self.graph.knn_query, k=K, num_threads=1)

    def rows(self, queries: Floats, point: Point) -> Rows:
        self.graph.set_ef(point.breadth)
        found: Rows = self.graph.knn_query(queries, k=K, num_threads=cores())[0].astype(np.int64)
        return found


class ScaNNSearch:
    """ScaNN's own searcher; it takes a single query as [d]."""

    factors = FACTORS

    def __init__(self, index: PackageIndex) -> None:
        assert isinstance(index.engine, ScaNNEngine)
        self.searcher: Any = index.engine._searcher
        leaves = index.engine.leaves
        self.breadths = [*(probes for probes in PROBES if probes < leaves), leaves]

    def one(self, point: Point) -> Callable[[Floats], Any]:
        settings = self._settings(point)
        search = self.searcher.search
        return lambda query: search(query[0], **settings)

    def rows(self, queries: Floats, point: Point) -> Rows:
        one = self.one(point)  # not search_batched: it finds other documents than single searches do
        found: Rows = np.full((len(queries), K), -1, dtype=np.int64)
        for number in range(len(queries)):
            ids, _ = one(queries[number : number + 1])
            found[number, : len(ids)] = ids
        return found

    def _settings(self, point: Point) -> dict[str, int]:
        assert point.factor is not None
        return {
            "final_num_neighbors": K,
            "pre_reorder_num_neighbors": K * point.factor,
            "leaves_to_search": point.breadth,
        }


class OwnSearch:
    """Ours, as its users call it."""

    factors = FACTORS

    def __init__(self, index: Any, *, lists: int) -> None:
        self.index = index
        self.lists = lists
        self.breadths = [*(probes for probes in PROBES if probes < lists), lists]

    def one(self, point: Point) -> Callable[[Floats], object]:
        search, effort = self._ready(point), point.breadth / self.lists
        return lambda query: search(Reps.single(query), K, effort=effort)

    def rows(self, queries: Floats, point: Point) -> Rows:
        found: Hits = self._ready(point)(Reps.single(queries), K, effort=point.breadth / self.lists)
        return found.ids

    def _ready(self, point: Point) -> Any:
        self.index.factor = point.factor
        return self.index.search


class EngineSearch(OwnSearch):
    """Ours where it is a faiss engine: its factor is a setting of the engine, which a fresh index reads."""

    def _ready(self, point: Point) -> Any:
        self.index.engine.k_factor = point.factor
        self.index = EngineIndex(self.index.engine, metric="ip")
        return self.index.search


@dataclass(frozen=True, kw_only=True)
class FastScan:
    """faiss's lists of codes scanned in registers: product codes of 4 bits for 4 dimensions, or RaBitQ's one bit."""

    codes: Literal["pq4", "rabitq"]
    lists: int
    seed: int = 0

    def run(self, data: VectorData) -> System:
        return engine_system(data, partial(self._index, data))

    def _index(self, data: VectorData, documents: Floats) -> EngineIndex:
        block = 32  # documents of a step of the kernel

        def product(coarse: Any, dim: int, lists: int, metric: int) -> Any:
            return faiss.IndexIVFPQFastScan(coarse, dim, lists, dim // 4, 4, metric, block)

        def bits(coarse: Any, dim: int, lists: int, metric: int) -> Any:
            return faiss.IndexIVFRaBitQFastScan(coarse, dim, lists, metric, block)

        made = partial(with_lists, lists=self.lists, metric=data.metric, seed=self.seed)
        if self.codes == "pq4":
            return EngineIndex(made(product, documents), metric=data.metric)
        rotation = random_rotation(documents.shape[1], seed=self.seed)
        return EngineIndex(through([rotation], made(bits, Turned(documents, rotation))), metric=data.metric)


@dataclass(frozen=True, kw_only=True)
class ScaNNInt8:
    """ScaNN as our recipe builds it, but with int8 vectors for the second look in place of floats."""

    leaves: int

    def run(self, data: VectorData) -> System:
        return engine_system(data, partial(self._index, data))

    def _index(self, data: VectorData, documents: Floats) -> PackageIndex:
        plain = ScaNN(leaves=self.leaves)
        plain.check_fits(*documents.shape)
        builder = package("scann", what="ScaNN").scann_ops_pybind.builder(documents, K, "dot_product")
        builder = builder.tree(
            num_leaves=self.leaves,
            num_leaves_to_search=self.leaves,
            training_sample_size=min(plain.sample, len(documents)),
        )
        builder = builder.score_ah(plain.block, anisotropic_quantization_threshold=plain.threshold)
        engine = ScaNNEngine(
            builder.reorder(plain.reordered, quantize=True).build(),
            dim=documents.shape[1],
            metric=data.metric,
            leaves=self.leaves,
            block=plain.block,
            reordered=plain.reordered,
        )
        return PackageIndex(engine, metric=data.metric, default_effort=plain.searched)


Refine: TypeAlias = Literal["none", "sq8", "fp16"]


@dataclass(frozen=True)
class Design:
    """One built index: a recipe and, for faiss, the vectors of a second look behind it."""

    name: str
    recipe: Any
    search: Callable[[Any], Search]
    refine: Refine = "none"
    query_bits: int | None = None  # of RaBitQ; a setting of the search, yet a design of its own
    is_taught: bool = False  # learns from the teacher's lists

    def key(self, collection: str, family: str) -> dict[str, Any]:
        """What its line in the result file, and its folder in the cache, are found by."""
        recipe = f"{self.recipe!r}, refine={self.refine}, query_bits={self.query_bits}"
        return {"set": collection, "stage": "choose", "family": family, "design": self.name, "recipe": recipe}


def _faiss(name: str, recipe: Any, refine: Refine, *, query_bits: int | None = None) -> Design:
    refined = "" if refine == "none" else f" + {refine}"
    search = partial(FaissSearch, query_bits=query_bits)
    return Design(f"{name}, {recipe.lists} lists{refined}", recipe, search, refine, query_bits)


def opq_designs(documents: int, lists: Sequence[int]) -> Iterator[Design]:
    """Designs of one recipe follow each other, so that it is built once."""
    for count in lists:
        for size in (16, 32, 64):
            for refine in ("none", "sq8", "fp16"):
                yield _faiss(f"OPQ {size}", IVFOPQ(code_bytes=size, lists=count), refine)


def rabitq_designs(documents: int, lists: Sequence[int]) -> Iterator[Design]:
    """As asked, and by fast scan, and with fewer bits of the query: whichever serves it best."""
    for count in lists:
        one_bit, scanned = RaBitQ(bits=1, lists=count), FastScan(codes="rabitq", lists=count)
        yield _faiss("1 bit", one_bit, "none", query_bits=8)
        for refine in ("sq8", "fp16"):
            for query_bits in (8, 4):
                name = "1 bit" if query_bits == 8 else "1 bit, query of 4 bits"
                yield _faiss(name, one_bit, refine, query_bits=query_bits)
        for refine in ("none", "sq8", "fp16"):
            yield _faiss("1 bit by fast scan", scanned, refine, query_bits=8)
        for bits in (2, 3):
            yield _faiss(f"{bits} bits", RaBitQ(bits=bits, lists=count), "none", query_bits=8)


def fast_scan_designs(documents: int, lists: Sequence[int]) -> Iterator[Design]:
    for count in lists:
        for refine in ("none", "sq8", "fp16"):
            yield _faiss("4-bit PQ", FastScan(codes="pq4", lists=count), refine)


def hnsw_designs(documents: int, lists: Sequence[int]) -> Iterator[Design]:
    for links in (16, 32):
        yield Design(f"{links} links", HNSWLib(links=links, ef_construction=200), GraphSearch)


def scann_designs(documents: int, lists: Sequence[int]) -> Iterator[Design]:
    """As many leaves as its authors advise, the square root of the documents, and twice as many."""
    root = round(documents**0.5)
    for leaves in (root, 2 * root):
        yield Design(f"{leaves} leaves + float", ScaNN(leaves=leaves), ScaNNSearch)
        yield Design(f"{leaves} leaves + int8", ScaNNInt8(leaves=leaves), ScaNNSearch)


def own_designs(documents: int, lists: Sequence[int]) -> Iterator[Design]:
    """As many lists as the recipe takes by itself, and the larger of the others' numbers where there are two."""
    from limbeck.quantisers.coarse import default_lists
    from limbeck.recipes.routed import LimbeckLists

    for count in (default_lists(documents), *lists[1:]):
        vectors = LimbeckLists(second="int8", lists=count)
        yield Design(f"Lists + int8, {count} lists", vectors, partial(EngineSearch, lists=count))
        for size in (112, 144, 240):
            recipe = LimbeckLists(code_bytes=size, lists=count)
            search = partial(OwnSearch, lists=count)
            yield Design(f"Lists {size}, {count} lists", recipe, search, is_taught=True)


FAMILIES: Mapping[str, Callable[[int, Sequence[int]], Iterator[Design]]] = {
    "Limbeck": own_designs,
    "IVF-RaBitQ": rabitq_designs,
    "IVF-OPQ": opq_designs,
    "IVF-PQ 4-bit fast scan": fast_scan_designs,
    "ScaNN": scann_designs,
    "HNSW": hnsw_designs,
}
