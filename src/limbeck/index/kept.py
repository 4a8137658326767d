"""Vectors kept beside the codes, on disk: exact answers, and a second look at the best candidates of the codes.

A folder of `vectors.npy`, float16 or int8 [N, d], and for int8 `scales.npy`, float32 [N]: a document's largest number
over 127. Both are memory-mapped: a second look at n candidates reads n·d numbers, an exact search all of them.

Letters: B queries, N documents, C candidates, d dimension.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from limbeck.errors import ConfigError, CorruptArtefact, DataError, ShapeError
from limbeck.index.asking import asked
from limbeck.index.files import mapped_array, save_array
from limbeck.index.ties import in_order
from limbeck.quantisers.engine import is_bounded
from limbeck.storage import durable
from limbeck.types import Floats, Hits, Metric, Reps, Rows

FOLDER, VECTORS, SCALES = "kept_vectors", "vectors.npy", "scales.npy"
Precision: TypeAlias = Literal["float16", "int8"]
LARGEST = 127
HALF = float(np.finfo(np.float16).max)
SIGN, INFINITE = np.uint16(0x8000), 0x7C00  # of a float16's bits; NaN and infinity are not below the second
BLOCK_ROWS = 16_384  # made floats at once
BUDGET_ROWS = 64  # candidates looked at between two looks at the clock


class KeptVectors:
    """Exact scores by row, as exact as the kept numbers are. Searching from many threads is safe."""

    def __init__(self, vectors: NDArray[Any], scales: Floats | None, *, metric: Metric) -> None:
        if vectors.ndim != 2 or vectors.dtype not in (np.float16, np.int8):
            raise ShapeError(
                f"kept vectors are {vectors.dtype} {vectors.shape}; must be float16 or int8 [N, d]."
            )
        if (scales is None) != (vectors.dtype == np.float16) or (
            scales is not None and (scales.shape != vectors.shape[:1] or scales.dtype != np.float32)
        ):
            raise ShapeError("kept vectors of int8 need a scale each, float32 [N], those of float16 none.")
        self.metric: Metric = metric
        self._vectors, self._scales = vectors, scales

    @property
    def dim(self) -> int:
        """The dimension d."""
        return int(self._vectors.shape[1])

    @property
    def precision(self) -> Precision:
        """Of a number."""
        return "int8" if self._scales is not None else "float16"

    def __len__(self) -> int:
        return len(self._vectors)

    def vectors(self, rows: Rows | slice) -> Floats:
        """[n, d] float32."""
        found = np.asarray(self._vectors[rows], dtype=np.float32)
        return found if self._scales is None else found * self._scales[rows, None]

    def scores(self, query: Floats, rows: Rows) -> Floats:
        """Of one query [d] with documents of these rows."""
        scores: Floats = self._scored(query[None], self.vectors(rows))[0]
        return scores

    def search(self, query: Reps, k: int, *, allowed: NDArray[np.bool_] | None = None) -> Hits:
        """The k best rows of each query, of all or of the allowed ones; -1 where there are no more.

        cost  N·d multiply-adds a query, and a pass over the file
        """
        request = asked(self, query, k, effort=None, allowed=allowed)
        count = len(request.queries)
        best_scores = np.full((count, request.k), -np.inf, dtype=np.float32)
        best_rows = np.full((count, request.k), -1, dtype=np.int64)
        for start in range(0, len(self), BLOCK_ROWS):
            members = np.arange(start, min(len(self), start + BLOCK_ROWS))
            if request.mask is not None:
                members = members[request.mask[members]]
            scores = self._scored(request.queries, self.vectors(members))
            for number, line in enumerate(scores):
                fit = _best_places(line, request.k)
                found = in_order(
                    np.concatenate([best_scores[number], line[fit]])[None],
                    np.concatenate([best_rows[number], members[fit]])[None],
                )
                best_scores[number], best_rows[number] = (part[0, : request.k] for part in found)
        return Hits(best_rows, best_scores)

    def refined(self, query: Floats, hits: Hits, *, milliseconds: float | None = None) -> Hits:
        """The candidates of one query [d] in the order of their exact scores.

        hits          [1, C]; scores of its rows become exact ones
        milliseconds  once they are over, candidates that were not looked at keep their order, behind the others'
        """
        rows = hits.ids[0][hits.ids[0] >= 0]
        deadline = None if milliseconds is None else time.perf_counter() + milliseconds / 1000
        seen = 0
        parts: list[Floats] = []
        while seen < len(rows) and (seen == 0 or deadline is None or time.perf_counter() < deadline):
            parts.append(self.scores(query, rows[seen : seen + BUDGET_ROWS]))
            seen += len(parts[-1])
        if not parts:
            return hits
        scores, first = in_order(np.concatenate(parts)[None], rows[None, :seen])
        ids, found = hits.ids.copy(), hits.scores.copy()
        ids[0, :seen], found[0, :seen] = first[0], scores[0]
        if seen < len(
            rows
        ):  # scores of two kinds: those that were not looked at may not climb over those that were
            found[0, seen : len(rows)] = np.minimum(found[0, seen : len(rows)], scores[0, -1])
        return Hits(ids, found)

    def _scored(self, queries: Floats, vectors: Floats) -> Floats:
        products: Floats = queries @ vectors.T
        if self.metric == "ip":
            return products
        squares: Floats = (
            np.square(queries).sum(axis=1)[:, None] + np.square(vectors).sum(axis=1) - 2 * products
        )
        return -squares

    @classmethod
    def open(cls, folder: Path, *, metric: Metric, rows: int | None = None, dim: int | None = None) -> Self:
        """What `keep` wrote, left on disk.

        rows, dim  of the index that they are kept beside
        cost       one pass over the file, for half precision holds NaN and infinity
        raises     CorruptArtefact where the files cannot be read, or are of another index
        """
        try:
            vectors = mapped_array(folder / VECTORS)
            scales = np.array(mapped_array(folder / SCALES)) if (folder / SCALES).exists() else None
            kept = cls(vectors, scales, metric=metric)
        except (CorruptArtefact, ShapeError) as error:
            raise CorruptArtefact(f"{folder} holds no kept vectors that can be read: {error}") from error
        if rows not in (None, len(kept)) or dim not in (None, kept.dim):
            raise CorruptArtefact(
                f"{folder} holds {len(kept)} vectors of width {kept.dim}; the index holds {rows} of {dim}."
            )
        kept._refuse_unbounded(folder)
        return kept

    def _refuse_unbounded(self, folder: Path) -> None:
        if self._scales is not None:
            is_good = is_bounded(self._scales)
        else:
            is_good = all((bits & ~SIGN).max(initial=0) < INFINITE for bits in self._bits())
        if not is_good:
            raise CorruptArtefact(f"{folder} holds NaN, infinite or enormous values.")

    def _bits(self) -> Iterator[NDArray[np.uint16]]:
        """Half precision as it lies in the file, in blocks: read, for what is mapped counts as the process's memory."""
        numbers = self._vectors
        assert isinstance(numbers, np.memmap)
        with Path(str(numbers.filename)).open("rb") as stream:
            stream.seek(numbers.offset)
            while block := stream.read(2 * BLOCK_ROWS * self.dim):
                yield np.frombuffer(block, np.uint16, count=len(block) // 2)


def _best_places(scores: Floats, k: int) -> Rows:
    """Places of the k largest of [n], and of all that equal the k-th; in any order."""
    if len(scores) <= k:
        return np.arange(len(scores))
    return np.flatnonzero(scores >= np.partition(scores, len(scores) - k)[len(scores) - k])


def keep(folder: Path, blocks: Iterator[Floats], *, rows: int, dim: int, precision: Precision) -> None:
    """Writes vectors, given in blocks [n, d] in row order; memory stays at a block."""
    if precision not in ("float16", "int8"):
        raise ConfigError(f"vectors can be kept as 'float16' or 'int8', not as {precision!r}.")
    durable.make_folders(folder)
    scales = np.empty(rows, dtype=np.float32)
    header = {
        "descr": np.lib.format.dtype_to_descr(np.dtype(precision)),
        "fortran_order": False,
        "shape": (rows, dim),
    }
    seen = 0
    with durable.replacement(folder / VECTORS, needed=rows * dim * np.dtype(precision).itemsize) as out:
        np.lib.format.write_array_header_2_0(out, header)
        for block in blocks:
            if precision == "float16":
                if np.abs(block).max(initial=0) > HALF:
                    raise DataError(
                        f"a vector holds a number beyond {HALF:,.0f}, the largest of float16.\n\nHint: keep int8."
                    )
                out.write(np.ascontiguousarray(block, dtype=np.float16))
            else:
                largest = np.abs(block).max(axis=1) / LARGEST
                scales[seen : seen + len(block)] = largest
                out.write(np.rint(block / np.where(largest > 0, largest, 1)[:, None]).astype(np.int8))
            seen += len(block)
    if seen != rows:
        raise ShapeError(f"{seen} vectors came; {rows} were said.")
    if precision == "int8":
        save_array(folder / SCALES, scales)
