"""Lists of a faiss engine that are chosen by vectors of their own, while codes stay relative to the centroids.

faiss asks one object, the coarse quantiser, for both. `IndexRefine` over routing vectors with centroids behind it does
it: the first pick the lists, the second are what residuals refer to; so the file opens in plain faiss as well.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from limbeck.index.engine_search import innermost, typed
from limbeck.types import Floats


def with_routing(engine: Any, routing: Floats) -> Any:
    """A copy of the engine whose lists are chosen by the inner product with routing vectors [L, d]."""
    import faiss

    copied = faiss.clone_index(engine)
    inner = innermost(copied)
    for transform in transforms(copied):
        routing = transform.apply(np.ascontiguousarray(routing, dtype=np.float32))
    chosen = faiss.IndexFlatIP(inner.d)
    chosen.add(np.ascontiguousarray(routing, dtype=np.float32))
    both = faiss.IndexRefine(chosen, inner.quantizer)
    both.k_factor = 1
    before, inner.quantizer = inner.quantizer, both
    data = faiss.serialize_index(copied)
    inner.quantizer = before  # so that each is freed by its owner
    return faiss.deserialize_index(data)


def transforms(engine: Any) -> list[Any]:
    """What vectors pass before they reach the lists: rotations."""
    import faiss

    outer = typed(engine)
    if isinstance(outer, faiss.IndexRefine):
        return transforms(outer.base_index)
    if isinstance(outer, faiss.IndexPreTransform):
        chain = [faiss.downcast_VectorTransform(outer.chain.at(i)) for i in range(outer.chain.size())]
        return [*chain, *transforms(outer.index)]
    return []
