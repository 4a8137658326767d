"""Integers, cut dimensions, and sums of codewords from faiss. Nothing is trained on queries."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from limbeck.data.vector_data import VectorData
from limbeck.errors import ConfigError
from limbeck.recipes.engines import engine_system, refuse_size, visited
from limbeck.train.system import System
from limbeck.types import Floats, Metric

if TYPE_CHECKING:
    from limbeck.index.engine import EngineIndex


@dataclass(frozen=True, kw_only=True)
class SQ8:
    """Each dimension as one byte between its least and largest value.

    Trains: the ranges.   Frozen: the encoder.
    Claim:  four times smaller at 99 % of the quality; no value is off by more than half a step of its range.
    Source: faiss IndexScalarQuantizer, QT_8bit; int8 of sentence-transformers and of most vector databases.
    """

    lists: int | None = None  # coarse lists; None = one scan over all codes
    probes: int | None = None  # lists that a search visits; None = a tenth, at least 8
    seed: int = 0

    def run(self, data: VectorData, start: System | None = None) -> System:
        """A system whose index is built from the documents by `build()`."""
        return engine_system(data, partial(self._index, data))

    def check_fits(self, documents: int, dim: int) -> None:
        """Raises ConfigError where these constants cannot work with so many vectors of this width."""
        from limbeck.quantisers.faiss_build import refuse_lists

        if self.lists is not None:
            refuse_lists(self.lists, documents)

    def _index(self, data: VectorData, documents: Floats) -> EngineIndex:
        from limbeck.index.engine import EngineIndex
        from limbeck.quantisers.faiss_build import scalar_lists, whole_vectors, with_lists

        if self.lists is None:
            return EngineIndex(whole_vectors(documents, store="sq8", metric=data.metric), metric=data.metric)
        engine = with_lists(
            scalar_lists("sq8"), documents, lists=self.lists, metric=data.metric, seed=self.seed
        )
        return EngineIndex(engine, metric=data.metric, default_effort=visited(self.lists, self.probes))


@dataclass(frozen=True, kw_only=True)
class PCASQ8:
    """Fewer dimensions, by principal axes or by keeping the first ones (Matryoshka), then one byte for each.

    Trains: axes and ranges.   Frozen: the encoder.
    Claim:  strong down to about 128 bytes; below that product and residual codes win.
    Source: Kusupati et al., NeurIPS 2022 (Matryoshka, for encoders trained so); PCA without centring for "ip".
    """

    code_bytes: int = 128  # dimensions kept, one byte each
    cut: Literal["pca", "matryoshka"] = "pca"  # principal axes, or the first dimensions, made unit again
    seed: int = 0

    def run(self, data: VectorData, start: System | None = None) -> System:
        """A system whose index is built from the documents by `build()`."""
        return engine_system(data, partial(self._index, data))

    def check_fits(self, documents: int, dim: int) -> None:
        """Raises ConfigError where these constants cannot work with so many vectors of this width."""
        refuse_size(self.code_bytes, most=dim, dim=dim, why="a cut keeps at most all dimensions, a byte each")

    def _index(self, data: VectorData, documents: Floats) -> EngineIndex:
        from limbeck.index.engine import EngineIndex
        from limbeck.quantisers.faiss_build import (
            Turned,
            first_dimensions,
            principal_axes,
            through,
            whole_vectors,
        )

        self.check_fits(*documents.shape)
        if self.cut == "pca":
            chain = [principal_axes(documents, self.code_bytes, metric=data.metric, seed=self.seed)]
        else:
            chain = first_dimensions(documents, self.code_bytes, metric=data.metric)
        inner = whole_vectors(Turned(documents, *chain), store="sq8", metric=data.metric)
        return EngineIndex(through(chain, inner), metric=data.metric)


@dataclass(frozen=True, kw_only=True)
class ResidualVQ:
    """Sums of full-width codewords, each chosen for what the ones before leave over; a beam keeps several choices open.

    Trains: codebooks (k-means of residuals).   Frozen: the encoder.
    Claim:  less distortion than OPQ at equal bytes, for slower coding and M·256·d numbers of codebooks.
    Source: Chen et al., Sensors 2010; Babenko & Lempitsky, CVPR 2014; faiss IndexResidualQuantizer, look-ups.
    """

    code_bytes: int = 16  # a codeword each; with "l2" the last byte is the norm
    lists: int | None = None  # coarse lists; None = one scan over all codes
    beam: int = 5  # choices kept open while coding
    probes: int | None = None  # lists that a search visits; None = a tenth, at least 8
    seed: int = 0

    def run(self, data: VectorData, start: System | None = None) -> System:
        """A system whose index is built from the documents by `build()`."""
        return engine_system(data, partial(self._index, data))

    def check_fits(self, documents: int, dim: int) -> None:
        """Raises ConfigError where these constants cannot work with so many vectors of this width."""
        refuse_additive(self.code_bytes, self.lists, documents)

    def _index(self, data: VectorData, documents: Floats) -> EngineIndex:
        import faiss

        def flat(*arguments: Any) -> Any:
            return configured(faiss.IndexResidualQuantizer(*arguments))

        def inverted(*arguments: Any) -> Any:
            return configured(faiss.IndexIVFResidualQuantizer(*arguments))

        def configured(engine: Any) -> Any:
            engine.rq.max_beam_size = self.beam
            engine.rq.cp.seed = self.seed
            engine.rq.cp.min_points_per_centroid = 1  # faiss would warn on stderr
            return engine

        return additive_index(self, data, documents, flat=flat, inverted=inverted)


@dataclass(frozen=True, kw_only=True)
class LocalSearchVQ:
    """Sums of full-width codewords, chosen together by iterated local search. Slow to train and to code.

    Trains: codebooks (alternating least squares and local search).   Frozen: the encoder.
    Claim:  less distortion than residual codes at equal bytes on descriptors of images; coding costs far more.
    Source: Martinez et al., ECCV 2016 and 2018 (LSQ++); faiss IndexLocalSearchQuantizer, look-ups.
    """

    code_bytes: int = 16  # a codeword each; with "l2" the last byte is the norm
    lists: int | None = None  # coarse lists; None = one scan over all codes
    iterations: int = 25  # of training
    perturbed: int = 4  # codes changed at random before each local search
    searches: int = 16  # local searches for each document
    probes: int | None = None  # lists that a search visits; None = a tenth, at least 8
    seed: int = 0

    def run(self, data: VectorData, start: System | None = None) -> System:
        """A system whose index is built from the documents by `build()`."""
        return engine_system(data, partial(self._index, data))

    def check_fits(self, documents: int, dim: int) -> None:
        """Raises ConfigError where these constants cannot work with so many vectors of this width."""
        refuse_additive(self.code_bytes, self.lists, documents)

    def _index(self, data: VectorData, documents: Floats) -> EngineIndex:
        import faiss

        def flat(*arguments: Any) -> Any:
            return configured(faiss.IndexLocalSearchQuantizer(*arguments))

        def inverted(*arguments: Any) -> Any:
            return configured(faiss.IndexIVFLocalSearchQuantizer(*arguments))

        def configured(engine: Any) -> Any:
            engine.lsq.train_iters = self.iterations
            engine.lsq.nperts = self.perturbed
            engine.lsq.encode_ils_iters = self.searches
            engine.lsq.random_seed = self.seed
            return engine

        return additive_index(self, data, documents, flat=flat, inverted=inverted)


def additive_index(
    recipe: ResidualVQ | LocalSearchVQ, data: VectorData, documents: Floats, *, flat: Any, inverted: Any
) -> EngineIndex:
    """The index of additive codes: `flat(d, M, 8, metric, how)` or `inverted(coarse, d, L, M, 8, metric, how)`."""
    from limbeck.index.engine import EngineIndex
    from limbeck.quantisers.faiss_build import faiss_metric, filled, sample, with_lists

    recipe.check_fits(*documents.shape)
    parts, how = additive_scores(recipe.code_bytes, data.metric)
    if recipe.lists is None:
        engine = flat(documents.shape[1], parts, 8, faiss_metric(data.metric), how)
        engine.train(sample(documents, seed=recipe.seed))
        return EngineIndex(filled(engine, documents), metric=data.metric)

    def make(coarse: Any, dim: int, lists: int, metric: int) -> Any:
        return inverted(coarse, dim, lists, parts, 8, metric, how)

    engine = with_lists(make, documents, lists=recipe.lists, metric=data.metric, seed=recipe.seed)
    return EngineIndex(engine, metric=data.metric, default_effort=visited(recipe.lists, recipe.probes))


def additive_scores(code_bytes: int, metric: Metric) -> tuple[int, int]:
    """Codewords a document, and how faiss scores them: distances need the norm of the sum, one byte of it."""
    import faiss

    if metric == "ip":
        return code_bytes, int(faiss.AdditiveQuantizer.ST_LUT_nonorm)
    if code_bytes < 2:
        raise ConfigError(
            f"`code_bytes` must be at least 2 for 'l2', one of them for the norm; got {code_bytes}."
        )
    return code_bytes - 1, int(faiss.AdditiveQuantizer.ST_norm_qint8)


def refuse_additive(code_bytes: int, lists: int | None, documents: int) -> None:
    """Raises ConfigError for additive codes that cannot be learned from so many documents."""
    from limbeck.quantisers.faiss_build import refuse_lists

    refuse_size(code_bytes, most=None, dim=0, why="")
    if documents < 256:
        raise ConfigError(f"8-bit codes need at least 256 documents to learn from, found {documents}.")
    if lists is not None:
        refuse_lists(lists, documents)
