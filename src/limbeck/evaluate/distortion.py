"""How far codes lie from what they stand for, by sub-space, and which codewords and lists do the work.

Letters: N documents, S sub-spaces, M parts, K codewords a part, L lists.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from limbeck.quantisers.packing import unpack
from limbeck.types import Codes, Floats

SAMPLE_DOCUMENTS, SAMPLE_QUERIES = 16_384, 256
OVERFULL = 4.0  # times the mean: what holds more is over-full


@dataclass(frozen=True, slots=True)
class Distortion:
    """Errors of decoded vectors in the turned space, by sub-space (a slice of it that is coded on its own)."""

    squared: NDArray[np.float64]  # [S] mean squared error a document
    variance: NDArray[np.float64]  # [S] mean squared distance from the mean vector: what there is to lose
    score: NDArray[np.float64]  # [S] mean squared error of queries' scores that comes from here

    @property
    def share(self) -> float:
        """Mean squared error as a share of the variance."""
        return float(self.squared.sum() / max(float(self.variance.sum()), 1e-30))


@dataclass(frozen=True, slots=True)
class Usage:
    """How many documents use each codeword and lie in each list."""

    codewords: NDArray[np.int64]  # [M, K]
    lists: NDArray[np.int64] | None  # [L]; None without lists

    @property
    def dead_codewords(self) -> int:
        """Codewords that no document uses."""
        return int((self.codewords == 0).sum())

    @property
    def overfull_codewords(self) -> int:
        """Codewords that more than 4 times the mean use."""
        return int((self.codewords > OVERFULL * self.codewords.mean()).sum())

    @property
    def effective_codewords(self) -> NDArray[np.float64]:
        """[M] 2^entropy of each part's codes: as many codewords in equal use would tell as much."""
        shares = self.codewords / np.maximum(self.codewords.sum(axis=1, keepdims=True), 1)
        logs = np.log2(shares, where=shares > 0, out=np.zeros_like(shares))
        effective: NDArray[np.float64] = 2 ** -(shares * logs).sum(axis=1)
        return effective

    @property
    def dead_lists(self) -> int:
        """Lists without a document."""
        return 0 if self.lists is None else int((self.lists == 0).sum())

    @property
    def overfull_lists(self) -> int:
        """Lists that hold more than 4 times the mean."""
        return 0 if self.lists is None else int((self.lists > OVERFULL * self.lists.mean()).sum())


def distortion_of(
    quantiser: Any, codes: Codes, documents: Floats, queries: Floats, *, seed: int
) -> Distortion:
    """Measured on at most 16,384 documents and 256 queries, drawn with the seed.

    queries  [Q, d] as the quantiser takes them (a learnt query map applied)
    """
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.permutation(len(documents))[:SAMPLE_DOCUMENTS])
    asked = queries[np.sort(rng.permutation(len(queries))[:SAMPLE_QUERIES])]
    vectors = quantiser.rotate_vectors(np.asarray(documents[rows])).astype(np.float64)
    some = Codes(codes.codes[rows], None if codes.lists is None else codes.lists[rows])
    errors = decoded_in_turned_space(quantiser, some).astype(np.float64) - vectors
    spaces = sub_spaces(quantiser)
    cut = errors.reshape(len(rows), spaces, -1)
    asked_cut = quantiser.rotate_vectors(asked).astype(np.float64).reshape(len(asked), spaces, -1)
    around = (vectors - vectors.mean(axis=0)).reshape(len(rows), spaces, -1)
    score = [np.square(asked_cut[:, space] @ cut[:, space].T).mean() for space in range(spaces)]
    return Distortion(
        squared=np.square(cut).sum(axis=2).mean(axis=0),
        variance=np.square(around).sum(axis=2).mean(axis=0),
        score=np.array(score),
    )


def usage_of(quantiser: Any, codes: Codes) -> Usage:
    """Counts over all documents."""
    numbers = unpack(codes.codes, bits=quantiser.bits)
    size = 2**quantiser.bits
    counts = np.stack([np.bincount(column, minlength=size) for column in numbers.T])
    base = getattr(quantiser, "base", None)
    lists = None if base is None or codes.lists is None else np.bincount(codes.lists, minlength=len(base))
    return Usage(counts, lists)


def sub_spaces(quantiser: Any) -> int:
    """Into how many slices the turned space is cut."""
    return int(quantiser.cut) if hasattr(quantiser, "cut") else int(quantiser.sub_vectors)


def decoded_in_turned_space(quantiser: Any, codes: Codes) -> Floats:
    """[N, e] what the codes stand for, after the rotation."""
    if hasattr(quantiser, "decode_rotated"):
        decoded: Floats = quantiser.decode_rotated(codes)
        return decoded
    turned: Floats = quantiser.rotate_vectors(quantiser.decode(codes))  # its rotation is orthonormal
    return turned
