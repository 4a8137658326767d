"""Search over compressed documents: full scan of product codes, or of some inverted lists of them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from limbeck.index.arguments import checked_map
from limbeck.index.asking import asked, in_blocks
from limbeck.index.files import load_index, save_index
from limbeck.index.ties import Fetch, best_hits
from limbeck.quantisers.faiss_io import code_scanner, codes_of, plain_index, query_transform, same, to_faiss
from limbeck.quantisers.faiss_scan import choose_lists, scan_all, scan_lists
from limbeck.quantisers.product import ProductQuantiser
from limbeck.types import Codes, Floats, Hits, Reps, Rows

QUERY_BLOCK = 4096
Value = TypeVar("Value", bound=np.generic)


class CodeIndex:
    """Search over codes: N·code_bytes bytes, and 8·N for the ids of list members where there are lists.

    Full scan: N·M table look-ups a query. With lists: effort·L lists of them, and L·d multiply-adds to
    choose. Lists are chosen by the quantiser's routing vectors, scores come from its base centroids and the
    codewords that score. `query_map` [d, d] is a learned transform that queries pass before the rotation:
    q @ query_map.T.
    """

    def __init__(
        self,
        quantiser: ProductQuantiser,
        codes: Codes,
        *,
        query_map: Floats | None = None,
        threads: int | None = None,
    ) -> None:
        if query_map is not None:
            query_map = checked_map(query_map, dim=quantiser.dim)
        self.quantiser = quantiser
        self.query_map: Floats | None = query_map
        self.threads = threads
        self._scanner = code_scanner(quantiser, codes)
        self._transform = query_transform(quantiser, query_map)
        base = quantiser.base
        self._routing = base if same(quantiser.routing, base) else quantiser.routing

    @property
    def dim(self) -> int:
        """d, the dimension of queries."""
        return self.quantiser.dim

    @property
    def code_bytes(self) -> int:
        """Bytes of a document's code; ids of list members and what documents share not counted."""
        return self.quantiser.code_bytes

    @property
    def nbytes(self) -> int:
        """Codes, ids of list members and every learned array; parts that are equal count once."""
        a_document = self.quantiser.code_bytes + (0 if self.quantiser.base is None else 8)
        return len(self) * a_document + self.shared_bytes

    @property
    def shared_bytes(self) -> int:
        """What does not grow with the documents: every learned array."""
        return sum(array.nbytes for array in self.held_parts().values())

    def held_parts(self) -> dict[str, NDArray[Any]]:
        """The learned arrays by name; of parts that are equal only one, and the query map if there is one."""
        parts = dict(self.quantiser.parts())
        for copy, original in (
            ("routing", "base"),
            ("assign.base", "base"),
            ("assign.codewords", "score.codewords"),
        ):
            if same(parts.get(copy), parts.get(original)):
                parts.pop(copy, None)
        return parts if self.query_map is None else {**parts, "query_map": self.query_map}

    def over(self, codes: Codes) -> Self:
        """The same kind of index over other codes of the same quantiser."""
        return type(self)(self.quantiser, codes, query_map=self.query_map, threads=self.threads)

    def __len__(self) -> int:
        return int(self._scanner.ntotal)

    @property
    def codes(self) -> Codes:
        """The codes as they were given, by row: a copy."""
        return codes_of(self._scanner)[0]

    @property
    def list_lengths(self) -> Rows | None:
        """[L] documents in each list; None without lists."""
        if self.quantiser.base is None:
            return None
        lists = self._scanner.invlists
        return np.array([lists.list_size(number) for number in range(lists.nlist)], dtype=np.int64)

    @property
    def default_effort(self) -> float:
        """A tenth of the lists, at least 8 of them; 1 without lists."""
        if self.quantiser.base is None:
            return 1.0
        return min(1.0, max(8 / len(self.quantiser.base), 0.1))

    def search(
        self, query: Reps, k: int, *, effort: float | None = None, allowed: NDArray[np.bool_] | None = None
    ) -> Hits:
        """The k best rows of each query in ceil(effort·L) lists; with `allowed`, of those rows alone."""
        request = asked(self, query, k, effort=effort, allowed=allowed, default_effort=self.default_effort)

        def search(queries: Floats) -> Hits:
            fetch = self.fetcher(self.turned(queries), share=request.effort, mask=request.mask)
            return best_hits(fetch, queries=len(queries), k=request.k, size=request.size)

        return in_blocks(request.queries, search, most=QUERY_BLOCK, threads=self.threads)

    def turned(self, queries: Floats) -> Floats:
        """[B, d] to [B, e]: through the query map and the rotation."""
        return queries if self._transform is None else queries @ self._transform.T

    def fetcher(self, turned: Floats, *, share: float, mask: NDArray[np.bool_] | None) -> Fetch:
        """What gives the best rows of some of these queries, to any depth."""
        base, metric = self.quantiser.base, self.quantiser.metric
        if base is None or self._routing is None:
            return lambda numbers, depth: scan_all(
                self._scanner, turned[numbers], depth, metric=metric, allowed=mask
            )
        probes = probed_lists(share, len(base))
        lists, coarse = choose_lists(turned, routing=self._routing, base=base, probes=probes, metric=metric)
        return lambda numbers, depth: scan_lists(
            self._scanner,
            those(turned, numbers),
            depth,
            lists=those(lists, numbers),
            coarse=those(coarse, numbers),
            metric=metric,
            allowed=mask,
        )

    def to_faiss(self, *, routing: Any = "keep", effort: float | None = None) -> Any:
        """A plain faiss index over the same codes; see `faiss_io.to_faiss` for what it cannot hold.

        effort  the share of the lists that it is set to visit (`nprobe`); None = what `search` visits by itself
        """
        effort = self.default_effort if effort is None else effort
        probes = 1 if self.quantiser.base is None else probed_lists(effort, len(self.quantiser.base))
        return to_faiss(self.quantiser, self.codes, query_map=self.query_map, routing=routing, probes=probes)

    def save(self, folder: Path) -> None:
        """`index.faiss`, which opens in plain faiss, and `quantiser.safetensors`, which holds everything."""
        plain = plain_index(self.quantiser, self.codes, query_map=self.query_map)
        save_index(folder, self.quantiser, plain, query_map=self.query_map)

    @classmethod
    def open(cls, folder: Path, *, threads: int | None = None) -> Self:
        """The index saved in the folder; refused unless the faiss file has the hash that was saved."""
        quantiser, codes, query_map = load_index(folder)
        return cls(quantiser, codes, query_map=query_map, threads=threads)


def those(values: NDArray[Value], numbers: Rows) -> NDArray[Value]:
    """The lines of these numbers, which rise: where that is all of them, the very array."""
    return values if len(numbers) == len(values) else values[numbers]


def probed_lists(effort: float, lists: int) -> int:
    """How many of the lists a search visits: ceil(effort·L), at least 1."""
    return max(1, min(lists, math.ceil(effort * lists - 1e-9)))
