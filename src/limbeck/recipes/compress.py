"""Product quantisation, plain and rotated, with or without coarse lists. Nothing is trained on queries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from limbeck import scores
from limbeck.data.vector_data import VectorData
from limbeck.documents import CodeBank
from limbeck.encoders.given import GivenQueries
from limbeck.errors import ConfigError
from limbeck.train.system import System

if TYPE_CHECKING:
    from limbeck.index.compressed import CodeIndex
    from limbeck.quantisers.product import ProductQuantiser


@dataclass(frozen=True, kw_only=True)
class PQ:
    """K-means in each of M slices of the vectors; scores are M table look-ups.

    Trains: codebooks, and centroids where there are lists (k-means).   Frozen: the encoder.
    Claim:  recall grows with bytes; far below OPQ when the variance of the dimensions is uneven.
    Source: Jégou et al., TPAMI 2011; k-means constants of faiss (25 iterations, 256 points a centroid).
    """

    code_bytes: int = 16
    bits: Literal[4, 8] = 8  # a codeword's index
    lists: int | None = None  # coarse lists; None = one scan over all codes
    seed: int = 0

    def run(self, data: VectorData, start: System | None = None) -> System:
        """Learn codebooks on the documents and encode them."""
        return quantised(self, data, rotate=False)


@dataclass(frozen=True, kw_only=True)
class OPQ:
    """PQ after a learned rotation that spreads the variance evenly over the slices.

    Trains: rotation (Procrustes, alternating with k-means), then as PQ.   Frozen: the encoder.
    Claim:  above PQ at equal bytes on the vectors of transformers; the rotation never changes an exact score.
    Source: Ge et al., CVPR 2013; fewer, warm-started iterations on a sample (`limbeck.quantisers.rotation`).
    """

    code_bytes: int = 16
    bits: Literal[4, 8] = 8
    lists: int | None = None
    seed: int = 0

    def run(self, data: VectorData, start: System | None = None) -> System:
        """Learn rotation and codebooks on the documents and encode them."""
        return quantised(self, data, rotate=True)


def quantised(recipe: PQ | OPQ, data: VectorData, *, rotate: bool) -> System:
    """The system of a quantiser fitted to the documents."""
    from limbeck.quantisers.product import ProductQuantiser

    quantiser = ProductQuantiser(
        code_bytes=recipe.code_bytes, bits=recipe.bits, rotate=rotate, lists=recipe.lists, metric=data.metric
    ).fit(data.documents, seed=recipe.seed)
    return coded(quantiser, data)


def coded(quantiser: ProductQuantiser, data: VectorData) -> System:
    """The system of a fitted quantiser, imported perhaps, over the documents: what a recipe's `start` may be.

    raises  ConfigError where the quantiser compares otherwise than the data
    """
    if quantiser.metric != data.metric:
        raise ConfigError(
            f"the codebook compares by {quantiser.metric!r}, but the vectors by {data.metric!r}; must be the same."
        )
    return System(
        query=GivenQueries(quantiser.dim, rotation=quantiser.rotation, learn_map=False),
        documents=CodeBank(quantiser, quantiser.encode(data.documents)),
        score=scores.for_metric(data.metric),
        index=code_index,
    )


def code_index(system: System) -> CodeIndex:
    """The index over a system's codes, with its codewords and query map as they are now."""
    from limbeck.index.compressed import CodeIndex

    assert isinstance(system.documents, CodeBank)
    moved = system.query.query_map() if isinstance(system.query, GivenQueries) else None
    return CodeIndex(system.documents.learned(), system.documents.stored(), query_map=moved)
