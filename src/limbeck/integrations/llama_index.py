"""A LlamaIndex retriever over an artefact.

retriever = LimbeckRetriever("my-index", k=5)
nodes = retriever.retrieve("a question")             # or: await retriever.aretrieve("a question")
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from limbeck.errors import ConfigError
from limbeck.index.filters import Where, allowed_by
from limbeck.integrations.answering import Found, IndexLike, found, found_by, host, opened
from limbeck.retrieve import Mode

with host("llama-index-core", "llama-index"):
    from llama_index.core.retrievers import BaseRetriever
    from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode

if TYPE_CHECKING:
    from limbeck.encoders.corpus_encoding import KnownEncoder


class LimbeckRetriever(BaseRetriever):  # type: ignore[misc]  # follow_imports = skip
    """The best documents of a query as nodes, best first; scores are higher for better ones.

    A query bundle with an embedding is searched by it, in dense mode: it must be of the encoder that made the index.
    raises  what `limbeck.open` raises, when it is made
    """

    def __init__(
        self,
        index: IndexLike,
        *,
        k: int = 10,
        mode: Mode = "dense",
        effort: float | None = None,
        where: Where | None = None,
        encoder: KnownEncoder | Path | str | None = None,
        **options: Any,
    ) -> None:
        self._searcher = opened(index, encoder=encoder)
        self._k = k
        self._mode: Mode = mode
        self._effort = effort
        self._where = where
        super().__init__(**options)

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        if query_bundle.custom_embedding_strs is not None:
            raise ConfigError(
                "the query bundle has texts of its own to embed (`custom_embedding_strs`), not joined here.\n\n"
                "Hint: embed them yourself and give `QueryBundle(query_str, embedding=...)`."
            )
        if query_bundle.embedding is None:
            answers = found(
                self._searcher,
                query_bundle.query_str,
                self._k,
                mode=self._mode,
                effort=self._effort,
                where=self._where,
            )
        else:
            answers = self._found_by_vector(query_bundle.embedding)
        return [_node(answer) for answer in answers]

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return await asyncio.to_thread(self._retrieve, query_bundle)

    def _found_by_vector(self, embedding: list[float]) -> list[Found]:
        if self._mode != "dense":
            raise ConfigError(
                f"the query bundle has an embedding, but `mode` is {self._mode!r}; must be 'dense'."
            )
        allowed = None
        if self._where:
            allowed = allowed_by(self._searcher.documents, self._where, size=len(self._searcher))
        vectors = np.asarray([embedding], dtype=np.float32)
        return found_by(
            self._searcher,
            self._searcher.search_vectors(vectors, self._k, effort=self._effort, allowed=allowed),
        )


def _node(answer: Found) -> NodeWithScore:
    document = answer.document
    return NodeWithScore(
        node=TextNode(id_=document.id, text=document.text, metadata=answer.metadata), score=answer.score
    )
