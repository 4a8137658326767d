"""What the recipes that learn from ready vectors read: no text, no model, labels only where there are some."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from limbeck.errors import ShapeError
from limbeck.types import Floats, Hits, Metric

if TYPE_CHECKING:
    from limbeck.data.labels import Labels


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorData:
    """A corpus and queries as vectors of one space.

    documents    [N, d] float32, may be memory-mapped
    queries      [Q, d] training queries; need no labels
    labels       relevant documents of the training queries, where known
    top          the exact hits of `queries`, where they are known already; else a recipe that needs them searches
    dev_queries  [D, d] held out, to choose the epoch by overlap with exact search
    """

    documents: Floats
    queries: Floats
    labels: Labels | None = None
    top: Hits | None = None
    dev_queries: Floats | None = None
    metric: Metric = "ip"

    def __post_init__(self) -> None:
        for name in ("queries", "dev_queries"):
            vectors = getattr(self, name)
            if vectors is not None and (vectors.ndim != 2 or vectors.shape[1] != self.documents.shape[1]):
                raise ShapeError(
                    f"`{name}` has shape {vectors.shape}, but `documents` has {self.documents.shape}; "
                    "both must be [rows, d] with the same d.\n\nHint: encode both with the same model."
                )
