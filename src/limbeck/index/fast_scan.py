"""4-bit codes scanned in registers: faiss's fast-scan kernels over our codewords and our codes (André et al., 2017).

Tables of 16 entries fit a register, so one instruction looks up 32 documents. For that their entries are rounded to
8 bits, and so are scores. Re-scoring decodes the first few and puts them into the order of the plain scan.

    index = FastScanIndex(quantiser, codes, rescore=100)      # quantiser of bits=4
    searcher = limbeck.open("index", fast_scan=True)          # any artefact of 4-bit codes

Letters: B queries, N documents, M sub-vectors, e dimension after the rotation, r re-scored documents.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from limbeck.errors import ConfigError
from limbeck.index.compressed import CodeIndex
from limbeck.index.files import load_index
from limbeck.index.ties import Fetch, in_order
from limbeck.quantisers.faiss_fast import block_bytes, codes_in_blocks, fast_scanner
from limbeck.quantisers.faiss_scan import scan_all
from limbeck.quantisers.product import ProductQuantiser
from limbeck.types import Codes, Floats, Metric, Rows

RESCORED = (
    50  # by `limbeck.open(folder, fast_scan=True)`: 20 restored the plain top 10 of every query of tldr
)


class FastScanIndex(CodeIndex):
    """A `CodeIndex` of 4-bit codes with 8-bit tables: some times faster, scores a little rounded.

    Memory: N·code_bytes, each list rounded up to 32 documents, and 8·N for ids where there are lists. With `rescore`
    codes are held by row as well: N·code_bytes once more, and 8·N for lists. Re-scoring costs r·e multiply-adds.

    rescore  how many documents are scored again from their decoded vectors, at least k; None leaves rounded scores
    raises   ConfigError for codes that are not of 4 bits, or of more than 256 sub-vectors
    """

    def __init__(
        self,
        quantiser: ProductQuantiser,
        codes: Codes,
        *,
        query_map: Floats | None = None,
        rescore: int | None = None,
        threads: int | None = None,
    ) -> None:
        if rescore is not None and rescore < 1:
            raise ConfigError(f"`rescore` must be at least 1, or None for none, got {rescore!r}.")
        super().__init__(quantiser, codes, query_map=query_map, threads=threads)
        self.rescore = rescore
        self._scanner = fast_scanner(self._scanner, bits=quantiser.bits)
        self._by_row = None if rescore is None else codes

    @property
    def nbytes(self) -> int:
        """Blocks of codes, ids of list members, codes by row where they are re-scored, and every learned array."""
        ids = 0 if self.quantiser.base is None else 8
        by_row = 0 if self._by_row is None else self.quantiser.code_bytes + ids
        return self.shared_bytes + block_bytes(self._scanner) + len(self) * (ids + by_row)

    @property
    def codes(self) -> Codes:
        """The codes as they were given, by row: a copy."""
        return codes_in_blocks(self._scanner)

    def over(self, codes: Codes) -> Self:
        return type(self)(
            self.quantiser, codes, query_map=self.query_map, rescore=self.rescore, threads=self.threads
        )

    @classmethod
    def open(cls, folder: Path, *, rescore: int | None = None, threads: int | None = None) -> Self:
        """The index saved in the folder by this class or by `CodeIndex`: the files are the same."""
        quantiser, codes, query_map = load_index(folder)
        return cls(quantiser, codes, query_map=query_map, rescore=rescore, threads=threads)

    def fetcher(self, turned: Floats, *, share: float, mask: NDArray[np.bool_] | None) -> Fetch:
        fetch = (
            super().fetcher(turned, share=share, mask=mask)
            if mask is None or self.quantiser.base is not None
            else self._some(turned, np.flatnonzero(mask))
        )
        zero = (turned == 0).all(axis=1)
        if self.quantiser.metric == "ip" and zero.any():
            fetch = self._of_zeros(fetch, zero, mask)
        if self._by_row is None:
            return fetch
        return self._rescored(
            fetch, turned, self._by_row, size=len(self) if mask is None else int(mask.sum())
        )

    def _of_zeros(self, fetch: Fetch, zero: NDArray[np.bool_], mask: NDArray[np.bool_] | None) -> Fetch:
        """With the first rows, and scores of 0, for queries that are 0: faiss divides by their largest table entry."""
        allowed = np.arange(len(self)) if mask is None else np.flatnonzero(mask)

        def filled(numbers: Rows, depth: int) -> tuple[Floats, Rows]:
            scores, rows = fetch(numbers, depth)
            scores[zero[numbers]], rows[zero[numbers]] = 0, allowed[:depth]
            return scores, rows

        return filled

    def _some(self, turned: Floats, members: Rows) -> Fetch:
        """A scan over a copy of these rows: faiss's full fast scan takes no selection."""
        codes = self.codes if self._by_row is None else self._by_row
        part = CodeIndex(self.quantiser, Codes(codes.codes[members]))
        scanner: Any = fast_scanner(part._scanner, bits=self.quantiser.bits)
        metric: Metric = self.quantiser.metric

        def fetch(numbers: Rows, depth: int) -> tuple[Floats, Rows]:
            scores, places = scan_all(scanner, turned[numbers], depth, metric=metric, allowed=None)
            return scores, np.where(places >= 0, members[np.maximum(places, 0)], -1)

        return fetch

    def _rescored(self, fetch: Fetch, turned: Floats, codes: Codes, *, size: int) -> Fetch:
        """The same rows, r of them at least, by the scores of their decoded vectors."""

        def again(numbers: Rows, depth: int) -> tuple[Floats, Rows]:
            _, rows = fetch(numbers, min(size, max(depth, self.rescore or 0)))
            scores, rows = in_order(self._decoded_scores(turned[numbers], codes, rows), rows)
            return scores[:, :depth], rows[:, :depth]

        return again

    def _decoded_scores(self, turned: Floats, codes: Codes, rows: Rows) -> Floats:
        """[B, r] by definition, in float64 so that equal codes tie; -inf where the row is -1."""
        chosen = np.maximum(rows, 0).ravel()
        lists = None if codes.lists is None else codes.lists[chosen]
        decoded = self.quantiser.decode_rotated(Codes(codes.codes[chosen], lists))
        decoded_BRe = decoded.reshape(*rows.shape, -1).astype(np.float64)
        queries_Be = turned.astype(np.float64)
        if self.quantiser.metric == "ip":
            scores = np.einsum("be,bre->br", queries_Be, decoded_BRe)
        else:
            scores = -np.square(decoded_BRe - queries_Be[:, None]).sum(axis=2)
        return np.where(rows >= 0, scores, -np.inf).astype(np.float32)
