"""Two looks at one document: 4-bit codes in lists, scanned in registers, choose; codes of what those leave decide.

The second codes start where the first end (they code the difference), so no byte is spent twice: on python-api 48 bytes
that choose and 96 that decide keep .94 of the exact top 10, and 128 bytes of product codes alone .92.

Letters: B queries, C candidates, d dimension, e after the rotation,
M sub-vectors of the second codes.
"""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from limbeck.errors import ConfigError, CorruptArtefact, LimbeckError
from limbeck.index.asking import Asked, asked, in_blocks
from limbeck.index.compressed import those
from limbeck.index.fast_scan import FastScanIndex
from limbeck.index.files import bytes_of, load_array, load_index, save_array
from limbeck.index.ties import Fetch, best_hits
from limbeck.quantisers.codebook_file import codebook_bytes, codebook_in
from limbeck.quantisers.product import ProductQuantiser
from limbeck.storage import durable
from limbeck.types import Codes, Floats, Hits, Reps, Rows

FIRST, SECOND_CODES, SECOND = "quantiser.safetensors", "second.npy", "second.safetensors"
QUERY_BLOCK = 4096
BLOCK_FLOATS = 2**22  # decoded at once: 16 MB


class TwoStageIndex:
    """Search over first codes of 4 bits in lists, then over second codes of the factor·k best.

    quantiser, codes      of the first scan: product codes of 4 bits in lists
    second, second_codes  product codes of 8 bits, without rotation and lists, of what the first leave in the rotated
                          space: N·second.code_bytes more, by row
    factor                candidates of the second look for each hit; may be set anew at any time

    A score is that of the first scan, whose tables are rounded to 8 bits, and what the second codes add to it.
    Cost beside the scan: C·M look-ups and C·e multiply-adds a query.
    """

    def __init__(
        self,
        quantiser: ProductQuantiser,
        codes: Codes,
        *,
        second: ProductQuantiser,
        second_codes: Codes,
        factor: float = 4.0,
        threads: int | None = None,
    ) -> None:
        second.check_codes(second_codes)
        _refuse_unfitting(quantiser, codes, second, second_codes)
        self.first = FastScanIndex(quantiser, codes)
        self.factor = factor
        self.second = second
        self.second_codes = second_codes
        self.threads = threads
        assert second.score_codewords is not None
        self._words = second.score_codewords.reshape(-1, second.score_codewords.shape[2])  # [M·K, e/M]
        self._first_places = np.arange(second.sub_vectors, dtype=np.int32) * 2**second.bits

    @property
    def dim(self) -> int:
        """d, the dimension of queries."""
        return self.first.dim

    def __len__(self) -> int:
        return len(self.second_codes)

    @property
    def default_effort(self) -> float:
        """A tenth of the lists, at least 8 of them."""
        return self.first.default_effort

    @property
    def factor(self) -> float:
        """Candidates of the second look for each hit."""
        return self._factor

    @factor.setter
    def factor(self, value: float) -> None:
        if not (isinstance(value, (int, float)) and math.isfinite(value) and value >= 1):
            raise ConfigError(f"`factor` must be at least 1 (candidates for each hit), got {value!r}.")
        self._factor = float(value)

    @property
    def code_bytes(self) -> int:
        """Bytes of a document's codes, both of them."""
        return self.first.code_bytes + self.second.code_bytes

    @property
    def nbytes(self) -> int:
        """What a search reads: the first index, second codes and their codewords."""
        return self.first.nbytes + self.second_codes.codes.nbytes + self.second_words_bytes

    @property
    def second_words_bytes(self) -> int:
        """The second codewords, which all documents share."""
        return int(self._words.nbytes)

    def first_rows(self, count: int) -> Self:
        """The same kind of index over the first so many documents."""
        codes = self.first.codes
        lists = None if codes.lists is None else codes.lists[:count]
        return type(self)(
            self.first.quantiser,
            Codes(codes.codes[:count], lists),
            second=self.second,
            second_codes=Codes(self.second_codes.codes[:count]),
            factor=self.factor,
            threads=self.threads,
        )

    def search(
        self, query: Reps, k: int, *, effort: float | None = None, allowed: NDArray[np.bool_] | None = None
    ) -> Hits:
        """The k best rows of each query in ceil(effort·L) lists; with `allowed`, of those rows alone."""
        request = asked(self, query, k, effort=effort, allowed=allowed, default_effort=self.default_effort)

        def search(queries: Floats) -> Hits:
            fetch = self._fetcher(self.first.turned(queries), request)
            return best_hits(fetch, queries=len(queries), k=request.k, size=request.size)

        return in_blocks(request.queries, search, most=QUERY_BLOCK, threads=self.threads)

    def decode(self, rows: Rows) -> Floats:
        """The vectors [n, d] that scores of these rows are of, but for the rounding of the first scan."""
        codes, quantiser = self.first.codes, self.first.quantiser
        assert codes.lists is not None
        first = quantiser.decode_rotated(Codes(codes.codes[rows], codes.lists[rows]))
        turned: Floats = first + self.second.decode(Codes(self.second_codes.codes[rows]))
        if quantiser.rotation is None:
            return turned
        return np.asarray(turned @ quantiser.rotation, dtype=np.float32)

    def changed(self, stay: NDArray[np.bool_], new: Floats) -> Self:
        """Over the rows that stay, and new vectors [n, d] behind them, coded by the codewords that assign."""
        quantiser = self.first.quantiser
        codes, more = self.first.codes, quantiser.encode(new)
        assert codes.lists is not None
        assert more.lists is not None
        left_over = quantiser.rotate_vectors(new) - quantiser.decode_rotated(more)
        second = self.second.encode(left_over).codes
        return type(self)(
            quantiser,
            Codes(
                np.concatenate([codes.codes[stay], more.codes]),
                np.concatenate([codes.lists[stay], more.lists]),
            ),
            second=self.second,
            second_codes=Codes(np.concatenate([self.second_codes.codes[stay], second])),
            factor=self.factor,
            threads=self.threads,
        )

    def _fetcher(self, turned: Floats, request: Asked) -> Fetch:
        fetch = self.first.fetcher(turned, share=request.effort, mask=request.mask)

        def again(numbers: Rows, depth: int) -> tuple[Floats, Rows]:
            wanted = math.ceil(min(request.size, self.factor * request.k))
            scores, rows = fetch(numbers, min(request.size, max(depth, wanted)))
            scores = scores + self._second_scores(those(turned, numbers), rows)
            order = (-scores).argsort(axis=1)[:, :depth]
            if len(order) == 1:
                return scores[:, order[0]], rows[:, order[0]]
            lines = np.arange(len(rows))[:, None]
            return scores[lines, order], rows[lines, order]

        return again

    def _second_scores(self, turned: Floats, rows: Rows) -> Floats:
        """[B, C]: the inner products of rotated queries [B, e] with what the second codes of rows [B, C] stand for.

        By decoding: for fewer than K candidates that is less work than tables of all codewords.
        """
        found = np.empty(rows.shape, dtype=np.float32)
        step = max(1, BLOCK_FLOATS // max(1, rows.shape[1] * turned.shape[1]))
        for start in range(0, len(turned), step):
            block = slice(start, start + step)
            codes = self.second_codes.codes.take(
                rows[block], axis=0, mode="clip"
            )  # [B, C, M]; row -1 is cut later
            decoded = self._words.take(codes + self._first_places, axis=0)  # [B, C, M, e/M]
            decoded = decoded.reshape(*codes.shape[:2], -1)
            found[block] = (decoded @ turned[block, :, None])[:, :, 0]
        return found

    def save(self, folder: Path) -> None:
        """The files of `CodeIndex`, the second codes, and their codewords with the hash of those codes."""
        self.first.save(folder)
        described = {
            "first_sha256": _sha256(folder / FIRST),
            "second_sha256": save_array(folder / SECOND_CODES, self.second_codes.codes),
            "factor": self.factor,
        }
        durable.write_file(folder / SECOND, codebook_bytes(self.second, query_map=None, more=described))

    @classmethod
    def open(cls, folder: Path, *, threads: int | None = None) -> Self:
        """The index saved in the folder; refused unless its files have the hashes that were saved."""
        quantiser, codes, _ = load_index(folder)
        try:
            book = codebook_in(bytes_of(folder / SECOND))
            described: dict[str, Any] = dict(book.description or {})
            hashes = described["first_sha256"], described["second_sha256"]
            if not isinstance(book.quantiser, ProductQuantiser):
                raise CorruptArtefact(f"{folder / SECOND} holds another kind of codebook.")
            if _sha256(folder / FIRST) != hashes[0]:
                raise CorruptArtefact(f"{folder / SECOND} is from another save than {FIRST}.")
            return cls(
                quantiser,
                codes,
                second=book.quantiser,
                second_codes=Codes(np.array(load_array(folder / SECOND_CODES, sha256=hashes[1]))),
                factor=described["factor"],
                threads=threads,
            )
        except CorruptArtefact:
            raise
        except (LimbeckError, KeyError, ValueError, TypeError) as error:
            raise CorruptArtefact(f"{folder}: its files do not fit together: {error}") from error


def _sha256(path: Path) -> str:
    return hashlib.sha256(bytes_of(path)).hexdigest()


def _refuse_unfitting(
    quantiser: ProductQuantiser, codes: Codes, second: ProductQuantiser, second_codes: Codes
) -> None:
    if quantiser.metric != "ip" or second.metric != "ip":
        raise ConfigError(f"two stages add inner products; found metric {quantiser.metric!r}.")
    if codes.lists is None:
        raise ConfigError("two stages need first codes in lists: `ProductQuantiser(bits=4, lists=...)`.")
    if second.bits != 8 or second.rotation is not None or second.base is not None:
        raise ConfigError("second codes must be product codes of 8 bits, without rotation and without lists.")
    inner = quantiser.dim if quantiser.rotation is None else len(quantiser.rotation)
    if second.dim != inner or len(codes) != len(second_codes):
        raise ConfigError(
            f"first codes are {len(codes)} of {inner} dimensions, second codes {len(second_codes)} of {second.dim}; "
            "must be equal."
        )
