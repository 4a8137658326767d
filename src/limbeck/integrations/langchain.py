"""A LangChain retriever over an artefact.

retriever = LimbeckRetriever(index="my-index", k=5)
documents = retriever.invoke("a question")           # or: await retriever.ainvoke("a question", k=3)
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from limbeck.integrations.answering import Found, found, host, opened
from limbeck.retrieve import Mode, Searcher

with host("langchain-core", "langchain"):
    from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
    from langchain_core.documents import Document
    from langchain_core.retrievers import BaseRetriever
    from langchain_core.runnables import run_in_executor
    from pydantic import Field, PrivateAttr


class LimbeckRetriever(BaseRetriever):  # type: ignore[misc]  # follow_imports = skip
    """The best documents of a query, best first. `invoke` takes `k`, `effort` and `where` for one call as well.

    A document's metadata is that of the corpus, with its `title`, and its `score`, which is higher for better ones.
    raises  what `limbeck.open` raises, when it is made
    """

    index: Any = Field(description="the folder of an artefact, or a `limbeck.Searcher`")
    encoder: Any = Field(default=None, description="as `limbeck.open` takes it")
    k: int = Field(default=10, ge=1, description="documents for a query")
    mode: Mode = Field(default="dense", description="dense, lexical or hybrid")
    effort: float | None = Field(default=None, description="share of an index to visit; None = its own")
    where: Mapping[str, Any] | None = Field(default=None, description="conditions on metadata")
    _searcher: Searcher = PrivateAttr()

    def model_post_init(self, context: Any, /) -> None:
        super().model_post_init(context)
        index = self.index if isinstance(self.index, Searcher) else Path(self.index)
        self._searcher = opened(index, encoder=self.encoder)

    def _get_relevant_documents(
        self,
        query: str,
        *,
        run_manager: CallbackManagerForRetrieverRun,
        k: int | None = None,
        effort: float | None = None,
        where: Mapping[str, Any] | None = None,
    ) -> list[Document]:
        answers = found(
            self._searcher,
            query,
            self.k if k is None else k,
            mode=self.mode,
            effort=self.effort if effort is None else effort,
            where=self.where if where is None else where,
        )
        return [_document(answer) for answer in answers]

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, **options: Any
    ) -> list[Document]:
        sync = run_manager.get_sync()
        documents: list[Document] = await run_in_executor(
            None, self._get_relevant_documents, query, run_manager=sync, **options
        )
        return documents


def _document(answer: Found) -> Document:
    return Document(
        id=answer.document.id,
        page_content=answer.document.text,
        metadata={**answer.metadata, "score": answer.score},
    )
