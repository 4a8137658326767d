"""Annoy, hnswlib and ScaNN, each as a small adapter: build, rank, write, read. Imported when they are used.

Letters: B queries, N documents, d dimension.
"""

from __future__ import annotations

import importlib
import json
import math
import threading
from pathlib import Path
from typing import Any, Self

import numpy as np

from limbeck.errors import CorruptArtefact, MissingExtra
from limbeck.index.engine_search import share_of
from limbeck.quantisers.faiss_build import blocks
from limbeck.types import Floats, Metric, Rows


def package(name: str, *, what: str) -> Any:
    """The module; MissingExtra says which extra of this project installs it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingExtra(
            f"{what} needs the package {name}, which is not installed.\n\n"
            f"Install it with: pip install 'limbeck[{name}]'"
        ) from error


class Annoy:
    """A forest of random-hyperplane trees. Effort is the share of all leaves' entries that a search inspects."""

    FILE = "forest.annoy"

    def __init__(self, forest: Any, *, dim: int, metric: Metric) -> None:
        self._forest = forest
        self.dim = dim
        self.metric = metric

    @classmethod
    def build(cls, documents: Floats, *, metric: Metric, trees: int, seed: int) -> Self:
        """A forest over documents [N, d]."""
        made = cls._empty(documents.shape[1], metric)
        made._forest.set_seed(seed)
        row = 0
        for block in blocks(documents):
            for vector in block:
                made._forest.add_item(row, vector)
                row += 1
        made._forest.build(trees, n_jobs=1)
        return made

    @classmethod
    def _empty(cls, dim: int, metric: Metric) -> Self:
        module = package("annoy", what="a forest of random hyperplanes")
        forest = module.AnnoyIndex(dim, "dot" if metric == "ip" else "euclidean")
        return cls(forest, dim=dim, metric=metric)

    @property
    def code_bytes(self) -> int:
        return 4 * self.dim

    def __len__(self) -> int:
        return int(self._forest.get_n_items())

    def rank(self, queries: Floats, depth: int, *, effort: float, threads: int) -> tuple[Floats, Rows]:
        scores = np.full((len(queries), depth), -np.inf, dtype=np.float32)
        rows = np.full((len(queries), depth), -1, dtype=np.int64)
        inspected = max(depth, share_of(effort, len(self) * self._forest.get_n_trees()))
        for number, query in enumerate(queries):
            found, distances = self._forest.get_nns_by_vector(
                query, depth, search_k=inspected, include_distances=True
            )
            values = np.asarray(distances, dtype=np.float64)
            rows[number, : len(found)] = found
            scores[number, : len(found)] = values if self.metric == "ip" else -(values**2)
        return scores, rows

    def write(self, folder: Path) -> None:
        self._forest.save(str(folder / self.FILE))

    @classmethod
    def read(cls, folder: Path, *, dim: int, metric: Metric) -> Self:
        """The forest, mapped from disk."""
        made = cls._empty(dim, metric)
        made._forest.load(str(folder / cls.FILE))
        return made


class HNSWLib:
    """A proximity graph by hnswlib. Effort is the share of the documents kept in sight (ef, at least k)."""

    FILE = "graph.hnswlib"

    def __init__(self, graph: Any, *, dim: int, metric: Metric) -> None:
        self._graph = graph
        self._lock = threading.Lock()  # ef is a setting of the graph, not of the search
        self.dim = dim
        self.metric = metric

    @classmethod
    def build(cls, documents: Floats, *, metric: Metric, links: int, ef_construction: int, seed: int) -> Self:
        """A graph over documents [N, d]."""
        made = cls._empty(documents.shape[1], metric)
        made._graph.init_index(
            max_elements=len(documents), M=links, ef_construction=ef_construction, random_seed=seed
        )
        for block in blocks(documents):
            made._graph.add_items(block, num_threads=1)
        return made

    @classmethod
    def _empty(cls, dim: int, metric: Metric) -> Self:
        module = package("hnswlib", what="HNSW through hnswlib")
        return cls(module.Index(space=metric, dim=dim), dim=dim, metric=metric)

    @property
    def code_bytes(self) -> int:
        return 4 * self.dim

    def __len__(self) -> int:
        return int(self._graph.element_count)

    def rank(self, queries: Floats, depth: int, *, effort: float, threads: int) -> tuple[Floats, Rows]:
        scores = np.full((len(queries), depth), -np.inf, dtype=np.float32)
        rows = np.full((len(queries), depth), -1, dtype=np.int64)
        if len(queries) == 0:
            return scores, rows
        with self._lock:
            self._graph.set_ef(max(depth, share_of(effort, len(self))))
            found, distances = self._as_many_as_reached(queries, depth, threads)
        values = 1.0 - distances if self.metric == "ip" else -distances
        order = np.argsort(-values, axis=1, kind="stable")
        rows[:, : found.shape[1]] = np.take_along_axis(found.astype(np.int64), order, axis=1)
        scores[:, : found.shape[1]] = np.take_along_axis(values, order, axis=1)
        return scores, rows

    def _as_many_as_reached(self, queries: Floats, depth: int, threads: int) -> tuple[Rows, Floats]:
        """The package raises where its graph reaches fewer than `depth` rows: then ask for fewer."""
        while True:
            try:
                found: tuple[Rows, Floats] = self._graph.knn_query(queries, depth, num_threads=threads)
                return found
            except RuntimeError:
                if depth == 1:
                    raise
                depth = math.ceil(depth * 0.9) - 1

    def write(self, folder: Path) -> None:
        self._graph.save_index(str(folder / self.FILE))

    @classmethod
    def read(cls, folder: Path, *, dim: int, metric: Metric) -> Self:
        """The graph, in memory."""
        made = cls._empty(dim, metric)
        made._graph.load_index(str(folder / cls.FILE))
        return made


