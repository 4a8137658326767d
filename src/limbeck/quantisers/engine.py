"""k-means, nearest centroids and product codes, done by faiss: arrays in, arrays out, no global state."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from numpy.typing import NDArray

from limbeck.errors import ConfigError, DataError, ShapeError
from limbeck.types import Floats, Rows

log = logging.getLogger(__name__)

BLOCK_SCORES = 2**18  # 1 MB, which stays in a cache
BLOCK_ROWS = 65_536  # rows that are copied, rotated or coded at once: 100 MB at 384 dimensions
MOST = 1e15  # of a number's size: squares of larger ones and their sums leave float32
POINTS_PER_CENTROID = 256  # k-means looks at no more (faiss ClusteringParameters.max_points_per_centroid)
FEW_POINTS_PER_CENTROID = 39  # below it faiss warns on stderr; we log instead


def finite_floats(
    vectors: NDArray[np.floating[Any]], *, name: str, dim: int | None = None, first: int = 0
) -> Floats:
    """[N, d] as contiguous float32, or an error that names the first bad row (counted from `first`)."""
    array = np.asarray(vectors)
    if array.dtype.kind != "f":
        raise DataError(f"`{name}` holds {array.dtype}; must be float16, float32 or float64.")
    if array.ndim != 2:
        raise ShapeError(f"`{name}` has shape {array.shape}; must be [rows, dimensions].")
    if dim is not None and array.shape[1] != dim:
        raise ShapeError(f"`{name}` has {array.shape[1]} dimensions; must be {dim}, as it was trained on.")
    with np.errstate(over="ignore", invalid="ignore"):  # 1e300 becomes inf, refused by the next lines
        floats = np.ascontiguousarray(array, dtype=np.float32)
    if not is_bounded(floats):  # the row is looked up only when there is one
        bad = np.flatnonzero(~(np.abs(floats) <= MOST).all(axis=1))
        raise DataError(
            f"`{name}` row {first + bad[0]} holds NaN or infinite values, or some beyond {MOST:.0e}, one of {len(bad)} "
            "such rows; faiss would store them and never find them again.\n\n"
            f"Hint: look at `numpy.flatnonzero(~(abs({name}) <= {MOST:.0e}).all(axis=1))`."
        )
    return floats


def is_bounded(array: NDArray[Any]) -> bool:
    """Whether no number is NaN, infinite, or so large that a score of it could be. Two passes, no copy."""
    return bool(float(array.max(initial=0)) <= MOST and float(array.min(initial=0)) >= -MOST)


def kmeans(
    vectors: Floats, clusters: int, *, seed: int, iterations: int = 25, start: Floats | None = None
) -> Floats:
    """Centroids [clusters, d] of vectors [N, d] by Lloyd's iterations, from `start` or from random rows.

    Looks at no more than n = 256 rows a cluster, drawn with the seed. Cost: iterations * n * clusters * d.
    """
    import faiss

    if len(vectors) < clusters:
        raise ConfigError(
            f"k-means for {clusters} centroids needs at least {clusters} vectors, found {len(vectors)}."
        )
    if len(vectors) < FEW_POINTS_PER_CENTROID * clusters:
        log.info(
            "k-means: %d vectors for %d centroids is few; 39 a centroid is better", len(vectors), clusters
        )
    trainer = faiss.Kmeans(
        vectors.shape[1],
        clusters,
        niter=iterations,
        seed=seed,
        min_points_per_centroid=1,
        max_points_per_centroid=POINTS_PER_CENTROID,
    )
    trainer.train(vectors, init_centroids=start)
    return np.array(trainer.centroids, dtype=np.float32)


def nearest(vectors: Floats, centroids: Floats) -> Rows:
    """The row [N] of the centroid at least L2 distance from each vector; the first of equals.

    Not by faiss.knn: over fewer than 131,072 numbers it takes up to eight times as long: 6,825 vectors of 12.
    """
    halves = np.square(centroids, dtype=np.float32).sum(axis=1) / 2
    columns = np.ascontiguousarray(centroids.T, dtype=np.float32)
    rows = np.empty(len(vectors), dtype=np.int64)
    step = max(1, BLOCK_SCORES // max(1, len(centroids)))
    for start in range(0, len(vectors), step):
        scores = vectors[start : start + step] @ columns
        rows[start : start + step] = (scores - halves).argmax(axis=1)
    return rows


def train_codewords(
    vectors: Floats, sub_vectors: int, *, bits: int, seed: int, start: Floats | None = None
) -> Floats:
    """Codewords [M, 2^bits, d / M] of vectors [N, d]: k-means in each of M sub-spaces, from `start`."""
    parts = vectors.reshape(len(vectors), sub_vectors, -1)
    return np.stack(
        [
            kmeans(
                np.ascontiguousarray(parts[:, m]),
                2**bits,
                seed=seed + m,
                start=None if start is None else start[m],
            )
            for m in range(sub_vectors)
        ]
    )


def encode_codes(vectors: Floats, codewords: Floats, *, bits: int) -> NDArray[np.uint8]:
    """Packed codes [N, M * bits / 8]: the nearest codeword (L2) in each sub-space."""
    import faiss

    sub_vectors, _, width = codewords.shape
    coder = faiss.ProductQuantizer(sub_vectors * width, sub_vectors, bits)
    faiss.copy_array_to_vector(np.ascontiguousarray(codewords, dtype=np.float32).ravel(), coder.centroids)
    if len(vectors) == 0:
        return np.empty((0, coder.code_size), dtype=np.uint8)
    return np.asarray(coder.compute_codes(vectors), dtype=np.uint8)
