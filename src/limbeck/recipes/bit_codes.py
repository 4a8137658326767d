"""Codes of few bits a dimension: random hyperplanes, ITQ, signs, RaBitQ. Nothing is trained on queries."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from limbeck.data.vector_data import VectorData
from limbeck.errors import ConfigError
from limbeck.recipes.engines import engine_system, refuse_size, second_look, visited
from limbeck.train.system import System
from limbeck.types import Floats

if TYPE_CHECKING:
    from limbeck.index.engine import EngineIndex

TRAINED_ON = 40  # documents for each dimension, for ITQ's rotation


@dataclass(frozen=True, kw_only=True)
class LSH:
    """Bits that say on which side of random hyperplanes a vector lies; scores count the bits that differ.

    Trains: nothing.   Frozen: the encoder.
    Claim:  the expected number of differing bits is angle / pi of all bits; below learned codes of the same size.
    Source: Charikar, STOC 2002; faiss IndexLSH. FALCONN's cross-polytope hashing (a dead package) is nearest to this.
    """

    code_bytes: int = 32  # 8 bits each; more bits than dimensions are allowed
    refine: Literal["none", "sq8", "fp16", "float"] = "none"  # vectors of a second look
    factor: float = 4.0  # candidates of the second look for each hit
    seed: int = 0

    def run(self, data: VectorData, start: System | None = None) -> System:
        """A system whose index is built from the documents by `build()`."""
        return engine_system(data, partial(self._index, data))

    def check_fits(self, documents: int, dim: int) -> None:
        """Raises ConfigError where these constants cannot work with so many vectors of this width."""
        refuse_size(self.code_bytes, most=None, dim=dim, why="")

    def _index(self, data: VectorData, documents: Floats) -> EngineIndex:
        from limbeck.quantisers.faiss_build import bits_of, filled

        self.check_fits(*documents.shape)
        engine = bits_of(documents.shape[1], code_bytes=self.code_bytes, seed=self.seed)
        engine = filled(engine, documents)
        return second_look(engine, documents, data, refine=self.refine, factor=self.factor)


@dataclass(frozen=True, kw_only=True)
class ITQ:
    """Bits after PCA and the rotation that brings vectors nearest to the corners of a cube.

    Trains: PCA and rotation (Procrustes, alternating with signs).   Frozen: the encoder.
    Claim:  above LSH at equal bits; the loss |sign(VR) - VR|² never rises; no more bits than dimensions.
    Source: Gong & Lazebnik, CVPR 2011; 50 iterations as there; bits by faiss IndexLSH.
    """

    code_bytes: int = 32  # 8 bits each; at most one bit a dimension
    iterations: int = 50  # of the rotation
    refine: Literal["none", "sq8", "fp16", "float"] = "none"  # vectors of a second look
    factor: float = 4.0  # candidates of the second look for each hit
    seed: int = 0

    def run(self, data: VectorData, start: System | None = None) -> System:
        """A system whose index is built from the documents by `build()`."""
        return engine_system(data, partial(self._index, data))

    def check_fits(self, documents: int, dim: int) -> None:
        """Raises ConfigError where these constants cannot work with so many vectors of this width."""
        refuse_size(self.code_bytes, most=dim // 8, dim=dim, why="ITQ has at most one bit a dimension")

    def _index(self, data: VectorData, documents: Floats) -> EngineIndex:
        from limbeck.quantisers.faiss_build import bits_of, filled, rotation_of, sample, through
        from limbeck.quantisers.itq import learn_cube_rotation

        self.check_fits(*documents.shape)
        bits = 8 * self.code_bytes
        rows = sample(documents, rows=TRAINED_ON * documents.shape[1], seed=self.seed)
        learned = learn_cube_rotation(rows, bits, iterations=self.iterations, seed=self.seed)
        rotation = rotation_of(learned.matrix, offset=learned.offset)
        engine = through([rotation], bits_of(bits, code_bytes=self.code_bytes, seed=None))
        engine = filled(engine, documents)
        return second_look(engine, documents, data, refine=self.refine, factor=self.factor)


@dataclass(frozen=True, kw_only=True)
class Binary:
    """The sign of each dimension, scanned by differing bits and scored again, or scored with the whole query at once.

    Trains: nothing.   Frozen: the encoder.
    Claim:  32 times smaller; rescoring brings it from about 92 % to 96 % of the quality of whole vectors.
    Source: sentence-transformers' binary quantisation (Shakir et al., 2024). "signs": ±mean(|x|) against the whole
            query, which is its rescoring of all documents by one scan of look-ups; "none": bits against bits.
    """

    rescore: Literal["signs", "none", "sq8", "fp16", "float"] = "signs"  # what the final scores are from
    factor: float = 4.0  # candidates of the second look for each hit, with sq8, fp16 and float

    def run(self, data: VectorData, start: System | None = None) -> System:
        """A system whose index is built from the documents by `build()`."""
        return engine_system(data, partial(self._index, data))

    def check_fits(self, documents: int, dim: int) -> None:
        """Raises ConfigError where these constants cannot work with so many vectors of this width."""
        if dim % 8:
            raise ConfigError(f"sign bits fill whole bytes: the width must be a multiple of 8, got {dim}.")

    def _index(self, data: VectorData, documents: Floats) -> EngineIndex:
        from limbeck.quantisers.faiss_build import bits_of, filled, sign_codes

        self.check_fits(*documents.shape)
        if self.rescore == "signs":
            return second_look(
                sign_codes(documents, metric=data.metric), documents, data, refine="none", factor=1.0
            )
        dim = documents.shape[1]
        engine = filled(bits_of(dim, code_bytes=dim // 8, seed=None), documents)
        return second_look(engine, documents, data, refine=self.rescore, factor=self.factor)


@dataclass(frozen=True, kw_only=True)
class RaBitQ:
    """Rotated vectors on the best-scaled grid of 1 to 4 bits a dimension, with factors that undo the bias.

    Trains: the mean, or centroids where there are lists.   Frozen: the encoder.
    Claim:  unbiased scores, error of order 1/sqrt(d); at its own sizes (d·bits/8 bytes and factors) ahead of PQ.
    Source: Gao & Long, SIGMOD 2024, and Gao et al., SIGMOD 2025; faiss IndexRaBitQ behind a random rotation.
    """

    bits: Literal[1, 2, 3, 4] = 1  # of each dimension
    query_bits: int = 8  # of each dimension of a query in the first scan; 0 = floats, a hundred times slower
    lists: int | None = None  # coarse lists; None = one scan over all codes
    refine: Literal["none", "sq8", "fp16", "float"] = "none"  # vectors of a second look
    factor: float = 4.0  # candidates of the second look for each hit
    probes: int | None = None  # lists that a search visits; None = a tenth, at least 8
    seed: int = 0

    def run(self, data: VectorData, start: System | None = None) -> System:
        """A system whose index is built from the documents by `build()`."""
        return engine_system(data, partial(self._index, data))

    def check_fits(self, documents: int, dim: int) -> None:
        """Raises ConfigError where these constants cannot work with so many vectors of this width."""
        from limbeck.quantisers.faiss_build import refuse_lists

        if self.bits not in (1, 2, 3, 4):
            raise ConfigError(f"`bits` must be 1, 2, 3 or 4, got {self.bits!r}.")
        if not 0 <= self.query_bits <= 8:
            raise ConfigError(f"`query_bits` must be in 0..8 (0 = floats), got {self.query_bits!r}.")
        if self.lists is not None:
            refuse_lists(self.lists, documents)

    def _index(self, data: VectorData, documents: Floats) -> EngineIndex:
        import faiss

        from limbeck.quantisers.faiss_build import (
            Turned,
            faiss_metric,
            filled,
            random_rotation,
            sample,
            through,
            with_lists,
        )

        self.check_fits(*documents.shape)
        rotation = random_rotation(documents.shape[1], seed=self.seed)
        turned = Turned(documents, rotation)
        if self.lists is None:
            engine = faiss.IndexRaBitQ(documents.shape[1], faiss_metric(data.metric), self.bits)
            engine.train(sample(turned, seed=self.seed))
            filled(engine, turned)
        else:
            own_lists = True

            def make(coarse: Any, dim: int, lists: int, metric: int) -> Any:
                return faiss.IndexIVFRaBitQ(coarse, dim, lists, metric, own_lists, self.bits)

            engine = with_lists(make, turned, lists=self.lists, metric=data.metric, seed=self.seed)
        engine.qb = self.query_bits
        return second_look(
            through([rotation], engine),
            documents,
            data,
            refine=self.refine,
            factor=self.factor,
            effort=visited(self.lists, self.probes),
        )
