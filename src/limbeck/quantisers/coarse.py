"""Coarse lists: centroids that say where a document lies, so that search visits only some of them."""

from __future__ import annotations

import math

from limbeck.errors import ConfigError
from limbeck.quantisers.engine import kmeans, nearest
from limbeck.types import Floats, Rows


def default_lists(documents: int) -> int:
    """About sqrt(N) lists: 224 for 50,000 documents. faiss advises sqrt(N) to 4 sqrt(N)."""
    return max(1, round(math.sqrt(documents)))


def train_lists(vectors: Floats, lists: int, *, seed: int) -> Floats:
    """Base centroids [L, d] by plain k-means, also for inner product.

    faiss clusters on the sphere for inner product. Residuals are shortest around plain means, so documents
    are assigned to the L2-nearest mean here; only the choice of lists for a query uses the inner product.
    """
    if lists > len(vectors):
        raise ConfigError(
            f"`lists` is {lists} but there are only {len(vectors)} vectors; each list needs at least one.\n\n"
            f"Hint: use lists={default_lists(len(vectors))} (the square root), or lists=None for a full scan."
        )
    return kmeans(vectors, lists, seed=seed)


def assign_lists(vectors: Floats, base: Floats) -> Rows:
    """The list [N] of each vector: the L2-nearest base centroid."""
    return nearest(vectors, base)
