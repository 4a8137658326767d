"""The retriever inside LangChain: its documents are the index's own, by every way of asking."""

import asyncio

import pytest

pytest.importorskip("langchain_core", reason="needs limbeck[langchain]; `make test-integrations` installs it")

from langchain_core.runnables import RunnableLambda, RunnablePassthrough

from limbeck.errors import ConfigError, CorruptArtefact
from limbeck.index.filters import Between
from limbeck.integrations.langchain import LimbeckRetriever


def listed(documents):
    return [(document.id, document.metadata["score"]) for document in documents]


def test_documents_come_with_id_score_text_and_metadata(folder, searcher, queries, wanted):
    retriever = LimbeckRetriever(index=str(folder))
    for query in queries:
        documents = retriever.invoke(query)
        assert listed(documents) == wanted(query)
        scores = [document.metadata["score"] for document in documents]
        assert scores == sorted(scores, reverse=True)
    stored = {document.id: document for document in searcher.documents.all()}
    for document in documents:
        assert document.page_content == stored[document.id].text
        assert document.metadata["module"] == document.id.split(".")[0]
        assert document.metadata["title"] == stored[document.id].title


def test_an_open_searcher_serves_as_well(searcher, queries, wanted):
    retriever = LimbeckRetriever(index=searcher, k=3, effort=1.0)
    assert listed(retriever.invoke(queries[0])) == wanted(queries[0], 3, effort=1.0)


def test_options_of_one_call_stand_before_those_of_the_retriever(folder, queries, wanted):
    retriever = LimbeckRetriever(index=folder, k=3)
    assert listed(retriever.invoke(queries[1], k=7, effort=1.0)) == wanted(queries[1], 7, effort=1.0)
    assert len(retriever.invoke(queries[1])) == 3


def test_conditions_on_metadata_are_exact(folder, queries, first_lines):
    retriever = LimbeckRetriever(index=folder, k=5, effort=1.0, where={"lines": Between(most=6)})
    for query in queries[:10]:
        assert [document.id for document in retriever.invoke(query)] == first_lines(query, 5, 6)
    modules = {
        document.metadata["module"] for document in retriever.invoke(queries[0], where={"module": "ast"})
    }
    assert modules == {"ast"}


def test_asked_without_waiting_it_gives_the_same(folder, queries):
    retriever = LimbeckRetriever(index=folder)

    async def ask():
        return await asyncio.gather(*(retriever.ainvoke(query, k=4) for query in queries[:8]))

    assert list(map(listed, asyncio.run(ask()))) == [
        listed(retriever.invoke(query, k=4)) for query in queries[:8]
    ]


def test_it_stands_in_a_chain_and_in_a_batch(folder, queries, wanted):
    retriever = LimbeckRetriever(index=folder, k=2)
    chain = {"context": retriever, "question": RunnablePassthrough()} | RunnableLambda(
        lambda asked: (asked["question"], listed(asked["context"]))
    )
    assert chain.invoke(queries[2]) == (queries[2], wanted(queries[2], 2))
    assert list(map(listed, retriever.batch(queries[:5]))) == [wanted(query, 2) for query in queries[:5]]


def test_what_cannot_be_opened_or_asked_is_told_at_once(folder, queries, tmp_path):
    with pytest.raises(CorruptArtefact):
        LimbeckRetriever(index=tmp_path)
    with pytest.raises(ConfigError, match="limbeck hybrid"):
        LimbeckRetriever(index=folder, mode="hybrid").invoke(queries[0])
