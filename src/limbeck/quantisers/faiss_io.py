"""Product quantisers and codes to faiss indexes and back, byte for byte. Only here faiss is taken apart.

Going out, given codes and given lists are written as they are: nothing is decoded, encoded or assigned again.
Coming in, the same holds, whoever built the index. A plain faiss file has no room for two things:

- parts that assign, where they differ from those that score: the file scores alike, but documents that
  faiss adds to it later are coded with the wrong codewords (logged as a warning);
- routing vectors apart from the base centroids: refused unless `routing="base"` says to drop them.
"""

from __future__ import annotations

import logging
import threading
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from limbeck.errors import ConfigError, CorruptArtefact, DataError
from limbeck.quantisers.faiss_checks import (
    refuse_other_codes,
    refuse_others,
    refuse_unsound_codes,
    refuse_unsound_lists,
)
from limbeck.quantisers.product import ProductQuantiser
from limbeck.types import Codes, Floats, Metric, Rows

log = logging.getLogger(__name__)

LARGEST_L2_TABLE = 256 * 2**20  # bytes; beyond it faiss computes L2 tables list by list, with the same scores
NO_BIAS = False  # third argument of LinearTransform
SMALLEST_READ_LIMIT = 64 * 2**20  # bytes one array of a file may claim; or twice the file, if that is more
_read_limit = threading.Lock()  # faiss keeps the limit in a global


def to_faiss(
    quantiser: ProductQuantiser,
    codes: Codes,
    *,
    query_map: Floats | None = None,
    routing: Literal["keep", "base"] = "keep",
    probes: int = 1,
) -> Any:
    """A faiss index over these very codes: IndexPQ or IndexIVFPQ, behind a transform if there is a rotation.

    Row i has id i. `query_map` [d, d] is folded into the rotation: searching is right, adding documents is
    not. `probes` lists are visited by each search. Raises ConfigError where `routing` differs from `base` and
    should be kept: plain faiss cannot hold both.
    """
    if routing == "keep" and not same(quantiser.routing, quantiser.base):
        raise ConfigError(
            "queries are routed by vectors of their own; a plain faiss file has base centroids only.\n\n"
            "Hint: `to_faiss(quantiser, codes, routing='base')` drops them, which costs recall at few lists."
        )
    if query_map is not None:
        log.warning(
            "faiss file holds the learned query map in its rotation; do not add documents to it with faiss"
        )
    if not (
        same(quantiser.assign_codewords, quantiser.score_codewords)
        and same(quantiser.assign_base, quantiser.base)
    ):
        log.warning("faiss file keeps the parts that score; do not add documents to it with faiss")
    index = plain_index(quantiser, codes, query_map=query_map)
    if quantiser.base is not None:
        import faiss

        faiss.extract_index_ivf(index).nprobe = probes
    return index


def plain_index(quantiser: ProductQuantiser, codes: Codes, *, query_map: Floats | None) -> Any:
    """What `to_faiss` gives, whatever is lost by it: the routing vectors and the parts that assign."""
    inner = code_scanner(quantiser, codes)
    turn = query_transform(quantiser, query_map)
    if turn is None:
        return inner
    import faiss

    outer = faiss.IndexPreTransform(inner)
    transform = faiss.LinearTransform(turn.shape[1], turn.shape[0], NO_BIAS)
    faiss.copy_array_to_vector(np.ascontiguousarray(turn, dtype=np.float32).ravel(), transform.A)
    transform.is_trained = True
    transform.set_is_orthonormal()
    outer.prepend_transform(transform)
    transform.this.disown()
    inner.this.disown()
    outer.own_fields = True
    return outer


