"""Exact search by scanning every vector: the oracle for all other indexes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from limbeck.errors import ConfigError, CorruptArtefact, LimbeckError, ShapeError
from limbeck.index.arguments import query_vectors
from limbeck.index.asking import asked, in_blocks
from limbeck.index.files import mapped_array
from limbeck.index.ties import best_hits, in_order
from limbeck.quantisers.engine import finite_floats
from limbeck.quantisers.faiss_scan import faiss_threads, nearest_rows
from limbeck.storage import durable
from limbeck.types import Floats, Hits, Metric, Reps, Rows

BLOCK_BYTES = 256 * 2**20  # vectors scanned at once; a memory map larger than this is read block by block
QUERY_BLOCK = 16_384
ROUNDING = (
    4e-6  # of |q||x|: float32 sums over up to 4,096 dimensions differ by less between orders of summation
)


class Flat:
    """Exact search by scanning every row, the oracle for others. 4·N·d bytes; N·d multiply-adds a query.

    Scores that differ by rounding only are computed again in one fixed order, so that equal vectors tie
    exactly and the ranking depends neither on the batch nor on the number of threads.
    """

    def __init__(self, vectors: Floats, *, metric: Metric = "ip", threads: int | None = None) -> None:
        if metric not in ("ip", "l2"):
            raise ConfigError(
                f"`metric` must be 'ip' or 'l2', got {metric!r}; for cosine, normalise and use 'ip'."
            )
        if vectors.ndim != 2:
            raise ShapeError(f"`vectors` has shape {vectors.shape}; must be [N, d].")
        self.metric: Metric = metric
        self.threads = threads
        self._vectors = vectors if isinstance(vectors, np.memmap) else finite_floats(vectors, name="vectors")
        self._block_rows = max(1, BLOCK_BYTES // max(1, 4 * vectors.shape[1]))
        self._largest_norm = self._check()

    @property
    def dim(self) -> int:
        """The dimension d."""
        return int(self._vectors.shape[1])

    @property
    def nbytes(self) -> int:
        """4·N·d, also where the vectors are mapped from disk."""
        return int(self._vectors.nbytes)

    @property
    def code_bytes(self) -> int:
        """4·d, or 2·d where half precision is mapped."""
        return self.dim * self._vectors.dtype.itemsize

    def __len__(self) -> int:
        return len(self._vectors)

    def search(
        self, query: Reps, k: int, *, effort: float | None = None, allowed: NDArray[np.bool_] | None = None
    ) -> Hits:
        """The k best rows of each query; every effort is exhaustive here. -1 where there are no more."""
        request = asked(self, query, k, effort=effort, allowed=allowed)

        def search(queries: Floats) -> Hits:
            return self._search_block(queries, request.k, size=request.size, mask=request.mask)

        return in_blocks(request.queries, search, most=QUERY_BLOCK, threads=self.threads)

    def nearest(self, queries: Floats, k: int) -> Hits:
        """As `search`, but rows that differ by rounding only come as the engine left them: a third faster.

        For training, which wants candidates and does not mind ties. queries [B, d]
        """
        checked = query_vectors(Reps.single(queries), dim=self.dim)
        with faiss_threads(self.threads):
            scores, rows = self._scan(checked, min(k, len(self)), None)
        return Hits(rows, scores)

    @property
    def vectors(self) -> Floats:
        """[N, d] as they were given, not to be written to."""
        return self._vectors

    def scores(self, query: Floats, rows: Rows) -> Floats:
        """[n] of one query [d] with documents of these rows."""
        vectors = np.asarray(self._vectors[rows], dtype=np.float32)
        scores: Floats = vectors @ query
        if self.metric == "l2":
            scores = -np.square(vectors - query).sum(axis=1, dtype=np.float32)
        return scores

    def save(self, folder: Path) -> None:
        """`vectors.npy` and `flat.json` in the folder; memory maps are copied block by block."""
        durable.make_folders(folder)
        header = {"descr": np.lib.format.dtype_to_descr(self._vectors.dtype), "fortran_order": False}
        with durable.replacement(folder / "vectors.npy", needed=self.nbytes) as out:
            np.lib.format.write_array_header_2_0(out, {**header, "shape": self._vectors.shape})
            for start in range(0, len(self), self._block_rows):
                out.write(np.ascontiguousarray(self._vectors[start : start + self._block_rows]))
        durable.write_file(folder / "flat.json", json.dumps({"metric": self.metric}).encode())

    @classmethod
    def open(cls, folder: Path, *, threads: int | None = None) -> Self:
        """The index saved in the folder, its vectors mapped from disk."""
        try:
            metric = json.loads((folder / "flat.json").read_bytes())["metric"]
            return cls(mapped_array(folder / "vectors.npy"), metric=metric, threads=threads)
        except (OSError, ValueError, KeyError, TypeError, RecursionError, LimbeckError) as error:
            raise CorruptArtefact(f"{folder} holds no exact index that can be read: {error}") from error

    def _search_block(self, queries: Floats, k: int, *, size: int, mask: NDArray[np.bool_] | None) -> Hits:
        tolerance = self._tolerance(queries)

        def fetch(numbers: Rows, depth: int) -> tuple[Floats, Rows]:
            scores, rows = self._scan(queries[numbers], depth, mask)
            return self._settle(queries[numbers], scores, rows, tolerance=tolerance[numbers]), rows

        return best_hits(fetch, queries=len(queries), k=k, size=size, tolerance=tolerance)

    def _scan(self, queries: Floats, depth: int, mask: NDArray[np.bool_] | None) -> tuple[Floats, Rows]:
        """The `depth` best rows by the engine's scores, merged block by block."""
        best: tuple[Floats, Rows] | None = None
        for start in range(0, len(self), self._block_rows):
            block, members = self._block(start, mask)
            if len(block) == 0:
                continue
            scores, places = nearest_rows(queries, block, min(depth, len(block)), metric=self.metric)
            found = scores, members[places]
            best = found if best is None else _merge(best, found, depth)
        assert best is not None  # the caller asks only when at least one row may be found
        return best

    def _block(self, start: int, mask: NDArray[np.bool_] | None) -> tuple[Floats, Rows]:
        stop = min(len(self), start + self._block_rows)
        if mask is None:
            return np.ascontiguousarray(self._vectors[start:stop], dtype=np.float32), np.arange(start, stop)
        members = start + np.flatnonzero(mask[start:stop])
        return np.ascontiguousarray(self._vectors[members], dtype=np.float32), members

    def _settle(self, queries: Floats, scores: Floats, rows: Rows, *, tolerance: Floats) -> Floats:
        """Scores; those that differ from a neighbour by rounding only are summed in one fixed order."""
        close = scores[:, :-1] <= scores[:, 1:] + tolerance[:, None]
        doubtful = np.zeros(scores.shape, dtype=np.bool_)
        doubtful[:, :-1] |= close
        doubtful[:, 1:] |= close
        lines, places = np.nonzero(doubtful & (rows >= 0))
        settled = scores.copy()
        for start in range(0, len(lines), QUERY_BLOCK):
            part = slice(start, start + QUERY_BLOCK)
            left = queries[lines[part]].astype(np.float64)
            right = self._vectors[rows[lines[part], places[part]]].astype(np.float64)
            exact = (left * right).sum(axis=1) if self.metric == "ip" else -((left - right) ** 2).sum(axis=1)
            settled[lines[part], places[part]] = exact
        return settled

    def _tolerance(self, queries: Floats) -> Floats:
        """[B], by how much two float32 sums of the same products may differ."""
        norms = np.linalg.norm(queries, axis=1)
        scale = norms * self._largest_norm if self.metric == "ip" else (norms + self._largest_norm) ** 2
        return np.asarray(ROUNDING * scale, dtype=np.float32)

    def _check(self) -> float:
        """The largest norm, after every block was found to be finite."""
        largest = 0.0
        for start in range(0, len(self), self._block_rows):
            block = finite_floats(
                self._vectors[start : start + self._block_rows], name="vectors", first=start
            )
            largest = max(largest, float(np.sqrt(np.einsum("nd,nd->n", block, block).max(initial=0))))
        return largest


def _merge(left: tuple[Floats, Rows], right: tuple[Floats, Rows], depth: int) -> tuple[Floats, Rows]:
    scores, rows = in_order(
        np.concatenate([left[0], right[0]], axis=1), np.concatenate([left[1], right[1]], axis=1)
    )
    return scores[:, :depth], rows[:, :depth]
