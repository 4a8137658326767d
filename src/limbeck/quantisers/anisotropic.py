"""Score-aware product codes: errors along a document's own direction cost more (ScaNN's anisotropic loss).

A query that finds a document points its way, so error along the document moves the score, error across it does not.
With h = the weight of parallel over perpendicular error, the loss of a document x with residual r is
|r|² + (h - 1)·<r, x/|x|>². h = 1 is plain k-means. The search over the codes is the ordinary one.

Letters: N documents, M code parts, K codewords a part, w their width, d dimension.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from limbeck.errors import ConfigError, DataError
from limbeck.quantisers.packing import pack, unpack
from limbeck.quantisers.product import ProductQuantiser
from limbeck.types import Codes, Floats, Rows

log = logging.getLogger(__name__)

BLOCK = 4096  # documents whose distances to all codewords are held at once: 134 MB at 16 parts
MOST_PASSES = 10  # over the parts of a document, in one assignment
SAMPLE = 32_768  # documents that codewords are learnt from: 128 for each of 256


@dataclass(frozen=True, slots=True)
class Targets:
    """What is to be coded, and the direction in which errors count."""

    vectors: Floats  # [N, d] turned; less the base centroid where there are lists
    directions: Floats  # [N, d] unit vectors
    excess: Floats  # [N] h - 1, at least 0 for the published thresholds


def parallel_weight(threshold: float, lengths: Floats, dim: int) -> Floats:
    """How much more [N] parallel error weighs where only inner products above `threshold` matter.

    h = (T/|x|)²·(d - 1) / (1 - (T/|x|)²): 1 where T² = |x|²/d, growing with T.

    threshold  in (0, |x|) for each of the lengths
    raises     ConfigError for a threshold outside
    source     Guo et al., ICML 2020, theorem 3.4; google-research/scann, ComputeParallelCostMultiplier
    """
    shortest = float(lengths.min(initial=np.inf))
    if not 0 < threshold < shortest:
        raise ConfigError(
            f"`threshold` must lie between 0 and the shortest document's length, {shortest:.4g}; found {threshold}.\n\n"
            "Hint: for unit vectors the published value is 0.2; scale it with the vectors."
        )
    share = np.square(threshold / lengths)
    weight: Floats = (share * (dim - 1) / (1 - share)).astype(np.float32)
    return weight


def fit_anisotropic(
    start: ProductQuantiser,
    vectors: Floats,
    *,
    threshold: float | None = 0.2,
    rounds: int = 8,
    seed: int = 0,
) -> tuple[ProductQuantiser, Codes]:
    """The quantiser `start` with codewords that fit the anisotropic loss, and the codes of vectors [N, d].

    Alternates assignment and the closed-form codewords on a sample; neither raises the loss. `threshold` None weighs
    all errors alike. Documents that the quantiser encodes later go to the L2-nearest codeword instead.

    cost  a round: n·K·d for distances, n·K·M a pass over the parts, n·w·d and K·M systems of w equations
    """
    rows = np.sort(np.random.default_rng(seed).permutation(len(vectors))[:SAMPLE])
    sample, _ = targets_of(start, np.asarray(vectors[rows]), threshold=threshold)
    codewords = start.parts()["assign.codewords"]
    numbers = assign(sample, codewords)
    for number in range(rounds):
        codewords = fitted_codewords(sample, numbers, codewords)
        numbers = assign(sample, codewords, start=numbers)
        log.info("anisotropic round %d: loss %.5f", number + 1, loss(sample, numbers, codewords).mean())
    learned = start.with_parts({"assign.codewords": codewords, "score.codewords": codewords})
    return learned, encode_anisotropic(learned, vectors, threshold=threshold)


def encode_anisotropic(quantiser: ProductQuantiser, vectors: Floats, *, threshold: float | None) -> Codes:
    """Codes of vectors [N, d] under the anisotropic loss, block by block."""
    codewords = quantiser.parts()["assign.codewords"]
    codes = np.empty((len(vectors), quantiser.code_bytes), dtype=np.uint8)
    lists = None if quantiser.base is None else np.empty(len(vectors), dtype=np.int64)
    for first in range(0, len(vectors), BLOCK):
        rows = slice(first, first + BLOCK)
        targets, found = targets_of(quantiser, np.asarray(vectors[rows]), threshold=threshold)
        codes[rows] = pack(assign(targets, codewords).astype(np.uint8), bits=quantiser.bits)
        if lists is not None and found is not None:
            lists[rows] = found
    return Codes(codes, lists)


def targets_of(
    quantiser: ProductQuantiser, vectors: Floats, *, threshold: float | None
) -> tuple[Targets, Rows | None]:
    """What the quantiser's codewords are to hit, and the list of each document where there are lists."""
    turned = quantiser.rotate_vectors(vectors)
    lengths = np.linalg.norm(turned, axis=1)
    if not lengths.all():
        raise DataError(
            f"document {int(np.flatnonzero(lengths == 0)[0])} is the zero vector, which has no direction.\n\n"
            "Hint: leave it out, or use `PQ` or `OPQ`."
        )
    directions = turned / lengths[:, None]
    excess = np.zeros(len(turned), dtype=np.float32)
    if threshold is not None:
        excess = parallel_weight(threshold, lengths, turned.shape[1]) - np.float32(1)
    if quantiser.base is None:
        return Targets(turned, directions, excess), None
    lists = quantiser.nearest_lists(vectors)
    if not quantiser.by_residual:
        return Targets(turned, directions, excess), lists
    return Targets(turned - quantiser.parts()["assign.base"][lists], directions, excess), lists


