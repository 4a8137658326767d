"""Engines over vectors or product codes: inverted lists, the multi-index, graphs. Nothing is trained on queries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from limbeck import scores
from limbeck.data.vector_data import VectorData
from limbeck.documents import Bank
from limbeck.encoders.given import GivenQueries
from limbeck.errors import ConfigError
from limbeck.train.system import System
from limbeck.types import Floats

if TYPE_CHECKING:
    from limbeck.contracts import Index
    from limbeck.index.engine import EngineIndex


@dataclass(frozen=True, kw_only=True)
class IVF:
    """Vectors in inverted lists around k-means centroids, of which a search visits some: a tree one level deep.

    Trains: centroids (k-means).   Frozen: the encoder.
    Claim:  recall rises with the lists visited; all lists give exact search.
    Source: Sivic & Zisserman, ICCV 2003; faiss IndexIVF. FLANN's k-means tree (a dead package) is nearest to this.
    """

    lists: int = 256  # coarse lists
    store: Literal["float", "fp16", "sq8"] = "float"  # 4, 2 or 1 bytes a dimension
    probes: int | None = None  # lists that a search visits; None = a tenth, at least 8
    seed: int = 0

    def run(self, data: VectorData, start: System | None = None) -> System:
        """A system whose index is built from the documents by `build()`."""
        return engine_system(data, partial(self._index, data))

    def check_fits(self, documents: int, dim: int) -> None:
        """Raises ConfigError where these constants cannot work with so many vectors of this width."""
        from limbeck.quantisers.faiss_build import refuse_lists

        refuse_lists(self.lists, documents)

    def _index(self, data: VectorData, documents: Floats) -> EngineIndex:
        import faiss

        from limbeck.index.engine import EngineIndex
        from limbeck.quantisers.faiss_build import scalar_lists, with_lists

        make = faiss.IndexIVFFlat if self.store == "float" else scalar_lists(self.store)
        engine = with_lists(make, documents, lists=self.lists, metric=data.metric, seed=self.seed)
        return EngineIndex(engine, metric=data.metric, default_effort=visited(self.lists, self.probes))


@dataclass(frozen=True, kw_only=True)
class IMI:
    """Inverted multi-index: lists are pairs of codewords, one for each half of the vector, visited by distance.

    Trains: two codebooks (k-means).   Frozen: the encoder.
    Claim:  finer lists than IVF for the same training: 4^bits of them; all of them give exact search.
    Source: Babenko & Lempitsky, CVPR 2012; faiss MultiIndexQuantizer, which orders lists by distance, also for "ip".
    """

    bits: int = 5  # of each half: 2^bits codewords a half, 4^bits lists
    store: Literal["float", "fp16", "sq8"] = "float"  # 4, 2 or 1 bytes a dimension
    probes: int | None = None  # lists that a search visits; None = a tenth, at least 8
    seed: int = 0

    def run(self, data: VectorData, start: System | None = None) -> System:
        """A system whose index is built from the documents by `build()`."""
        return engine_system(data, partial(self._index, data))

    def check_fits(self, documents: int, dim: int) -> None:
        """Raises ConfigError where these constants cannot work with so many vectors of this width."""
        if dim % 2 or not 1 <= self.bits <= 12 or 2**self.bits > documents:
            raise ConfigError(
                f"the multi-index halves vectors and makes 2^bits codewords of each half: `bits`={self.bits}, "
                f"{documents} documents of {dim} dimensions; expected an even width, bits in 1..12, and 2^bits "
                "documents or more."
            )

    def _index(self, data: VectorData, documents: Floats) -> EngineIndex:
        import faiss

        from limbeck.index.engine import EngineIndex
        from limbeck.quantisers.faiss_build import empty_store, faiss_metric, filled, sample, scalar_kind

        self.check_fits(*documents.shape)
        dim, lists = documents.shape[1], 4**self.bits
        coarse = faiss.MultiIndexQuantizer(dim, 2, self.bits)
        coarse.pq.cp.seed = self.seed
        coarse.pq.cp.min_points_per_centroid = 1  # faiss would warn on stderr
        kind = faiss_metric(data.metric)
        if self.store == "float":
            engine = faiss.IndexIVFFlat(coarse, dim, lists, kind)
        else:  # not by residual: faiss would add distances to centroids where inner products belong
            engine = faiss.IndexIVFScalarQuantizer(coarse, dim, lists, scalar_kind(self.store), kind)
            engine.by_residual = False
        engine.quantizer_trains_alone = 1
        engine.train(sample(documents, seed=self.seed))
        if self.store == "sq8":
            ranges = empty_store(documents, store="sq8", metric=data.metric)  # no document is clipped
            engine.sq = ranges.sq
        engine = filled(engine, documents)
        return EngineIndex(engine, metric=data.metric, default_effort=visited(lists, self.probes))


@dataclass(frozen=True, kw_only=True)
class IVFOPQ:
    """Rotated product codes in inverted lists, optionally with a second look at better vectors.

    Trains: rotation, centroids, codebooks (OPQ).   Frozen: the encoder.
    Claim:  far above IVF-PQ on transformers' vectors; the second look buys back what the codes lost.
    Source: Ge et al., CVPR 2013, with Jégou et al., TPAMI 2011; faiss IndexRefine.
    """

    code_bytes: int = 32  # must divide the width
    lists: int | None = 256  # coarse lists; None = one scan over all codes
    refine: Literal["none", "sq8", "fp16", "float"] = "none"  # vectors of the second look
    factor: float = 4.0  # candidates of the second look for each hit
    probes: int | None = None  # lists that a search visits; None = a tenth, at least 8
    seed: int = 0

    def run(self, data: VectorData, start: System | None = None) -> System:
        """A system whose index is built from the documents by `build()`."""
        return engine_system(data, partial(self._index, data))

    def check_fits(self, documents: int, dim: int) -> None:
        """Raises ConfigError where these constants cannot work with so many vectors of this width."""
        from limbeck.quantisers.faiss_build import refuse_lists
        from limbeck.quantisers.product import ProductQuantiser

        ProductQuantiser(code_bytes=self.code_bytes, lists=self.lists).check_fits(documents, dim)
        if self.lists is not None:
            refuse_lists(self.lists, documents)

    def _index(self, data: VectorData, documents: Floats) -> EngineIndex:
        from limbeck.quantisers.faiss_io import to_faiss
        from limbeck.quantisers.product import ProductQuantiser

        self.check_fits(*documents.shape)
        quantiser = ProductQuantiser(
            code_bytes=self.code_bytes, rotate=True, lists=self.lists, metric=data.metric
        ).fit(documents, seed=self.seed)
        engine = to_faiss(quantiser, quantiser.encode(documents))
        return second_look(
            engine,
            documents,
            data,
            refine=self.refine,
            factor=self.factor,
            effort=visited(self.lists, self.probes),
        )


@dataclass(frozen=True, kw_only=True)
class HNSW:
    """A layered proximity graph over the vectors, searched greedily with a list of candidates in sight.

    Trains: nothing; the graph is built.   Frozen: the encoder.
    Claim:  the best recall for its time without compression; recall rises with the candidates in sight.
    Source: Malkov & Yashunin, TPAMI 2020; faiss IndexHNSW. Inner products of uneven lengths by a lift of the norm.
    """

    links: int = 32  # of a document in each layer, twice in the lowest: 8 bytes a document for each
    ef_construction: int = 100  # candidates in sight while the graph is built
    ef_search: int = 64  # candidates in sight of a search by default
    store: Literal["float", "fp16", "sq8"] = "float"  # 4, 2 or 1 bytes a dimension
    seed: int = 0

    def run(self, data: VectorData, start: System | None = None) -> System:
        """A system whose index is built from the documents by `build()`."""
        return engine_system(data, partial(self._index, data))

    def check_fits(self, documents: int, dim: int) -> None:
        """Raises ConfigError where these constants cannot work with so many vectors of this width."""
        refuse_links(self.links)

    def _index(self, data: VectorData, documents: Floats) -> EngineIndex:
        import faiss

        from limbeck.index.engine import EngineIndex
        from limbeck.quantisers.faiss_build import (
            empty_store,
            faiss_metric,
            filled,
            graph,
            on_graph,
            scalar_kind,
        )

        self.check_fits(*documents.shape)
        built = graph(
            documents,
            links=self.links,
            ef_construction=self.ef_construction,
            metric=data.metric,
            seed=self.seed,
        )
        dim, kind = documents.shape[1], faiss_metric(data.metric)
        if self.store == "float":
            engine = faiss.IndexHNSWFlat(dim, self.links, kind)
            filled(faiss.downcast_index(engine.storage), documents)
        else:
            engine = faiss.IndexHNSWSQ(dim, scalar_kind(self.store), self.links, kind)
            storage = faiss.downcast_index(engine.storage)
            ranges = empty_store(documents, store=self.store, metric=data.metric)
            storage.sq = ranges.sq
            storage.is_trained = True
            filled(storage, documents)
        effort = min(1.0, self.ef_search / len(documents))
        return EngineIndex(on_graph(engine, built), metric=data.metric, default_effort=effort)


@dataclass(frozen=True, kw_only=True)
class HNSWOPQ:
    """The graph of HNSW, built over the vectors, searched over rotated product codes that take their place.

    Trains: rotation and codebooks (OPQ).   Frozen: the encoder.
    Claim:  a fraction of HNSW's memory; quality capped by the codes (.309 against .334 MRR@10 on MARCO).
    Source: Malkov & Yashunin, TPAMI 2020, with Ge et al., CVPR 2013; faiss IndexHNSWPQ.
    """

    code_bytes: int = 32  # must divide the width
    links: int = 32  # of a document in each layer, twice in the lowest: 8 bytes a document for each
    ef_construction: int = 100  # candidates in sight while the graph is built
    ef_search: int = 64  # candidates in sight of a search by default
    refine: Literal["none", "sq8", "fp16", "float"] = "none"  # vectors of the second look
    factor: float = 4.0  # candidates of the second look for each hit
    seed: int = 0

    def run(self, data: VectorData, start: System | None = None) -> System:
        """A system whose index is built from the documents by `build()`."""
        return engine_system(data, partial(self._index, data))

    def check_fits(self, documents: int, dim: int) -> None:
        """Raises ConfigError where these constants cannot work with so many vectors of this width."""
        from limbeck.quantisers.product import ProductQuantiser

        refuse_links(self.links)
        ProductQuantiser(code_bytes=self.code_bytes).check_fits(documents, dim)

    def _index(self, data: VectorData, documents: Floats) -> EngineIndex:
        import faiss

        from limbeck.quantisers.faiss_build import faiss_metric, graph, on_graph, rotation_of, through
        from limbeck.quantisers.faiss_io import code_scanner
        from limbeck.quantisers.product import ProductQuantiser

        self.check_fits(*documents.shape)
        quantiser = ProductQuantiser(code_bytes=self.code_bytes, rotate=True, metric=data.metric).fit(
            documents, seed=self.seed
        )
        codes = code_scanner(quantiser, quantiser.encode(documents))
        engine = faiss.IndexHNSWPQ(
            documents.shape[1], self.code_bytes, self.links, 8, faiss_metric(data.metric)
        )
        storage = faiss.downcast_index(engine.storage)
        storage.pq, storage.codes = codes.pq, codes.codes
        storage.ntotal, storage.is_trained = codes.ntotal, True
        built = graph(
            documents,
            links=self.links,
            ef_construction=self.ef_construction,
            metric=data.metric,
            seed=self.seed,
        )
        assert quantiser.rotation is not None
        engine = through([rotation_of(quantiser.rotation)], on_graph(engine, built))
        effort = min(1.0, self.ef_search / len(documents))
        return second_look(engine, documents, data, refine=self.refine, factor=self.factor, effort=effort)


def engine_system(data: VectorData, index: Callable[[Floats], Index]) -> System:
    """The system of an engine: queries and documents as they are, and `index(documents)` when it is built."""

    def build(system: System) -> Index:
        assert isinstance(system.documents, Bank)
        return index(system.documents.stored())

    return System(
        query=GivenQueries(data.documents.shape[1], rotation=None, learn_map=False),
        documents=Bank(data.documents),
        score=scores.for_metric(data.metric),
        index=build,
    )


def second_look(
    engine: Any,
    documents: Floats,
    data: VectorData,
    *,
    refine: Literal["none", "sq8", "fp16", "float"],
    factor: float,
    effort: float = 1.0,
) -> EngineIndex:
    """The index of an engine, with a second look at the documents' vectors unless `refine` is "none"."""
    from limbeck.index.engine import EngineIndex
    from limbeck.quantisers.faiss_build import refined

    if refine != "none":
        engine = refined(engine, documents, store=refine, factor=factor, metric=data.metric)
    return EngineIndex(engine, metric=data.metric, default_effort=effort)


def visited(lists: int | None, probes: int | None) -> float:
    """The share of the lists that a search visits by default: a tenth, at least 8, unless said; 1 without lists."""
    if lists is None:
        return 1.0
    if probes is not None and not 1 <= probes <= lists:
        raise ConfigError(f"`probes` must be in 1..{lists}, the number of lists, or None; got {probes!r}.")
    return (probes or min(lists, max(8, lists // 10))) / lists


def refuse_links(links: int) -> None:
    """Raises ConfigError for graphs that cannot hang together."""
    if not 2 <= links <= 512:
        raise ConfigError(f"`links` must be in 2..512, got {links!r}; 16 to 48 are usual.")


def refuse_size(code_bytes: int, *, most: int | None, dim: int, why: str) -> None:
    """Raises ConfigError for a size that does not exist, with those that do."""
    if code_bytes < 1:
        raise ConfigError(f"`code_bytes` must be at least 1, got {code_bytes!r}.")
    if most is not None and code_bytes > most:
        raise ConfigError(
            f"`code_bytes`={code_bytes} does not exist at {dim} dimensions: {why}. Use 1..{most}."
        )
