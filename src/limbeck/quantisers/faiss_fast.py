"""faiss's fast-scan indexes over codes that exist already, and the codes out of their blocks again.

A block holds 32 documents. For each sub-vector it has 16 bytes; byte j holds the 4-bit codes of documents PERMUTED[j]
(low half) and PERMUTED[j] + 16 (high half).

Source: facebookresearch/faiss, faiss/impl/pq4_fast_scan.cpp, `pq4_pack_codes`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from limbeck.errors import ConfigError
from limbeck.quantisers.packing import pack
from limbeck.types import Codes, Rows

BLOCK = 32  # documents
PERMUTED = np.array([0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15])
MOST_SUB_VECTORS = 256  # the sum of 256 table entries of 8 bits still fits faiss's 16 bits


def fast_scanner(plain: Any, *, bits: int) -> Any:
    """An IndexPQFastScan or IndexIVFPQFastScan over the codes of an IndexPQ or IndexIVFPQ, which may go afterwards."""
    import faiss

    if bits != 4:
        raise ConfigError(
            f"fast scan reads codes of 4 bits; found {bits}.\n\n"
            "Hint: make the codes with `ProductQuantiser(bits=4)`, or a recipe with bits=4: as many bytes."
        )
    if plain.pq.M > MOST_SUB_VECTORS:
        raise ConfigError(
            f"fast scan adds up to {MOST_SUB_VECTORS} table entries in 16 bits; found {plain.pq.M} sub-vectors.\n\n"
            f"Hint: take at most {MOST_SUB_VECTORS // 2} bytes a document, or open the index without fast scan."
        )
    if not isinstance(plain, faiss.IndexIVFPQ):
        index = faiss.IndexPQFastScan(plain, BLOCK)
        index.orig_codes = None  # points into `plain`
        return index
    index = faiss.IndexIVFPQFastScan(plain, BLOCK)
    index.orig_invlists = None
    index.own_fields, plain.own_fields = True, False  # the coarse centroids change hands
    return index


def block_bytes(index: Any) -> int:
    """What the blocks of codes take, the last of each list filled up."""
    import faiss

    if not isinstance(index, faiss.IndexIVFPQFastScan):
        return int(index.codes.size())
    blocks = sum(-(-index.invlists.list_size(number) // BLOCK) for number in range(index.nlist))
    return int(blocks * BLOCK * index.M2 // 2)


def codes_in_blocks(index: Any) -> Codes:
    """The codes of a fast-scan index by row: copies."""
    import faiss

    if not isinstance(index, faiss.IndexIVFPQFastScan):
        blocks = faiss.rev_swig_ptr(index.codes.get(), index.codes.size())
        return Codes(_unblocked(blocks, index.ntotal, sub_vectors=index.pq.M, padded=index.M2))
    codes = np.empty((index.ntotal, index.pq.M // 2), dtype=np.uint8)
    lists = np.empty(index.ntotal, dtype=np.int64)
    for number in range(index.nlist):
        size = index.invlists.list_size(number)
        if size == 0:
            continue
        ids: Rows = faiss.rev_swig_ptr(index.invlists.get_ids(number), size)
        length = -(-size // BLOCK) * BLOCK * index.M2 // 2
        blocks = faiss.rev_swig_ptr(index.invlists.get_codes(number), length)
        codes[ids] = _unblocked(blocks, size, sub_vectors=index.pq.M, padded=index.M2)
        lists[ids] = number
    return Codes(codes, lists)


def _unblocked(blocks: NDArray[np.uint8], size: int, *, sub_vectors: int, padded: int) -> NDArray[np.uint8]:
    """Packed codes [size, M / 2] out of blocks."""
    halves = blocks.reshape(-1, padded, BLOCK // 2)  # block, sub-vector, byte
    numbers = np.empty((len(halves), BLOCK, padded), dtype=np.uint8)
    numbers[:, PERMUTED] = (halves & 15).transpose(0, 2, 1)
    numbers[:, PERMUTED + BLOCK // 2] = (halves >> 4).transpose(0, 2, 1)
    return pack(numbers.reshape(-1, padded)[:size, :sub_vectors], bits=4)