def assign(
    targets: Targets, codewords: Floats, *, start: NDArray[np.int64] | None = None
) -> NDArray[np.int64]:
    """The codeword of each part [N, M]: coordinate descent over the parts, from the nearest or from `start`.

    Each change lowers the document's loss, so it ends; at most MOST_PASSES over the parts.
    """
    blocks = [
        _assign_block(_rows_of(targets, rows), codewords, None if start is None else start[rows])
        for rows in (slice(first, first + BLOCK) for first in range(0, len(targets.vectors), BLOCK))
    ]
    return np.concatenate(blocks) if blocks else np.empty((0, len(codewords)), dtype=np.int64)


def fitted_codewords(targets: Targets, numbers: NDArray[np.int64], codewords: Floats) -> Floats:
    """Codewords [M, K, w] that minimise the loss under these assignments, one part after the other.

    Of a codeword with members i: (Σ I + e_i u_i u_iᵀ) c = Σ x_i + e_i (s_i + <u_i, x_i>) u_i, where u is the part of
    the direction, e the excess and s the parallel error of the other parts. With e = 0 it is the mean of the members.
    One without members stays where it is.
    """
    moved = codewords.copy()
    parallel = _parallel_errors(targets, numbers, codewords)  # [N, M]
    for m in range(len(moved)):
        x, u = _part(targets.vectors, m, moved), _part(targets.directions, m, moved)
        others = parallel.sum(axis=1) - parallel[:, m]
        moved[m] = _solved(x, u, targets.excess, others, numbers[:, m], moved[m])
        parallel[:, m] = np.einsum("nw,nw->n", x - moved[m][numbers[:, m]], u)
    return moved


def loss(targets: Targets, numbers: NDArray[np.int64], codewords: Floats) -> Floats:
    """The anisotropic loss of each document [N]."""
    decoded = codewords[np.arange(len(codewords)), numbers].reshape(len(numbers), -1)
    error = targets.vectors - decoded
    parallel = np.einsum("nd,nd->n", error, targets.directions)
    total: Floats = np.square(error).sum(axis=1) + targets.excess * np.square(parallel)
    return total


def numbers_of(quantiser: ProductQuantiser, codes: Codes) -> NDArray[np.int64]:
    """The codeword numbers [N, M] that codes pack."""
    return unpack(codes.codes, bits=quantiser.bits).astype(np.int64)


