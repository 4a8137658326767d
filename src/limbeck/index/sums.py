"""Search over sums of codewords: a full scan by look-up tables, at the speed of product codes of the same bytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from limbeck.errors import CorruptArtefact, DataError, LimbeckError
from limbeck.index.arguments import checked_map
from limbeck.index.asking import asked, in_blocks
from limbeck.index.files import bytes_of, load_array, save_array
from limbeck.index.ties import best_hits
from limbeck.quantisers.codebook_file import checked_arrays, checked_settings
from limbeck.quantisers.faiss_tables import TableScan
from limbeck.quantisers.sums import SumQuantiser
from limbeck.storage import durable
from limbeck.types import Codes, Floats, Hits, Reps

QUERY_BLOCK = 256  # whose tables are made at once: 16 KB each at 16 bytes
DESCRIPTION = "limbeck"
SETTINGS = ("code_bytes", "slices", "axes", "metric")
CODES, QUANTISER, CODER = "codes.npy", "quantiser.safetensors", "coder.npy"
ASSIGN, QUERY_MAP = "assign.codewords", "query_map"


class SumIndex:
    """Search over codes that are summed: N·M bytes and the codewords, which all documents share.

    A query costs M/S·256·d multiply-adds for its tables, and N·M look-ups. `query_map` [d, d] is a learned transform
    that queries pass first: q @ query_map.T.
    """

    def __init__(
        self,
        quantiser: SumQuantiser,
        codes: Codes,
        *,
        query_map: Floats | None = None,
        threads: int | None = None,
    ) -> None:
        quantiser.check_codes(codes)
        self.query_map = None if query_map is None else checked_map(query_map, dim=quantiser.dim)
        self.quantiser = quantiser
        self.threads = threads
        self._scan = TableScan(codes.codes)

    @property
    def dim(self) -> int:
        """d, the dimension of queries."""
        return self.quantiser.dim

    @property
    def nbytes(self) -> int:
        """What a search reads: codes, codewords that score, axes. Codewords that assign stay on disk once saved."""
        parts = self.quantiser.parts()
        read = sum(array.nbytes for name, array in parts.items() if name != ASSIGN)
        moved = 0 if self.query_map is None else self.query_map.nbytes
        return len(self) * self.code_bytes + read + moved

    @property
    def code_bytes(self) -> int:
        """Bytes of a document's code."""
        return self.quantiser.code_bytes

    @property
    def codes(self) -> Codes:
        """The codes as they were given, by row: a copy."""
        return Codes(self._scan.codes.copy())

    def __len__(self) -> int:
        return len(self._scan)

    def search(
        self, query: Reps, k: int, *, effort: float | None = None, allowed: NDArray[np.bool_] | None = None
    ) -> Hits:
        """The k best rows of each query, of the `allowed` ones; every effort is exhaustive here."""
        request = asked(self, query, k, effort=effort, allowed=allowed)
        scan = self._scan if request.mask is None else self._scan.only(request.mask)

        def search(queries: Floats) -> Hits:
            moved = queries if self.query_map is None else queries @ self.query_map.T
            tables = self.quantiser.tables(self.quantiser.rotate_vectors(moved))
            return best_hits(
                lambda numbers, depth: scan.best(tables[numbers], depth),
                queries=len(queries),
                k=request.k,
                size=request.size,
            )

        return in_blocks(request.queries, search, most=QUERY_BLOCK, threads=self.threads)

    def save(self, folder: Path) -> None:
        """`codes.npy`, `coder.npy` (codewords that assign), and `quantiser.safetensors`: the rest, and their sha256."""
        from safetensors.numpy import save

        durable.make_folders(folder)
        parts = dict(self.quantiser.parts())
        coder = parts.pop(ASSIGN)
        hashes = {
            name: save_array(folder / name, array)
            for name, array in ((CODES, self.codes.codes), (CODER, coder))
        }
        if self.query_map is not None:
            parts[QUERY_MAP] = self.query_map
        settings = {name: getattr(self.quantiser, name) for name in SETTINGS}
        described = json.dumps({"settings": settings, "sha256": hashes}, sort_keys=True)
        durable.write_file(folder / QUANTISER, save(parts, metadata={DESCRIPTION: described}))

    @classmethod
    def open(cls, folder: Path, *, threads: int | None = None) -> Self:
        """The index saved in the folder; refused unless its files have the hashes that were saved."""
        settings, hashes, parts = _described(folder / QUANTISER)
        codes = np.array(load_array(folder / CODES, sha256=hashes[CODES]))
        parts[ASSIGN] = load_array(folder / CODER, sha256=hashes[CODER])
        moved = parts.pop(QUERY_MAP, None)
        try:
            quantiser = SumQuantiser(**settings).with_parts(parts)
            return cls(quantiser, Codes(codes), query_map=moved, threads=threads)
        except (LimbeckError, ValueError, TypeError) as error:
            raise CorruptArtefact(f"{folder}: its files do not fit together: {error}") from error


def _described(path: Path) -> tuple[dict[str, Any], dict[str, str], dict[str, NDArray[Any]]]:
    """Settings, hashes of the other files, and the arrays in this one."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    raw = bytes_of(path)
    try:
        arrays = checked_arrays(load(raw))
        header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
        described = json.loads(header["__metadata__"][DESCRIPTION])
        settings = checked_settings(dict(described["settings"]), SETTINGS)
        return settings, {name: described["sha256"][name] for name in (CODES, CODER)}, arrays
    except (
        SafetensorError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
        DataError,
    ) as error:
        raise CorruptArtefact(f"{path} cannot be read: {error}") from error