def code_scanner(quantiser: ProductQuantiser, codes: Codes) -> Any:
    """The faiss index behind the rotation: it takes queries that are already turned."""
    import faiss

    codewords = quantiser.score_codewords
    if codewords is None:
        raise ConfigError(
            "this quantiser is not trained.\n\nHint: call `quantiser.fit(vectors, seed=0)` first."
        )
    quantiser.check_codes(codes)
    metric = _faiss_metric(quantiser.metric)
    sub_vectors, _, width = codewords.shape
    if quantiser.base is None:
        index = faiss.IndexPQ(sub_vectors * width, sub_vectors, quantiser.bits, metric)
        faiss.copy_array_to_vector(np.ascontiguousarray(codes.codes).ravel(), index.codes)
    else:
        index = _empty_lists(quantiser, metric)
        _fill_lists(index, codes)
    index.pq.train_type = faiss.ProductQuantizer.Train_default
    faiss.copy_array_to_vector(np.ascontiguousarray(codewords, dtype=np.float32).ravel(), index.pq.centroids)
    index.is_trained = True
    index.ntotal = len(codes)
    prepare_tables(index)
    return index


def prepare_tables(index: Any) -> None:
    """L2 tables of an IVF index; they must be made again whenever its centroids or codewords change."""
    import faiss

    if (
        not isinstance(index, faiss.IndexIVFPQ)
        or not index.by_residual
        or index.metric_type != faiss.METRIC_L2
        or index.quantizer.metric_type != faiss.METRIC_L2
    ):
        return
    if 4 * index.nlist * index.pq.M * index.pq.ksub > LARGEST_L2_TABLE:
        index.use_precomputed_table = -1
    else:
        index.use_precomputed_table = 1
    index.precompute_table()


def query_transform(quantiser: ProductQuantiser, query_map: Floats | None) -> Floats | None:
    """The matrix T [e, d] that queries pass, q @ T.T: query map, then rotation. None = as they are."""
    if query_map is None:
        return quantiser.rotation
    return query_map if quantiser.rotation is None else quantiser.rotation @ query_map


def from_faiss(index: Any) -> tuple[ProductQuantiser, Codes, Rows]:
    """The quantiser, codes and ids of a faiss IndexPQ or IndexIVFPQ, or of a file; rows by ascending id.

    Takes OPQ, PCA and other affine transforms in front, and id maps around. Raises ConfigError for what would not score
    alike, with the reason.
    """
    import faiss

    is_file = isinstance(index, str) or hasattr(index, "__fspath__")
    owner = read_faiss(index) if is_file else index  # stays in scope: its parts are freed with it
    inner, transforms, ids = _unwrapped(faiss.downcast_index(owner))
    refuse_others(inner)
    refuse_unsound_codes(inner)
    quantiser = _quantiser_of(inner, _affine(transforms))
    codes, numbers = codes_of(inner)
    if ids is None:
        return quantiser, codes, numbers
    names = _mapped(ids, numbers)
    order = np.argsort(names, kind="stable")
    lists = None if codes.lists is None else codes.lists[order]
    return quantiser, Codes(codes.codes[order], lists), names[order]


def codes_of(index: Any) -> tuple[Codes, Rows]:
    """Codes and ids of an IndexPQ or IndexIVFPQ, by ascending id: copies."""
    import faiss

    if not isinstance(index, faiss.IndexIVFPQ):
        codes = faiss.vector_to_array(index.codes).reshape(index.ntotal, index.pq.code_size)
        return Codes(codes), np.arange(index.ntotal, dtype=np.int64)
    rows, lists, ids = _list_codes(index)
    order = np.argsort(ids, kind="stable")
    return Codes(rows[order], lists[order]), ids[order]


def faiss_bytes(index: Any) -> NDArray[np.uint8]:
    """What faiss would write. Use the durable writer for it: faiss's own ignores a full disk."""
    import faiss

    return np.asarray(faiss.serialize_index(index), dtype=np.uint8)


