"""Engines of other packages, as extras: Annoy's forest, hnswlib's graph, ScaNN. Nothing is trained on queries."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from limbeck.data.vector_data import VectorData
from limbeck.errors import ConfigError
from limbeck.recipes.engines import engine_system, refuse_links
from limbeck.train.system import System
from limbeck.types import Floats

if TYPE_CHECKING:
    from limbeck.index.packages import PackageIndex


@dataclass(frozen=True, kw_only=True)
class RandomHyperplaneForest:
    """Trees that halve the documents by random hyperplanes, all searched together: Annoy (extra `annoy`).

    Trains: nothing; the trees are built.   Frozen: the encoder.
    Claim:  recall rises with trees and with nodes inspected; below a graph at equal time.
    Source: Bernhardsson, annoy 1.17; Dasgupta & Freund, STOC 2008.
    """

    trees: int = 50  # about 12 bytes a document for each
    inspected: float = 0.01  # share of the trees' entries that a search inspects by default
    seed: int = 0

    def run(self, data: VectorData, start: System | None = None) -> System:
        """A system whose index is built from the documents by `build()`."""
        return engine_system(data, partial(self._index, data))

    def check_fits(self, documents: int, dim: int) -> None:
        """Raises ConfigError where these constants cannot work, MissingExtra without the package."""
        from limbeck.index.package_engines import package

        package("annoy", what="a forest of random hyperplanes")
        if self.trees < 1:
            raise ConfigError(f"`trees` must be at least 1, got {self.trees!r}.")

    def _index(self, data: VectorData, documents: Floats) -> PackageIndex:
        from limbeck.index.package_engines import Annoy
        from limbeck.index.packages import PackageIndex

        self.check_fits(*documents.shape)
        forest = Annoy.build(documents, metric=data.metric, trees=self.trees, seed=self.seed)
        return PackageIndex(forest, metric=data.metric, default_effort=self.inspected)


@dataclass(frozen=True, kw_only=True)
class HNSWLib:
    """HNSW by its authors' own package (extra `hnswlib`).

    Trains: nothing; the graph is built.   Frozen: the encoder.
    Claim:  as HNSW: the best recall for its time without compression.
    Source: Malkov & Yashunin, TPAMI 2020; hnswlib 0.8. Inner products as the package takes them, without a lift.
    """

    links: int = 32  # of a document in each layer, twice in the lowest: 8 bytes a document for each
    ef_construction: int = 100  # candidates in sight while the graph is built
    ef_search: int = 64  # candidates in sight of a search by default
    seed: int = 0

    def run(self, data: VectorData, start: System | None = None) -> System:
        """A system whose index is built from the documents by `build()`."""
        return engine_system(data, partial(self._index, data))

    def check_fits(self, documents: int, dim: int) -> None:
        """Raises ConfigError where these constants cannot work, MissingExtra without the package."""
        from limbeck.index.package_engines import package

        package("hnswlib", what="HNSW through hnswlib")
        refuse_links(self.links)

    def _index(self, data: VectorData, documents: Floats) -> PackageIndex:
        from limbeck.index.package_engines import HNSWLib as Engine
        from limbeck.index.packages import PackageIndex

        self.check_fits(*documents.shape)
        graph = Engine.build(
            documents,
            metric=data.metric,
            links=self.links,
            ef_construction=self.ef_construction,
            seed=self.seed,
        )
        return PackageIndex(
            graph, metric=data.metric, default_effort=min(1.0, self.ef_search / len(documents))
        )


@dataclass(frozen=True, kw_only=True)
class ScaNN:
    """Leaves of a k-means tree, codes that keep the parallel error small, and a second look (extra `scann`).

    Trains: leaves and codebooks.   Frozen: the encoder.
    Claim:  anisotropic loss finds more of the best inner products than plain product codes of the same size.
    Source: Guo et al., ICML 2020; scann 1.4. Seeds are the package's own.
    """

    leaves: int | None = None  # None = the square root of the documents
    searched: float = 0.1  # share of the leaves that a search visits by default
    block: int = 2  # dimensions of each 4-bit code
    threshold: float = 0.2  # of the anisotropic loss, for "ip"
    reordered: int = 100  # documents that get the second look
    sample: int = 100_000  # documents that leaves are trained on

    def run(self, data: VectorData, start: System | None = None) -> System:
        """A system whose index is built from the documents by `build()`."""
        return engine_system(data, partial(self._index, data))

    def check_fits(self, documents: int, dim: int) -> None:
        """Raises ConfigError where these constants cannot work, MissingExtra without the package."""
        from limbeck.index.package_engines import package
        from limbeck.quantisers.faiss_build import refuse_lists

        package("scann", what="ScaNN")
        if self.leaves is not None:
            refuse_lists(self.leaves, documents)

    def _index(self, data: VectorData, documents: Floats) -> PackageIndex:
        from limbeck.index.package_engines import ScaNN as Engine
        from limbeck.index.packages import PackageIndex

        self.check_fits(*documents.shape)
        searcher = Engine.build(
            documents,
            metric=data.metric,
            leaves=self.leaves or max(1, round(len(documents) ** 0.5)),
            block=self.block,
            threshold=self.threshold,
            reordered=self.reordered,
            sample=min(self.sample, len(documents)),
        )
        return PackageIndex(searcher, metric=data.metric, default_effort=self.searched)
