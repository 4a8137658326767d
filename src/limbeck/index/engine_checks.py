"""What faiss does not check of an index that it read: links, ids and parts that point beyond their ends.

Letters: N documents.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from limbeck.errors import CorruptArtefact
from limbeck.index.engine_search import typed
from limbeck.quantisers.engine import is_bounded

MOST_IN_SIGHT = 2**20  # lists that a graph search keeps: 12 MB


def refuse_unsound(index: Any) -> None:
    """CorruptArtefact where a search could read beyond the end of something, or find a row that is not there.

    cost  a pass over links and ids, and over vectors that are whole
    """
    import faiss

    index = typed(index)
    _claim(index.is_trained, "every part is trained")
    if isinstance(index, faiss.IndexPreTransform):
        _refuse_unsound_transforms(index)
        refuse_unsound(index.index)
    elif isinstance(index, faiss.IndexRefine):
        _claim(index.base_index.d == index.refine_index.d == index.d, "both looks are equally wide")
        _claim(
            index.base_index.ntotal == index.refine_index.ntotal == index.ntotal,
            "both looks see all documents",
        )
        _claim(1 <= index.k_factor < float("inf"), "the second look has at least one candidate for each hit")
        refuse_unsound(index.base_index)
        refuse_unsound(index.refine_index)
    elif isinstance(index, faiss.IndexHNSW):
        _claim(index.storage is not None, "a graph has vectors")
        _claim(
            index.storage.d == index.d and index.storage.ntotal == index.ntotal, "a graph is of its vectors"
        )
        refuse_unsound(index.storage)
        _refuse_unsound_graph(index.hnsw, index.ntotal)
    elif isinstance(index, faiss.IndexIVF):
        _refuse_unsound_ids(index)
        _refuse_unsound_settings(typed(index.quantizer))
        refuse_unsound(index.quantizer)
    elif isinstance(index, faiss.IndexFlat):
        vectors = faiss.rev_swig_ptr(index.get_xb(), index.ntotal * index.d)
        _claim(is_bounded(vectors), "vectors are finite")


def _refuse_unsound_transforms(index: Any) -> None:
    import faiss

    width = index.d
    for place in range(index.chain.size()):
        step = faiss.downcast_VectorTransform(index.chain.at(place))
        _claim(step.d_in == width, "each transform takes what the one before gives")
        if isinstance(step, faiss.LinearTransform):
            _claim(step.A.size() == step.d_in * step.d_out, "a transform is a matrix")
            _claim(is_bounded(faiss.vector_to_array(step.A)), "a transform is finite")
        width = step.d_out
    _claim(width == index.index.d, "the last transform gives what the index takes")
    _claim(index.index.ntotal == index.ntotal, "the index holds all documents")


def _refuse_unsound_graph(graph: Any, documents: int) -> None:
    """Every link leads to a document that has links of its own on that level."""
    import faiss

    array = faiss.vector_to_array
    levels, offsets, links = array(graph.levels), array(graph.offsets), array(graph.neighbors)
    each = array(graph.cum_nneighbor_per_level).astype(np.int64)
    _claim(len(levels) == documents and len(offsets) == documents + 1, "each document has its links")
    if documents == 0:
        return
    _claim(len(each) >= 2 and each[0] == 0 and bool((np.diff(each) >= 0).all()), "levels have links")
    _claim(levels.min() >= 1 and levels.max() < len(each), "documents are on levels that there are")
    starts = np.concatenate([[0], np.cumsum(each[levels])])
    _claim(np.array_equal(offsets.astype(np.int64), starts), "links lie one behind the other")
    _claim(len(links) == starts[-1], "there are as many links as there is room for")
    _claim(links.min(initial=-1) >= -1 and links.max(initial=-1) < documents, "links lead to documents")
    _claim(0 <= graph.entry_point < documents, "a search begins at a document")
    _claim(graph.max_level == levels[graph.entry_point] - 1, "a search begins on the highest level")
    place = np.arange(len(links)) - np.repeat(starts[:-1], np.diff(starts))
    on = np.searchsorted(each, place, side="right") - 1  # the level of each link
    there = links >= 0
    _claim(bool((levels[links[there]] > on[there]).all()), "links stay on their level")


def _refuse_unsound_settings(coarse: Any) -> None:
    """Those of an index that chooses lists: it is asked by faiss with the settings in the file, not by us with ours."""
    import faiss

    if isinstance(coarse, faiss.IndexRefine):
        _claim(coarse.k_factor == 1, "lists are chosen without more candidates")
    elif isinstance(coarse, faiss.IndexIVF):
        _claim(1 <= coarse.nprobe <= coarse.nlist, "lists are chosen by visiting lists that there are")
    elif isinstance(coarse, faiss.IndexHNSW):
        _claim(1 <= coarse.hnsw.efSearch <= MOST_IN_SIGHT, "lists are chosen with a bounded number in sight")


def _refuse_unsound_ids(index: Any) -> None:
    """Each row stands in one list, once."""
    import faiss

    seen = np.zeros(index.ntotal, dtype=np.bool_)
    for number in range(index.nlist):
        size = index.invlists.list_size(number)
        if size == 0:
            continue
        ids = faiss.rev_swig_ptr(index.invlists.get_ids(number), size)
        _claim(ids.min() >= 0 and ids.max() < index.ntotal, "lists hold rows of documents")
        seen[ids] = True
    _claim(bool(seen.all()), "each document is in a list")


def _claim(holds: object, what: str) -> None:
    if not holds:
        raise CorruptArtefact(f"index.faiss is damaged; must be so that {what}.")
