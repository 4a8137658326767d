"""Pieces that faiss engines are put together from: whole vectors at three precisions, lists, graphs, cuts.

Documents may be memory maps: they are read block by block, but for the graph, which needs all of them.
Letters: N documents, d dimension, e dimension after a cut, L lists.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal, TypeAlias

import numpy as np

from limbeck.errors import ConfigError
from limbeck.quantisers.engine import BLOCK_ROWS, POINTS_PER_CENTROID, finite_floats
from limbeck.types import Floats, Metric

Stored: TypeAlias = Literal["float", "fp16", "sq8"]  # 4, 2 or 1 bytes a dimension
SAMPLE_ROWS = 65_536  # as many as k-means looks at for 256 centroids
Source: TypeAlias = "Floats | Turned"  # documents [N, d]
UNIT = 1e-3  # how far lengths may differ and still count as equal
FIRST_DIMENSIONS = False  # third argument of RemapDimensionsTransform; True spreads them evenly


def faiss_metric(metric: Metric) -> int:
    """The number by which faiss names a metric."""
    import faiss

    return int(faiss.METRIC_INNER_PRODUCT if metric == "ip" else faiss.METRIC_L2)


def blocks(vectors: Source) -> Iterator[Floats]:
    """[N, d] as contiguous float32 parts; DataError names the first row with NaN or infinity."""
    for start in range(0, len(vectors), BLOCK_ROWS):
        yield finite_floats(vectors[start : start + BLOCK_ROWS], name="documents", first=start)


def sample(vectors: Source, *, rows: int = SAMPLE_ROWS, seed: int) -> Floats:
    """At most so many rows, drawn with the seed: what engines are trained on."""
    if len(vectors) <= rows:
        return finite_floats(vectors[:], name="documents")
    chosen = np.random.default_rng(seed).choice(len(vectors), size=rows, replace=False)
    return finite_floats(vectors[np.sort(chosen)], name="documents")


def filled(index: Any, vectors: Source) -> Any:
    """The trained faiss index with all rows added, in order."""
    for block in blocks(vectors):
        index.add(block)
    return index


def whole_vectors(vectors: Source, *, store: Stored, metric: Metric) -> Any:
    """All rows at 4, 2 or 1 bytes a dimension, in an index that scans them."""
    return filled(empty_store(vectors, store=store, metric=metric), vectors)


def empty_store(vectors: Source, *, store: Stored, metric: Metric) -> Any:
    """An index for these rows at that precision, still without them."""
    import faiss

    dim, kind = vectors.shape[1], faiss_metric(metric)
    if store == "float":
        return faiss.IndexFlat(dim, kind)
    if store == "fp16":
        return faiss.IndexScalarQuantizer(dim, faiss.ScalarQuantizer.QT_fp16, kind)
    index = faiss.IndexScalarQuantizer(dim, faiss.ScalarQuantizer.QT_8bit, kind)
    index.train(value_range(blocks(vectors)))
    return index


def value_range(parts: Iterator[Floats]) -> Floats:
    """[2, d]: the least and largest value of each dimension. Trained on it, int8 clips no document."""
    low: Floats | None = None
    high: Floats | None = None
    for block in parts:
        low = block.min(axis=0) if low is None else np.minimum(low, block.min(axis=0))
        high = block.max(axis=0) if high is None else np.maximum(high, block.max(axis=0))
    if low is None or high is None:
        raise ConfigError("there are no documents to build from; expected at least one.")
    return np.stack([low, high])


def refined(index: Any, vectors: Floats, *, store: Stored, factor: float, metric: Metric) -> Any:
    """The index with a second look: the best factor·k are scored again on vectors at that precision."""
    import faiss

    if factor < 1:
        raise ConfigError(f"`factor` must be at least 1 (candidates for each hit), got {factor!r}.")
    index.metric_type = faiss_metric(metric)  # bits are compared by distance; the second look by the metric
    both = faiss.IndexRefine(index, whole_vectors(vectors, store=store, metric=metric))
    both.k_factor = factor
    return both


def with_lists(
    make: Callable[[Any, int, int, int], Any], vectors: Source, *, lists: int, metric: Metric, seed: int
) -> Any:
    """An IVF index: `make(coarse, d, L, faiss metric)` trained on a sample, then filled.

    faiss's own training: for inner product on the sphere, since lists are chosen by inner product there.
    """
    import faiss

    refuse_lists(lists, len(vectors))
    dim, kind = vectors.shape[1], faiss_metric(metric)
    index = make(faiss.IndexFlat(dim, kind), dim, lists, kind)
    index.cp.seed = seed
    index.cp.min_points_per_centroid = 1  # faiss would warn on stderr
    index.train(sample(vectors, rows=max(SAMPLE_ROWS, POINTS_PER_CENTROID * lists), seed=seed))
    return filled(index, vectors)


def refuse_lists(lists: int, documents: int) -> None:
    """Raises ConfigError where there are more lists than documents, or none."""
    if not 1 <= lists <= documents:
        raise ConfigError(
            f"`lists` is {lists}, but there are {documents} documents; must be in 1..{documents}.\n\n"
            f"Hint: about the square root of their number is usual: {max(1, round(documents**0.5))}."
        )


def graph(vectors: Floats, *, links: int, ef_construction: int, metric: Metric, seed: int) -> Any:
    """An HNSW graph over float vectors. 4·N·d bytes and 8·N·links while it is built.

    For inner products of vectors of several lengths, the graph is made over vectors lifted by one dimension
    to the largest length, where inner product and distance agree (Bachrach et al., RecSys 2014); without
    it short vectors cannot be reached. The graph fits any store of the same rows: see `on_graph`.
    """
    import faiss

    lengths = np.concatenate([np.linalg.norm(block, axis=1) for block in blocks(vectors)])
    lift = metric == "ip" and float(np.ptp(lengths)) > UNIT * float(lengths.max())
    index = faiss.IndexHNSWFlat(vectors.shape[1] + lift, links, faiss_metric("l2"))
    index.hnsw.efConstruction = ef_construction
    index.hnsw.rng = faiss.RandomGenerator(seed)
    largest, start = np.square(lengths.astype(np.float64)).max(), 0
    for block in blocks(vectors):
        if lift:
            missing = largest - np.square(lengths[start : start + len(block)].astype(np.float64))
            block = np.hstack([block, np.sqrt(np.maximum(missing, 0))[:, None].astype(np.float32)])
        index.add(np.ascontiguousarray(block))
        start += len(block)
    return index.hnsw, index


def on_graph(index: Any, built: Any) -> Any:
    """An IndexHNSW whose storage already holds the rows, with the graph that `graph` made of them."""
    import faiss

    index.hnsw = built[0]
    index.hnsw.is_similarity = (
        index.metric_type == faiss.METRIC_INNER_PRODUCT
    )  # the graph was made by distance
    index.ntotal = faiss.downcast_index(index.storage).ntotal
    index.is_trained = True
    return index


def principal_axes(vectors: Floats, kept: int, *, metric: Metric, seed: int) -> Any:
    """A linear transform [e, d] to the directions that matter most to scores, most first, without centring.

    For "l2" those of the variance; for "ip" those of the second moment: centring would add a term to every
    inner product that differs between documents.
    """
    rows = sample(vectors, seed=seed).astype(np.float64)
    centred = rows - rows.mean(axis=0) if metric == "l2" else rows
    axes = np.linalg.eigh(centred.T @ centred)[1][:, ::-1][:, :kept].T
    return rotation_of(axes)


def rotation_of(matrix: Floats, *, offset: Floats | None = None) -> Any:
    """The faiss transform x @ matrix.T + offset for a matrix [e, d] with orthonormal rows."""
    import faiss

    transform = faiss.LinearTransform(matrix.shape[1], matrix.shape[0], offset is not None)
    faiss.copy_array_to_vector(np.ascontiguousarray(matrix, dtype=np.float32).ravel(), transform.A)
    if offset is not None:
        faiss.copy_array_to_vector(np.ascontiguousarray(offset, dtype=np.float32), transform.b)
    transform.is_trained = True
    transform.set_is_orthonormal()
    return transform


def first_dimensions(vectors: Floats, kept: int, *, metric: Metric) -> list[Any]:
    """The transforms of a Matryoshka cut: the first e dimensions, and unit length again where there was one."""
    import faiss

    cut = [faiss.RemapDimensionsTransform(vectors.shape[1], kept, FIRST_DIMENSIONS)]
    unit = all(np.abs(np.linalg.norm(block, axis=1) - 1).max() < UNIT for block in blocks(vectors))
    return [*cut, faiss.NormalizationTransform(kept, 2.0)] if unit and metric == "ip" else cut


def through(transforms: list[Any], inner: Any) -> Any:
    """The index behind these transforms, which documents and queries pass in order."""
    import faiss

    outer = faiss.IndexPreTransform(inner)
    for transform in reversed(transforms):
        outer.prepend_transform(transform)
    return outer


class Turned:
    """Documents [N, d] that pass transforms when they are read, block by block: [N, e], and never all at once."""

    def __init__(self, vectors: Floats, *transforms: Any) -> None:
        self._vectors, self._transforms = vectors, transforms
        self.shape = (len(vectors), int(transforms[-1].d_out))

    def __len__(self) -> int:
        return len(self._vectors)

    def __getitem__(self, rows: Any) -> Floats:
        part: Floats = finite_floats(self._vectors[rows], name="documents")
        for transform in self._transforms:
            part = transform.apply(part)
        return part


def random_rotation(dim: int, *, seed: int) -> Any:
    """A rotation [d, d] drawn with the seed."""
    import faiss

    rotation = faiss.RandomRotationMatrix(dim, dim)
    rotation.init(seed)
    return rotation


def scalar_lists(store: Literal["fp16", "sq8"]) -> Callable[[Any, int, int, int], Any]:
    """What `with_lists` makes an index with, of what remains after the centroid, at 2 or 1 bytes a dimension."""
    import faiss

    def make(coarse: Any, dim: int, lists: int, metric: int) -> Any:
        return faiss.IndexIVFScalarQuantizer(coarse, dim, lists, scalar_kind(store), metric)

    return make


def scalar_kind(store: Literal["fp16", "sq8"]) -> int:
    """The number by which faiss names 2 or 1 bytes a dimension."""
    import faiss

    kinds = {"fp16": faiss.ScalarQuantizer.QT_fp16, "sq8": faiss.ScalarQuantizer.QT_8bit}
    return int(kinds[store])


def sign_codes(vectors: Floats, *, metric: Metric) -> Any:
    """The signs of all dimensions, d/8 bytes, scored against the whole query as ±mean(|x|) of all values.

    Product codes of 8 dimensions whose 256 codewords are the corners of a cube: M = d/8 look-ups a document.
    """
    import faiss

    dim, total = vectors.shape[1], 0.0
    for block in blocks(vectors):
        total += float(np.abs(block).sum(dtype=np.float64))
    corners = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little") * 2.0 - 1
    codewords = np.tile(corners * (total / max(1, len(vectors) * dim)), (dim // 8, 1, 1))
    index = faiss.IndexPQ(dim, dim // 8, 8, faiss_metric(metric))
    faiss.copy_array_to_vector(codewords.astype(np.float32).ravel(), index.pq.centroids)
    index.is_trained = True
    return filled(index, vectors)


def bits_of(dim: int, *, code_bytes: int, seed: int | None) -> Any:
    """An index of sign bits, compared by how many differ: of random hyperplanes, or (seed None) of the dimensions."""
    import faiss

    rotated, thresholds = seed is not None, False
    index = faiss.IndexLSH(dim, 8 * code_bytes, rotated, thresholds)
    if seed is not None:
        index.rrot.init(seed)
    return index
