"""The retriever inside LlamaIndex: its nodes are the index's own, by every way of asking."""

import asyncio

import pytest

pytest.importorskip(
    "llama_index.core", reason="needs limbeck[llama-index]; `make test-integrations` installs it"
)

from llama_index.core import Settings
from llama_index.core.llms import MockLLM
from llama_index.core.postprocessor import SimilarityPostprocessor
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.schema import QueryBundle

from limbeck.errors import ConfigError, CorruptArtefact
from limbeck.index.filters import Between
from limbeck.integrations.llama_index import LimbeckRetriever


def listed(nodes):
    return [(node.node.node_id, node.score) for node in nodes]


def test_nodes_come_with_id_score_text_and_metadata(folder, searcher, queries, wanted):
    retriever = LimbeckRetriever(folder)
    for query in queries:
        nodes = retriever.retrieve(query)
        assert listed(nodes) == wanted(query)
        assert [node.score for node in nodes] == sorted((node.score for node in nodes), reverse=True)
    stored = {document.id: document for document in searcher.documents.all()}
    for node in nodes:
        assert node.node.text == stored[node.node.node_id].text
        assert node.metadata["module"] == node.node.node_id.split(".")[0]
        assert node.metadata["title"] == stored[node.node.node_id].title


def test_an_open_searcher_serves_as_well(searcher, queries, wanted):
    retriever = LimbeckRetriever(searcher, k=3, effort=1.0)
    assert listed(retriever.retrieve(queries[0])) == wanted(queries[0], 3, effort=1.0)


def test_a_query_that_is_embedded_already_is_searched_by_its_vector(searcher, queries, wanted):
    vector = searcher.encoder.encode([queries[0]], side="query").flat[0]
    bundle = QueryBundle("not asked", embedding=vector.tolist())
    assert listed(LimbeckRetriever(searcher).retrieve(bundle)) == wanted(queries[0])
    with pytest.raises(ConfigError, match="has an embedding"):
        LimbeckRetriever(searcher, mode="lexical").retrieve(bundle)
    with pytest.raises(ConfigError, match="custom_embedding_strs"):
        LimbeckRetriever(searcher).retrieve(QueryBundle("asked", custom_embedding_strs=["a", "b"]))


def test_conditions_on_metadata_are_exact_by_text_and_by_vector(searcher, queries, first_lines):
    retriever = LimbeckRetriever(searcher, k=5, effort=1.0, where={"lines": Between(most=6)})
    for query in queries[:10]:
        expected = first_lines(query, 5, 6)
        vector = searcher.encoder.encode([query], side="query").flat[0]
        for asked in (query, QueryBundle(query, embedding=vector.tolist())):
            assert [identifier for identifier, _ in listed(retriever.retrieve(asked))] == expected


def test_asked_without_waiting_it_gives_the_same(folder, queries):
    retriever = LimbeckRetriever(folder, k=4)

    async def ask():
        return await asyncio.gather(*(retriever.aretrieve(query) for query in queries[:8]))

    assert list(map(listed, asyncio.run(ask()))) == [
        listed(retriever.retrieve(query)) for query in queries[:8]
    ]


def test_it_stands_in_a_query_engine_behind_a_cutoff_of_scores(folder, queries, wanted):
    Settings.llm = MockLLM()
    documents = wanted(queries[2], 5)
    engine = RetrieverQueryEngine.from_args(
        LimbeckRetriever(folder, k=5),
        response_mode="no_text",
        node_postprocessors=[SimilarityPostprocessor(similarity_cutoff=documents[2][1])],
    )
    assert listed(engine.query(queries[2]).source_nodes) == documents[:3]


def test_what_cannot_be_opened_or_asked_is_told_at_once(folder, queries, tmp_path):
    with pytest.raises(CorruptArtefact):
        LimbeckRetriever(tmp_path)
    with pytest.raises(ConfigError, match="limbeck hybrid"):
        LimbeckRetriever(folder, mode="hybrid").retrieve(queries[0])
