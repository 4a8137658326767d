"""A Haystack component over an artefact.

pipeline.add_component("retriever", LimbeckRetriever("my-index", top_k=5))
documents = pipeline.run({"retriever": {"query": "a question"}})["retriever"]["documents"]
"""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from limbeck.errors import ConfigError
from limbeck.integrations.answering import Found, IndexLike, found, host, opened
from limbeck.retrieve import Mode, Searcher

with host("haystack-ai", "haystack"):
    from haystack import Document, component, default_from_dict, default_to_dict
    from haystack.utils.filters import document_matches_filter

KEPT_FILTERS = 16  # whose documents are remembered: a byte a document each


@component
class LimbeckRetriever:
    """The best documents of a query, best first; scores are higher for better ones.

    The artefact is opened by `warm_up`, or by the first `run`. Filters are Haystack's own, with its own meaning: a new
    one is held against every document once, and then answers exactly.
    raises  what `limbeck.open` raises, when it is opened
    """

    def __init__(
        self,
        index: IndexLike,
        top_k: int = 10,
        mode: Mode = "dense",
        effort: float | None = None,
        filters: dict[str, Any] | None = None,
        encoder: str | None = None,
    ) -> None:
        """Index: the folder of an artefact or a `limbeck.Searcher`; encoder: the folder of another query encoder."""
        self.index = index
        self.top_k = top_k
        self.mode: Mode = mode
        self.effort = effort
        self.filters = filters
        self.encoder = encoder
        self._searcher: Searcher | None = None
        self._masks: OrderedDict[str, NDArray[np.bool_]] = OrderedDict()

    def warm_up(self) -> None:
        """Open the artefact."""
        if self._searcher is None:
            self._searcher = opened(self.index, encoder=self.encoder)

    @component.output_types(documents=list[Document])  # type: ignore[untyped-decorator]
    def run(
        self, query: str, top_k: int | None = None, filters: dict[str, Any] | None = None
    ) -> dict[str, list[Document]]:
        """Filters given here stand in the place of those of the constructor."""
        self.warm_up()
        assert self._searcher is not None
        filters = self.filters if filters is None else filters
        answers = found(
            self._searcher,
            query,
            self.top_k if top_k is None else top_k,
            mode=self.mode,
            effort=self.effort,
            allowed=self._allowed(self._searcher, filters) if filters else None,
        )
        return {"documents": [_document(answer) for answer in answers]}

    @component.output_types(documents=list[Document])  # type: ignore[untyped-decorator]
    async def run_async(
        self, query: str, top_k: int | None = None, filters: dict[str, Any] | None = None
    ) -> dict[str, list[Document]]:
        """As `run`, in a thread of its own."""
        return await asyncio.to_thread(self.run, query, top_k, filters)

    def to_dict(self) -> dict[str, Any]:
        """For pipelines that are written to a file. raises ConfigError where a searcher was given, not its folder"""
        if isinstance(self.index, Searcher):
            raise ConfigError(
                "a component over an open `Searcher` cannot be written to a file.\n\nHint: give the index's folder."
            )
        found: dict[str, Any] = default_to_dict(
            self,
            index=str(self.index),
            top_k=self.top_k,
            mode=self.mode,
            effort=self.effort,
            filters=self.filters,
            encoder=None if self.encoder is None else str(self.encoder),
        )
        return found

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> LimbeckRetriever:
        """What `to_dict` wrote."""
        component: LimbeckRetriever = default_from_dict(cls, data)
        return component

    def _allowed(self, searcher: Searcher, filters: dict[str, Any]) -> NDArray[np.bool_]:
        """[N], True where Haystack says that the filter holds."""
        key = json.dumps(filters, sort_keys=True, default=str)
        mask = self._masks.get(key)
        if mask is None:
            documents = (_document(Found(document, 0.0)) for document in searcher.documents.all())
            holds = (document_matches_filter(filters, document) for document in documents)
            mask = np.fromiter(holds, dtype=np.bool_, count=len(searcher))
            self._masks[key] = mask
            if len(self._masks) > KEPT_FILTERS:
                self._masks.popitem(last=False)
        return mask


def _document(answer: Found) -> Document:
    return Document(
        id=answer.document.id, content=answer.document.text, meta=answer.metadata, score=answer.score
    )
