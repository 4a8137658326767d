"""What a faiss index must be before its codes are taken: of a kind that scores alike, and whole.

faiss takes counts and sizes from the file as they stand, and reads beyond the ends of arrays that do not fit them.
"""

from __future__ import annotations

from typing import Any

from limbeck.errors import ConfigError, CorruptArtefact

OTHERS = {  # index types by a part of their name: the reason, and the way out
    "IVFPQR": (", whose second codes refine the scores", "build it without '+': 'IVF256,PQ16np'."),
    "Refine": (
        ", whose second stage re-scores what the codes found",
        "read the first alone: faiss.write_index(index.base_index, FILE).",
    ),
    "FastScan": (
        ", whose packed codes are scored by rounded tables",
        "build it without 'fs': 'IVF256,PQ16x4np'.",
    ),
}


def refuse_others(index: Any) -> None:
    """Raises ConfigError for an index that cannot be read, or that would score otherwise."""
    import faiss

    name = type(index).__name__
    if isinstance(index, (faiss.IndexIVFPQ, faiss.IndexPQ)) and name != "IndexIVFPQR":
        return
    reason, hint = next(
        (told for part, told in OTHERS.items() if part in name),
        ("", "build it with a factory string such as 'OPQ16,IVF256,PQ16np'."),
    )
    raise ConfigError(
        f"found a faiss {name}{reason}; can read IndexPQ and IndexIVFPQ, OPQ before or not.\n\nHint: {hint}"
    )


def refuse_other_codes(index: Any) -> None:
    """Raises ConfigError for codes of other widths, without codewords yet, or under another metric."""
    import faiss

    bits, sub_vectors = int(index.pq.nbits), int(index.pq.M)
    if bits not in (4, 8) or sub_vectors * bits % 8:
        raise ConfigError(
            f"found codes of {sub_vectors} x {bits} bits; can read 8 bits, or 4 bits with an even count."
        )
    if not index.is_trained:
        raise ConfigError("this faiss index is not trained; it holds no codewords yet.")
    if index.metric_type not in (faiss.METRIC_INNER_PRODUCT, faiss.METRIC_L2):
        raise ConfigError(f"found faiss metric {index.metric_type}; can read inner product and L2.")


def refuse_unsound_lists(index: Any) -> None:
    """CorruptArtefact where lists and centroids are not as many, or not as wide: faiss would read beyond their ends."""
    coarse, lists = index.quantizer, index.invlists
    if (
        coarse is None
        or lists is None
        or not 1 <= index.nlist == lists.nlist == coarse.ntotal
        or coarse.d != index.d
    ):
        raise CorruptArtefact(f"this faiss index of {index.nlist} lists has other centroids or other lists.")
    if sum(lists.list_size(number) for number in range(index.nlist)) != index.ntotal:
        raise CorruptArtefact(f"the lists of this faiss index do not hold its {index.ntotal} documents.")


def refuse_unsound_codes(index: Any) -> None:
    """CorruptArtefact where codes or codewords of an IndexPQ or IndexIVFPQ are not as wide as it says."""
    import faiss

    pq = index.pq
    is_sound = (
        pq.M >= 1
        and pq.d == pq.M * pq.dsub == index.d
        and pq.code_size == index.code_size == (pq.M * pq.nbits + 7) // 8
        and pq.centroids.size() == pq.d * 2**pq.nbits
    )
    if isinstance(index, faiss.IndexIVFPQ):
        is_sound = is_sound and index.invlists.code_size == pq.code_size
    else:
        is_sound = is_sound and index.codes.size() == index.ntotal * pq.code_size
    if not is_sound:
        raise CorruptArtefact("codes and codewords of this faiss index do not fit together.")