def read_faiss(source: Any) -> Any:
    """The faiss index in a file or in bytes, with a limit on what a damaged length can allocate.

    faiss has no checksum: a flipped bit mostly loads and gives wrong results. Check hashes before calling
    this.
    """
    import faiss

    if isinstance(source, str) or hasattr(source, "__fspath__"):
        try:
            data = np.fromfile(source, dtype=np.uint8)
        except OSError as error:
            raise DataError(f"cannot read the faiss file {str(source)!r}: {error.strerror}.") from error
    else:
        data = np.frombuffer(source, dtype=np.uint8)
    with _read_limit:
        before = faiss.get_deserialization_vector_byte_limit(), faiss.get_deserialization_loop_limit()
        faiss.set_deserialization_vector_byte_limit(max(SMALLEST_READ_LIMIT, 2 * data.nbytes))
        faiss.set_deserialization_loop_limit(2**24)
        try:
            index = faiss.deserialize_index(data)
        except (RuntimeError, MemoryError) as error:
            raise CorruptArtefact(
                f"faiss cannot read this index ({data.nbytes} bytes): {_reason(error)}"
            ) from error
        finally:
            faiss.set_deserialization_vector_byte_limit(before[0])
            faiss.set_deserialization_loop_limit(before[1])
    inner = faiss.downcast_index(index.index) if isinstance(index, faiss.IndexPreTransform) else index
    if isinstance(inner, faiss.IndexIVF):
        refuse_unsound_lists(inner)
        inner.nprobe = int(min(max(1, inner.nprobe), inner.nlist))  # faiss takes any number from the file
        try:
            prepare_tables(inner)
        except (RuntimeError, MemoryError) as error:
            raise CorruptArtefact(f"faiss cannot make the tables of this index: {_reason(error)}") from error
    return index


def _reason(error: Exception) -> str:
    return str(error).splitlines()[0][-200:] if str(error) else type(error).__name__


def same(left: Floats | None, right: Floats | None) -> bool:
    """Whether two parts are the same numbers, byte for byte."""
    if left is right:
        return True
    return (
        left is not None and right is not None and left.shape == right.shape and bool((left == right).all())
    )


def _faiss_metric(metric: Metric) -> int:
    import faiss

    return int(faiss.METRIC_INNER_PRODUCT if metric == "ip" else faiss.METRIC_L2)


def _empty_lists(quantiser: ProductQuantiser, metric: int) -> Any:
    import faiss

    base = np.ascontiguousarray(quantiser.base, dtype=np.float32)
    coarse = faiss.IndexFlat(base.shape[1], metric)
    coarse.add(base)
    index = faiss.IndexIVFPQ(coarse, base.shape[1], len(base), quantiser.sub_vectors, quantiser.bits, metric)
    index.by_residual = quantiser.by_residual
    coarse.this.disown()
    index.own_fields = True
    return index


def _fill_lists(index: Any, codes: Codes) -> None:
    """Codes and ids straight into the inverted lists, rows ascending in each."""
    import faiss

    assert codes.lists is not None
    if len(codes) and (codes.lists.min() < 0 or codes.lists.max() >= index.nlist):
        raise DataError(
            f"`lists` must be in 0..{index.nlist - 1}; found {codes.lists.min()}..{codes.lists.max()}."
        )
    order = np.argsort(codes.lists, kind="stable").astype(np.int64)
    ordered = np.ascontiguousarray(codes.codes[order])
    ends = np.cumsum(np.bincount(codes.lists, minlength=index.nlist))
    start = 0
    for number, end in enumerate(ends.tolist()):
        if end > start:
            rows, members = ordered[start:end], order[start:end]
            index.invlists.add_entries(number, end - start, faiss.swig_ptr(members), faiss.swig_ptr(rows))
        start = end


def _unwrapped(index: Any) -> tuple[Any, list[Any], Rows | None]:
    """The index inside of transforms and id maps, the transforms in the order of use, and what the maps say."""
    import faiss

    transforms: list[Any] = []
    ids: Rows | None = None
    while isinstance(index, (faiss.IndexIDMap, faiss.IndexPreTransform)):
        if isinstance(index, faiss.IndexIDMap):
            numbers = np.asarray(faiss.vector_to_array(index.id_map), dtype=np.int64)
            ids = numbers if ids is None else _mapped(ids, numbers)
        else:
            chain = (index.chain.at(place) for place in range(index.chain.size()))
            transforms += [faiss.downcast_VectorTransform(step) for step in chain]
        index = faiss.downcast_index(index.index)
    return index, transforms, ids


def _mapped(ids: Rows, numbers: Rows) -> Rows:
    """The ids of these numbers, as faiss's id maps give them."""
    if len(numbers) and not 0 <= numbers.min() <= numbers.max() < len(ids):
        raise CorruptArtefact(
            f"an id map of {len(ids)} ids stands around documents {numbers.min()}..{numbers.max()}."
        )
    return ids[numbers]


