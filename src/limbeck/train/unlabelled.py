"""What unlabelled training is made of: queries made from documents, the teacher's top lists, a figure on dev queries.

Letters: Q queries, N documents, d dimension, k depth of the lists.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from limbeck.data.vector_data import VectorData
from limbeck.encoders.precision import has_native_bfloat16
from limbeck.errors import ConfigError, DataError
from limbeck.types import Floats, Hits, Reps

if TYPE_CHECKING:
    from torch import Tensor

    from limbeck.train.system import System

MOST_MADE = 50_000  # training queries made from documents where none were given
GROUP = 16  # scores of which only the highest is looked at first
BLOCK_DOCUMENTS = 131_072  # 100 MB in bfloat16 at 384 dimensions
BLOCK_SCORES = 2**23  # 16 MB in bfloat16


def training_queries(data: VectorData, *, made: float, seed: int) -> Floats:
    """The given queries, then those made from documents, so that labels keep their rows.

    made  their share of all, in [0, 1); where no queries are given, all are made
    """
    if not 0 <= made < 1:
        raise ConfigError(f"`made_queries` is a share in [0, 1); found {made}.")
    count = round(len(data.queries) * made / (1 - made))
    if len(data.queries) == 0:  # nobody asked anything yet: the documents are all there is to go by
        count = min(len(data.documents), MOST_MADE)
    if count == 0:
        return np.ascontiguousarray(data.queries, dtype=np.float32)
    return np.concatenate([data.queries, queries_from_documents(data, count, seed=seed)])


def queries_from_documents(data: VectorData, count: int, *, seed: int) -> Floats:
    """`count` documents' vectors moved by the mean difference between queries and documents.

    They ask for documents that no training query asks for, which distillation otherwise pushes down.
    """
    rows = np.sort(np.random.default_rng(seed).permutation(len(data.documents))[:count])
    shift = data.queries.mean(axis=0) - data.documents.mean(axis=0) if len(data.queries) else np.float32(0)
    return np.asarray(data.documents[rows] + shift, dtype=np.float32)


def teacher_lists(data: VectorData, queries: Floats, depth: int) -> Hits:
    """The teacher's top `depth` of each query [Q, k], for candidates: exact up to rounding, ties unsettled.

    queries  those of `data`, then those made from documents; what `data.top` knows is not searched again
    cost     Q·N·d multiply-adds, in bfloat16 where the processor has it (two thirds of the time); Q·k results
    """
    if len(data.documents) < 2:
        raise DataError(f"distillation needs at least two documents; found {len(data.documents)}.")
    depth = min(depth, len(data.documents))
    known = data.top if data.top is not None and data.top.ids.shape[1] >= depth else None
    rest = queries if known is None else queries[len(known) :]
    parts = [] if known is None else [Hits(known.ids[:, :depth], known.scores[:, :depth])]
    if len(rest):
        parts.append(_search(data, rest, depth))
    return Hits(np.concatenate([p.ids for p in parts]), np.concatenate([p.scores for p in parts]))


def dev_figure(data: VectorData) -> Callable[[System], float] | None:
    """The overlap of the top 10 with exact search on the dev queries: what an epoch is chosen by.

    Not RR@10, where there are labels: on a thousand queries its noise is larger than what the last epochs gain.
    """
    from limbeck.evaluate.overlap import overlap
    from limbeck.index.flat import Flat

    if data.dev_queries is None:
        return None
    queries = Reps.single(data.dev_queries)
    exact = Flat(data.documents, metric=data.metric).search(queries, 10)
    return lambda system: float(overlap(system.build().search(queries, 10), exact, k=10).mean())


def _search(data: VectorData, queries: Floats, depth: int) -> Hits:
    from limbeck.index.flat import Flat

    if data.metric == "ip" and has_native_bfloat16():
        return top_products(data.documents, queries, depth)
    return Flat(data.documents, metric=data.metric).nearest(queries, depth)


def top_products(documents: Floats, queries: Floats, depth: int) -> Hits:
    """The `depth` largest inner products of each query [Q, k], multiplied in bfloat16: 8 bits of each score are right.

    Documents are centred first, which adds the same to all scores of a query, so that rounding is small against their
    differences. Blocks of documents and queries bound the memory.
    """
    import torch

    centre = _mean(documents)
    found: Hits | None = None
    for start in range(0, len(documents), BLOCK_DOCUMENTS):
        block = torch.from_numpy(np.asarray(documents[start : start + BLOCK_DOCUMENTS] - centre)).bfloat16()
        groups = -(-len(block) // GROUP)
        padded = torch.nn.functional.pad(block, (0, 0, 0, groups * GROUP - len(block)))
        tops = [
            _top(torch.from_numpy(part).bfloat16(), padded, depth, size=len(block))
            for part in _parts(queries, max(1, BLOCK_SCORES // len(padded)))
        ]
        here = Hits(np.concatenate([ids for ids, _ in tops]) + start, np.concatenate([s for _, s in tops]))
        found = here if found is None else _best_of(found, here, depth)
    assert found is not None
    return Hits(found.ids, found.scores + (queries @ centre)[:, None])


def _top(queries: Tensor, documents: Tensor, depth: int, *, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and products [B, k] of the first `size` documents, best first; their number must be divisible by GROUP.

    A member of the top k stands in a group whose highest is among the k highest of all groups: most scores are looked
    at once.
    """
    import torch

    products = queries @ documents.T
    products[:, size:] = -torch.inf
    width = len(documents) // GROUP
    groups = products.view(len(queries), GROUP, width)  # group g holds rows g, g + width, g + 2·width, ...
    taken = min(depth, width)
    best = groups.amax(dim=1).topk(taken, dim=1, sorted=False).indices
    members = torch.gather(groups, 2, best[:, None, :].expand(-1, GROUP, -1)).flatten(start_dim=1)
    scores, places = members.topk(min(depth, size), dim=1)
    rows = torch.gather(best, 1, places % taken) + places // taken * width
    return rows.numpy(), scores.float().numpy()


def _best_of(left: Hits, right: Hits, depth: int) -> Hits:
    ids = np.concatenate([left.ids, right.ids], axis=1)
    scores = np.concatenate([left.scores, right.scores], axis=1)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :depth]
    return Hits(np.take_along_axis(ids, order, axis=1), np.take_along_axis(scores, order, axis=1))


def _mean(vectors: Floats) -> Floats:
    total = sum(part.sum(axis=0, dtype=np.float64) for part in _parts(vectors, BLOCK_DOCUMENTS))
    mean: Floats = np.asarray(total / len(vectors), dtype=np.float32)
    return mean


def _parts(vectors: Floats, rows: int) -> Iterator[Floats]:
    return (vectors[start : start + rows] for start in range(0, len(vectors), rows))