class ScaNN:
    """Leaves of a k-means tree, anisotropic 4-bit codes, and vectors for a second look. Effort: leaves searched.

    At effort 1 every document gets the second look.
    """

    FILE = "limbeck.json"

    def __init__(
        self, searcher: Any, *, dim: int, metric: Metric, leaves: int, block: int, reordered: int
    ) -> None:
        self._searcher = searcher
        self.dim = dim
        self.metric = metric
        self.leaves = leaves
        self.block = block
        self.reordered = reordered

    @classmethod
    def build(
        cls,
        documents: Floats,
        *,
        metric: Metric,
        leaves: int,
        block: int,
        threshold: float,
        reordered: int,
        sample: int,
    ) -> Self:
        """A searcher over documents [N, d], all of them in memory."""
        module = package("scann", what="ScaNN")
        whole = np.concatenate(list(blocks(documents)))
        builder = module.scann_ops_pybind.builder(
            whole, 10, "dot_product" if metric == "ip" else "squared_l2"
        )
        builder = builder.tree(num_leaves=leaves, num_leaves_to_search=leaves, training_sample_size=sample)
        if metric == "ip":
            builder = builder.score_ah(block, anisotropic_quantization_threshold=threshold)
        else:
            builder = builder.score_ah(block)
        searcher = builder.reorder(reordered).build()
        return cls(
            searcher, dim=whole.shape[1], metric=metric, leaves=leaves, block=block, reordered=reordered
        )

    @property
    def code_bytes(self) -> int:
        return 4 * self.dim + -(-self.dim // self.block // 2)

    def __len__(self) -> int:
        return int(self._searcher.size())

    def rank(self, queries: Floats, depth: int, *, effort: float, threads: int) -> tuple[Floats, Rows]:
        if len(queries) == 0:
            return np.empty((0, depth), np.float32), np.empty((0, depth), np.int64)
        second = len(self) if effort == 1 else max(depth, self.reordered)
        found, distances = self._searcher.search_batched(
            queries,
            final_num_neighbors=depth,
            pre_reorder_num_neighbors=second,
            leaves_to_search=share_of(effort, self.leaves),
        )
        there = ~np.isnan(distances)
        values = distances if self.metric == "ip" else -distances
        return np.where(there, values, -np.inf), np.where(there, found.astype(np.int64), -1)

    def write(self, folder: Path) -> None:
        self._searcher.serialize(str(folder), relative_path=True)
        settings = {"leaves": self.leaves, "block": self.block, "reordered": self.reordered}
        (folder / self.FILE).write_text(json.dumps(settings))

    @classmethod
    def read(cls, folder: Path, *, dim: int, metric: Metric) -> Self:
        """The searcher, in memory. Pickled document ids, which the package would load, are refused."""
        module = package("scann", what="ScaNN")
        if any(path.suffix == ".pkl" for path in folder.iterdir()):
            raise CorruptArtefact(f"{folder} holds a pickle; this project writes none.")
        settings = json.loads((folder / cls.FILE).read_bytes())
        searcher = module.scann_ops_pybind.load_searcher(str(folder))
        return cls(searcher, dim=dim, metric=metric, **settings)


ENGINES: dict[str, type[Annoy] | type[HNSWLib] | type[ScaNN]] = {
    "annoy": Annoy,
    "hnswlib": HNSWLib,
    "scann": ScaNN,
}
