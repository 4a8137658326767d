"""What recipes that train a query encoder read: texts beside the teacher's vectors of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from limbeck.errors import ShapeError
from limbeck.types import Floats

if TYPE_CHECKING:
    from limbeck.data.corpus import Corpus
    from limbeck.data.labels import Labels


@dataclass(frozen=True, slots=True, kw_only=True)
class TextData:
    """Queries, and where they are known documents, as texts and as the teacher's vectors.

    queries, vectors          the training queries and [Q, d]; need no labels
    dev_queries, dev_vectors  held out, to choose the epoch by
    more_queries, more_vectors  without labels, such as generated ones
    corpus, documents         the documents and [N, d], may be memory-mapped; None trains on queries alone
    labels                    relevant documents of the training queries, where known; only some recipes read them
    """

    queries: Sequence[str]
    vectors: Floats
    more_queries: Sequence[str] = ()
    more_vectors: Floats | None = None
    dev_queries: Sequence[str] = ()
    dev_vectors: Floats | None = None
    corpus: Corpus | None = None
    documents: Floats | None = None
    labels: Labels | None = None

    def __post_init__(self) -> None:
        pairs = {
            "queries": (self.queries, self.vectors),
            "more_queries": (self.more_queries, self.more_vectors),
            "dev_queries": (self.dev_queries, self.dev_vectors),
            "corpus": (self.corpus, self.documents),
        }
        for name, (texts, vectors) in pairs.items():
            count = 0 if texts is None else len(texts)
            found = np.empty((0, self.dim)) if vectors is None else vectors
            if found.ndim != 2 or found.shape != (count, self.dim):
                raise ShapeError(
                    f"`{name}` has {count} texts, but vectors of shape {found.shape}; expected [{count}, {self.dim}]: "
                    "the teacher's vector of each."
                )

    @property
    def dim(self) -> int:
        """The width of the teacher's vectors."""
        return int(self.vectors.shape[-1])