def _assign_block(targets: Targets, codewords: Floats, start: NDArray[np.int64] | None) -> NDArray[np.int64]:
    distances, parallel = _errors(targets, codewords)  # [M, N, K] each
    numbers = distances.argmin(axis=2) if start is None else start.T.copy()  # [M, N]
    rows = np.arange(len(targets.vectors))
    total = sum(parallel[m, rows, numbers[m]] for m in range(len(codewords)))
    open_rows = rows[targets.excess != 0]
    for _ in range(MOST_PASSES if len(open_rows) else 0):
        before = numbers[:, open_rows].copy()
        for m in range(len(codewords)):
            own = parallel[m, open_rows]
            others = total[open_rows] - own[np.arange(len(open_rows)), numbers[m, open_rows]]
            cost = distances[m, open_rows] + targets.excess[open_rows, None] * np.square(
                others[:, None] + own
            )
            numbers[m, open_rows] = best = cost.argmin(axis=1)
            total[open_rows] = others + own[np.arange(len(open_rows)), best]
        open_rows = open_rows[(numbers[:, open_rows] != before).any(axis=0)]
        if len(open_rows) == 0:
            break
    return numbers.T.astype(np.int64)


def _errors(targets: Targets, codewords: Floats) -> tuple[Floats, Floats]:
    """Of each sub-vector and codeword: squared error, and the error along the document's direction, [M, N, K]."""
    shape = (len(codewords), len(targets.vectors), codewords.shape[1])
    distances, parallel = np.empty(shape, dtype=np.float32), np.empty(shape, dtype=np.float32)
    for m, words in enumerate(codewords):
        x, u = _part(targets.vectors, m, codewords), _part(targets.directions, m, codewords)
        distances[m] = np.square(words).sum(axis=1) - 2 * x @ words.T
        distances[m] += np.square(x).sum(axis=1)[:, None]
        parallel[m] = np.einsum("nw,nw->n", x, u)[:, None] - u @ words.T
    return distances, parallel


def _parallel_errors(targets: Targets, numbers: NDArray[np.int64], codewords: Floats) -> Floats:
    """[N, M]: the error of each part along the document's direction."""
    errors = [
        np.einsum("nw,nw->n", _part(targets.vectors, m, codewords) - words[numbers[:, m]], u)
        for m, words in enumerate(codewords)
        for u in [_part(targets.directions, m, codewords)]
    ]
    return np.stack(errors, axis=1)


def _solved(
    x: Floats, u: Floats, excess: Floats, others: Floats, numbers: NDArray[np.int64], codewords: Floats
) -> Floats:
    """The best codewords [K, w] of one part, in float64."""
    width = codewords.shape[1]
    counts = np.bincount(numbers, minlength=len(codewords))
    used = np.flatnonzero(counts)
    order = np.argsort(numbers, kind="stable")
    starts = (np.cumsum(counts) - counts)[used]
    target, direction, e, s = (a[order].astype(np.float64) for a in (x, u, excess, others))
    along = e * (s + np.einsum("nw,nw->n", target, direction))
    right = np.add.reduceat(target + along[:, None] * direction, starts, axis=0)
    left = np.empty((len(used), width, width))
    for row in range(width):  # row by row: all of it at once would take n·w² doubles
        left[:, row] = np.add.reduceat((e * direction[:, row])[:, None] * direction, starts, axis=0)
    left += np.eye(width) * counts[used, None, None]
    solved = codewords.copy()
    solved[used] = np.linalg.solve(left, right[:, :, None])[:, :, 0]
    return solved


def _part(vectors: Floats, m: int, codewords: Floats) -> Floats:
    width = codewords.shape[2]
    return vectors[:, m * width : (m + 1) * width]


def _rows_of(targets: Targets, rows: slice) -> Targets:
    return Targets(targets.vectors[rows], targets.directions[rows], targets.excess[rows])