def _affine(transforms: list[Any]) -> tuple[Floats, Floats] | None:
    """Linear transforms one after the other as a matrix [e, d] and what is added [e]; None without any."""
    import faiss

    found: tuple[Floats, Floats] | None = None
    for step in transforms:
        if isinstance(step, faiss.LinearTransform):
            matrix = faiss.vector_to_array(step.A).reshape(step.d_out, step.d_in).copy()
            added = faiss.vector_to_array(step.b) if step.have_bias else np.zeros(step.d_out, np.float32)
        elif isinstance(step, faiss.RemapDimensionsTransform):
            places = faiss.vector_to_array(step.map)
            matrix = (places[:, None] == np.arange(step.d_in)).astype(np.float32)
            added = np.zeros(step.d_out, np.float32)
        else:
            raise ConfigError(
                f"found a faiss {type(step).__name__} before the codes; only linear transforms are read.\n\n"
                "Hint: do what it does to your queries yourself, and read the index behind it: "
                "faiss.write_index(index.index, FILE)."
            )
        found = (matrix, added) if found is None else (matrix @ found[0], matrix @ found[1] + added)
    return found


def _list_codes(index: Any) -> tuple[NDArray[np.uint8], Rows, Rows]:
    """Codes, lists and ids of all inverted lists, in the order of the lists."""
    import faiss

    codes, lists, ids = [], [], []
    for number in range(index.nlist):
        size = index.invlists.list_size(number)
        if size == 0:
            continue
        ids.append(faiss.rev_swig_ptr(index.invlists.get_ids(number), size).copy())
        flat = faiss.rev_swig_ptr(index.invlists.get_codes(number), size * index.code_size)
        codes.append(flat.reshape(size, index.code_size).copy())
        lists.append(np.full(size, number, dtype=np.int64))
    if not codes:
        return np.empty((0, index.code_size), np.uint8), np.empty(0, np.int64), np.empty(0, np.int64)
    return np.concatenate(codes), np.concatenate(lists), np.concatenate(ids).astype(np.int64)


def _quantiser_of(index: Any, affine: tuple[Floats, Floats] | None) -> ProductQuantiser:
    import faiss

    refuse_other_codes(index)
    bits, sub_vectors = int(index.pq.nbits), int(index.pq.M)
    codewords = faiss.vector_to_array(index.pq.centroids).reshape(sub_vectors, 2**bits, -1).copy()
    base = _base(index)
    by_residual = base is None or bool(index.by_residual)
    if affine is not None and affine[1].any():
        if index.metric_type != faiss.METRIC_L2:
            raise ConfigError(
                "found a faiss transform with a bias (PCA centres) before inner products, to which it adds another "
                "number for each document; with a bias only L2 is read.\n\nHint: build it with 'OPQ' in place of 'PCA'."
            )
        base, codewords = _shifted(base, codewords, -affine[1], by_residual=by_residual)
    parts: dict[str, Floats] = {"assign.codewords": codewords, "score.codewords": codewords}
    if affine is not None:
        parts["rotation"] = affine[0]
    if base is not None:
        parts["base"] = base
    blank = ProductQuantiser(
        code_bytes=sub_vectors * bits // 8,
        bits=8 if bits == 8 else 4,
        metric="ip" if index.metric_type == faiss.METRIC_INNER_PRODUCT else "l2",
        by_residual=by_residual,
    )
    return blank.with_parts(parts)


def _base(index: Any) -> Floats | None:
    """The centroids of the lists."""
    import faiss

    if not isinstance(index, faiss.IndexIVFPQ):
        return None
    if index.quantizer.metric_type != index.metric_type:
        log.warning(
            "the faiss index chooses lists by another metric than it scores by; below effort 1, others are visited"
        )
    centroids: Floats = faiss.downcast_index(index.quantizer).reconstruct_n(0, index.nlist)
    return centroids


def _shifted(
    base: Floats | None, codewords: Floats, added: Floats, *, by_residual: bool
) -> tuple[Floats | None, Floats]:
    """The same distances for queries without the bias: |Aq + b - y| = |Aq - (y - b)|."""
    if base is None or not by_residual:
        codewords = codewords + added.reshape(len(codewords), 1, -1)
    return (None if base is None else base + added), codewords
