"""Any faiss index over a corpus behind the `Index` contract, with or without a second look at better vectors."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from limbeck.errors import ConfigError, CorruptArtefact, LimbeckError
from limbeck.index.arguments import checked_effort
from limbeck.index.asking import Asked, asked, in_blocks
from limbeck.index.engine_checks import refuse_unsound
from limbeck.index.engine_search import (
    Parameters,
    exhaustive,
    innermost,
    leaves_rows_out,
    ranked,
    selector,
    typed,
)
from limbeck.index.leaving_out import only_allowed
from limbeck.index.ties import best_hits
from limbeck.quantisers.faiss_io import read_faiss
from limbeck.storage import durable
from limbeck.types import Floats, Hits, Metric, Reps, Rows

QUERY_BLOCK = 4096
FILE = "index.faiss"
SETTINGS = "engine.json"


class EngineIndex:
    """A faiss index whose row i is document i: flat, hashed, scalar, additive, inverted lists or graph.

    Effort is the share of the lists that a search visits (nprobe), or the share of the documents that a
    graph search keeps in sight (efSearch, at least k). 1 visits all lists, and scans all that a graph is
    over. Where there is a second look (`IndexRefine`), factor·k candidates are scored again at every effort,
    and all documents where that is as many. Scores are the engine's: the inner product or the negative
    squared distance as far as codes tell it, the negative number of differing bits for hashes.
    `allowed` is passed to faiss; hashes and additive codes are ranked deeper instead, and rows left out.
    """

    def __init__(
        self, index: Any, *, metric: Metric, default_effort: float = 1.0, threads: int | None = None
    ) -> None:
        if metric not in ("ip", "l2"):
            raise ConfigError(
                f"`metric` must be 'ip' or 'l2', got {metric!r}; for cosine, normalise and use 'ip'."
            )
        self.metric: Metric = metric
        self.default_effort = checked_effort(default_effort) or 1.0
        self.threads = threads
        self.engine = index
        self._scan = exhaustive(index)
        self._restricts = leaves_rows_out(index), leaves_rows_out(self._scan)
        self._asked = Parameters()
        self._rises = _rises_with_similarity(index)
        self._nbytes: int | None = None

    @property
    def dim(self) -> int:
        """d, the dimension of queries."""
        return int(self.engine.d)

    @property
    def nbytes(self) -> int:
        """The size of `index.faiss`: codes, ids, links, codebooks, centroids, transforms."""
        if self._nbytes is None:
            self._nbytes = _written(self.engine, lambda part: None)
        return self._nbytes

    @property
    def code_bytes(self) -> int:
        """Bytes of a document's code and of the vector for the second look; ids, lists and links not counted."""
        import faiss

        inner, outer = innermost(self._scan), typed(self.engine)
        second = typed(outer.refine_index).code_size if isinstance(outer, faiss.IndexRefine) else 0
        return int(inner.code_size) + int(second)

    def __len__(self) -> int:
        return int(self.engine.ntotal)

    def search(
        self, query: Reps, k: int, *, effort: float | None = None, allowed: NDArray[np.bool_] | None = None
    ) -> Hits:
        """The k best rows of each query that the engine finds; with `allowed`, of those rows alone."""
        request = asked(self, query, k, effort=effort, allowed=allowed, default_effort=self.default_effort)
        return in_blocks(
            request.queries,
            lambda queries: self._search_block(queries, request),
            most=QUERY_BLOCK,
            threads=self.threads,
        )

    def _search_block(self, queries: Floats, request: Asked) -> Hits:
        effort, mask, k = request.effort, request.mask, request.k
        index, restricts = (
            (self.engine, self._restricts[0]) if effort < 1 else (self._scan, self._restricts[1])
        )
        chosen = selector(mask)

        def rank(block: Floats, depth: int, chosen: Any = None) -> tuple[Floats, Rows]:
            try:
                scores, rows = ranked(
                    index, block, depth, hits=k, effort=effort, chosen=chosen, kept=self._asked
                )
            except RuntimeError as error:
                raise CorruptArtefact(f"faiss cannot search this index: {error}") from error
            return self._checked(self._higher_is_better(scores, rows), rows), rows

        def fetch(numbers: Rows, depth: int) -> tuple[Floats, Rows]:
            if mask is None or restricts:
                return rank(queries[numbers], depth, chosen)
            return only_allowed(rank, queries[numbers], depth, allowed=mask)

        return best_hits(fetch, queries=len(queries), k=k, size=request.size)

    def _checked(self, scores: Floats, rows: Rows) -> Floats:
        """Scores as they are. raises CorruptArtefact for what no whole index finds: other rows, or NaN"""
        if rows.size and (
            rows.max() >= len(self) or np.isnan(scores).any() or scores.max() == np.float32(np.inf)
        ):
            raise CorruptArtefact(
                "the engine found rows that are not there, or scores that are no numbers: its file is damaged."
            )
        return scores

    def _higher_is_better(self, scores: Floats, rows: Rows) -> Floats:
        if not self._rises:
            scores = -scores
        if rows.size and rows[-1, -1] >= 0 and rows.min() >= 0:
            return scores
        return np.where(rows >= 0, scores, np.float32(-np.inf))

    def save(self, folder: Path) -> None:
        """`index.faiss`, which opens in plain faiss, and `engine.json` with its sha256 and the settings."""
        durable.make_folders(folder)
        digest = hashlib.sha256()
        with durable.replacement(folder / FILE, needed=self.nbytes) as out:

            def write(part: bytes) -> None:
                digest.update(part)
                out.write(part)

            _written(self.engine, write)
        settings = {
            "metric": self.metric,
            "default_effort": self.default_effort,
            "index_sha256": digest.hexdigest(),
        }
        durable.write_file(folder / SETTINGS, (json.dumps(settings, sort_keys=True) + "\n").encode())

    @classmethod
    def open(cls, folder: Path, *, threads: int | None = None) -> Self:
        """The index saved in the folder; refused unless the faiss file has the hash that was saved."""
        try:
            settings = json.loads((folder / SETTINGS).read_bytes())
            data = (folder / FILE).read_bytes()
            metric, effort, expected = (
                settings[name] for name in ("metric", "default_effort", "index_sha256")
            )
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise CorruptArtefact(
                f"{folder / SETTINGS}: holds no engine that can be read: {error}"
            ) from error
        if hashlib.sha256(data).hexdigest() != expected:
            raise CorruptArtefact(f"{folder / FILE}: checksum mismatch; it is damaged or from another save.")
        try:
            index = read_faiss(data)
            refuse_unsound(index)
            return cls(index, metric=metric, default_effort=effort, threads=threads)
        except (LimbeckError, RuntimeError) as error:
            raise CorruptArtefact(f"{folder}: {error}") from error


def _rises_with_similarity(index: Any) -> bool:
    import faiss

    return bool(index.metric_type == faiss.METRIC_INNER_PRODUCT)


def _written(index: Any, write: Callable[[bytes], Any]) -> int:
    """How many bytes faiss writes, after each part of them was passed on: never all at once in memory."""
    import faiss

    sizes = []

    def take(part: bytes) -> None:
        sizes.append(len(part))
        write(part)

    faiss.write_index(index, faiss.PyCallbackIOWriter(take))
    return sum(sizes)
