"""OPQ: the rotation under which product codes lose least (Ge et al., CVPR 2013).

Alternates one Lloyd step in every sub-space with the rotation that best maps the vectors onto their decoded
selves (Procrustes). Both steps lower the same distortion, so it never rises. faiss's OPQMatrix runs four
Lloyd steps for each of 50 rotations, from a random start, over 65,536 vectors; one step from principal axes
over fewer gets as far in less time.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from limbeck.quantisers.engine import nearest
from limbeck.types import Floats

log = logging.getLogger(__name__)

SAMPLE = 32_768  # vectors; 128 for each of 256 codewords; fewer fit the sample more than the collection
FEWEST_ROUNDS, MOST_ROUNDS = 25, 50
VECTOR_ROUNDS = 2**20  # vectors times rounds: 32 rounds of the whole sample, 50 of 20,000 vectors or fewer


@dataclass(frozen=True, slots=True)
class Rotation:
    """What the alternation learnt, and how the distortion fell."""

    matrix: Floats  # [d, d] orthogonal; row vectors turn by x @ matrix.T
    codewords: Floats  # [M, K, d / M] of the turned sample
    distortions: tuple[float, ...]  # mean squared error a vector before each rotation; never rises


def learn_rotation(
    vectors: Floats,
    sub_vectors: int,
    *,
    bits: int,
    seed: int,
    rounds: int | None = None,
    sample: int = SAMPLE,
) -> Rotation:
    """The rotation for M = `sub_vectors` codes of `bits` bits, learnt from vectors [N, d].

    Cost a round, n = min(N, sample): n·2^bits·d multiply-adds to assign, 2·n·d² and an SVD of [d, d] to
    rotate.
    """
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.permutation(len(vectors))[:sample])
    rows = np.ascontiguousarray(vectors[chosen], dtype=np.float32)
    matrix = principal_rotation(rows, sub_vectors)
    turned = rows @ matrix.T
    codewords = _random_codewords(turned, sub_vectors, bits=bits, rng=rng)
    numbers = _assign(turned, codewords)
    distortions = []
    for _ in range(usual_rounds(len(rows)) if rounds is None else rounds):
        codewords = _means(turned, numbers, codewords)
        decoded = _decode(codewords, numbers)
        distortions.append(_mean_square(turned - decoded))
        matrix = procrustes(rows, decoded)
        turned = rows @ matrix.T
        numbers = _assign(turned, codewords)
    codewords = _means(turned, numbers, codewords)
    log.info(
        "rotation: mean squared error %.5f to %.5f in %d rounds",
        distortions[0],
        distortions[-1],
        len(distortions),
    )
    return Rotation(matrix, codewords, tuple(distortions))


def usual_rounds(vectors: int) -> int:
    """How many rounds so many vectors are worth: the fewer, the more."""
    return max(FEWEST_ROUNDS, min(MOST_ROUNDS, VECTOR_ROUNDS // max(1, vectors)))


def principal_rotation(vectors: Floats, sub_vectors: int) -> Floats:
    """Principal axes dealt out so that the variances of each sub-space have about the same product.

    Eigenvalue allocation (Ge et al., §3.2): the largest remaining axis goes to the sub-space whose product is
    smallest.
    """
    centred = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    variances, axes = np.linalg.eigh(centred.T @ centred / max(1, len(vectors)))
    order = np.argsort(-variances)
    logs = np.log(np.maximum(variances[order], 1e-12 * max(float(variances.max()), 1e-30)))
    dealt: list[list[int]] = [[] for _ in range(sub_vectors)]
    product = np.zeros(sub_vectors)
    width = vectors.shape[1] // sub_vectors
    for axis, size in zip(order.tolist(), (logs - logs.min()).tolist(), strict=True):
        smallest = min((m for m in range(sub_vectors) if len(dealt[m]) < width), key=lambda m: product[m])
        dealt[smallest].append(axis)
        product[smallest] += size
    return np.ascontiguousarray(axes[:, [axis for axes_of in dealt for axis in axes_of]].T, dtype=np.float32)


def procrustes(vectors: Floats, targets: Floats) -> Floats:
    """The orthogonal [d, d] R that minimises |vectors @ R.T - targets|², through an SVD in float64."""
    left, _, right = np.linalg.svd((targets.T @ vectors).astype(np.float64))
    return np.ascontiguousarray(left @ right, dtype=np.float32)


def _random_codewords(turned: Floats, sub_vectors: int, *, bits: int, rng: np.random.Generator) -> Floats:
    parts = turned.reshape(len(turned), sub_vectors, -1)
    return np.stack(
        [parts[rng.choice(len(parts), size=2**bits, replace=False), m] for m in range(sub_vectors)]
    )


def _assign(turned: Floats, codewords: Floats) -> NDArray[np.int64]:
    """[M, n]: the nearest codeword in each sub-space."""
    width = codewords.shape[2]
    return np.stack(
        [
            nearest(np.ascontiguousarray(turned[:, m * width : (m + 1) * width]), words)
            for m, words in enumerate(codewords)
        ]
    )


def _means(turned: Floats, numbers: NDArray[np.int64], codewords: Floats) -> Floats:
    """Each codeword moved to the mean of its members; one without members stays where it is."""
    moved = codewords.copy()
    width = codewords.shape[2]
    for m, assigned in enumerate(numbers):
        members = turned[np.argsort(assigned, kind="stable"), m * width : (m + 1) * width]
        counts = np.bincount(assigned, minlength=len(moved[m]))
        used = np.flatnonzero(counts)
        starts = (np.cumsum(counts) - counts)[used]
        moved[m, used] = np.add.reduceat(members, starts, axis=0) / counts[used, None]
    return moved


def _decode(codewords: Floats, numbers: NDArray[np.int64]) -> Floats:
    return np.concatenate(
        [words[assigned] for words, assigned in zip(codewords, numbers, strict=True)], axis=1
    )


def _mean_square(errors: Floats) -> float:
    return float(np.einsum("nd,nd->", errors, errors, dtype=np.float64) / len(errors))
